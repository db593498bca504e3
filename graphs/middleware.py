"""The gate as middleware, for agents of `create_agent` and `create_deep_agent` and for all of their subagents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from deepagents.middleware.subagents import GENERAL_PURPOSE_SUBAGENT, SubAgent
from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain_core.messages import AnyMessage, ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.runtime import Runtime
from langgraph.types import Command

from core.errors import InvalidInput
from graphs.calls import mended
from graphs.gate import Gate


class GateMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Puts a gate before an agent's tools. Put it first: what stands before it runs for rejected calls too."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Show the model a result for each of its calls, also for those that were given up."""
        return await handler(request.override(messages=cast("list[AnyMessage]", mended(request.messages))))

    async def aafter_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:  # noqa: ARG002
        """Wait for the decisions that the model's calls need."""
        return await self._gate.review(state)

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Run a call if the ledger lets it."""
        return await self._gate.dispatch(request, handler)


def gated_subagents(gate: Gate, subagents: Sequence[SubAgent] = ()) -> list[SubAgent]:
    """The subagents of a deep agent, each behind the gate, and the general one that it would get without.

    Raises:
        InvalidInput: a subagent is compiled already, so that nobody can see whether a gate is in it.
    """
    if compiled := [subagent["name"] for subagent in subagents if "runnable" in subagent]:
        raise InvalidInput(f"The subagent {compiled[0]!r} is compiled. Give its prompt and tools, so that it is gated.")
    known = {subagent["name"] for subagent in subagents}
    general = [] if GENERAL_PURPOSE_SUBAGENT["name"] in known else [GENERAL_PURPOSE_SUBAGENT]
    return [_gated(gate, subagent) for subagent in [*general, *subagents]]


def _gated(gate: Gate, subagent: SubAgent) -> SubAgent:
    given = [middleware for middleware in subagent.get("middleware", []) if not isinstance(middleware, GateMiddleware)]
    return {**subagent, "middleware": [GateMiddleware(gate), *given]}
