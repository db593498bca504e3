"""The gate before every tool: what its rule allows runs, what needs a person waits, and an effect happens once.

`Gate.review` writes the ledger rows of a model's calls and interrupts until people have decided; it comes before any
tool runs. `Gate.dispatch` stands around the execution of each call and trusts nothing but the ledger: whatever led to
it, a tool with a rule that asks for a decision does not run without one. What the run was resumed with is no decision,
it only wakes the graph up.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp, is_invalid_resume
from langgraph.graph import END
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command, interrupt

from core.errors import Forbidden, InvalidInput, PlatformError
from graphs.calls import is_storable, most_repeated, open_calls
from graphs.seal import letting_through, sealed
from tools.ledger import Call, Entry, Ledger
from tools.rule import Rule

logger = logging.getLogger(__name__)

Outcome = ToolMessage | Command[Any]
Handler = Callable[[ToolCallRequest], Awaitable[Outcome]]

UNSTORABLE = "Not carried out: the arguments hold a character or a number that cannot be stored."
REPEATS = 3
"""A model that makes the same call so often about one question is stopped."""


class Gate:
    """The rules of a graph's tools, and the ledger that its calls are kept in.

    A tool without a rule does not run. ``repeats`` identical calls about one question end it with an explanation.
    """

    def __init__(self, ledger: Ledger, rules: Mapping[str, Rule], *, repeats: int = REPEATS) -> None:
        self._ledger = ledger
        self._rules = rules
        self._repeats = repeats

    async def review(self, state: Any) -> dict[str, Any] | None:
        """A node after the model: write the rows of its open calls, and interrupt until all are decided.

        The state needs ``messages``. A model that goes in circles is stopped: its calls get results that say so, and a
        last message in its name ends the answer.
        """
        messages: Sequence[BaseMessage] = state["messages"]
        message, waiting = open_calls(messages)
        if message is None or not waiting:
            return None
        name, times = most_repeated(messages)
        if times >= self._repeats:
            return {"messages": _stopped(message, name, times)}
        await self._decided([self._call(message, call) for call in waiting if self._keeps(call)])
        return None

    def after_review(self, state: Any) -> str:
        """Where a graph goes after `review`: ``tools``, or the end when there is nothing to run."""
        return "tools" if open_calls(state["messages"])[1] else END

    def tool_node(self, tools: Sequence[BaseTool]) -> ToolNode:
        """The node that runs the tools, each call behind the gate."""
        return ToolNode([sealed(tool) for tool in tools], awrap_tool_call=self.dispatch)

    async def dispatch(self, request: ToolCallRequest, handler: Handler) -> Outcome:
        """Run one call if the ledger lets it, or give what the ledger says instead.

        Raises:
            Forbidden: the tool says that the principal may not do this; it ends the run.
        """
        rule = self._rules.get(request.tool_call["name"])
        if rule is None:
            logger.warning("the tool %r has no rule and does not run", request.tool_call["name"])
            return _message(request.tool_call, "This tool is not available here.", status="error")
        if rule.free:
            return await _guarded(request, handler)
        if not self._keeps(request.tool_call):
            return _message(request.tool_call, UNSTORABLE, status="error")
        entry = await self._entry(request)
        if entry.status != "approved" or not await self._ledger.claim(entry.id):
            return await self._without_running(entry)
        return await self._run(entry, request, handler)

    async def _entry(self, request: ToolCallRequest) -> Entry:
        """The row of the call; where others of the same message wait, this one waits with them."""
        message = _message_of(request)
        calls = [request.tool_call] if message is None else [call for call in message.tool_calls if self._keeps(call)]
        entries = await self._decided([self._call(message, call) for call in calls])
        return next(entry for entry in entries if entry.tool_call_id == (request.tool_call["id"] or ""))

    def _keeps(self, call: ToolCall) -> bool:
        """Whether the ledger keeps the call: its tool has a rule that says so, and it can be stored."""
        rule = self._rules.get(call["name"])
        return rule is not None and not rule.free and is_storable([call["id"], call["args"]])

    async def _decided(self, calls: Sequence[Call]) -> list[Entry]:
        """The rows of the calls, none of them pending: it interrupts as long as one is."""
        config = get_config()
        entries = await self._ledger.admit(_thread(config), _run(config), calls)
        while pending := [entry for entry in entries if entry.status == "pending"]:
            interrupt(question(pending))
            entries = await self._ledger.read([entry.id for entry in entries])
        return entries

    async def _run(self, entry: Entry, request: ToolCallRequest, handler: Handler) -> Outcome:
        """Run a claimed call and keep what it gives."""
        run = request.override(tool_call={**request.tool_call, "args": dict(entry.final_args)})
        try:
            outcome = await _guarded(run, handler)
        except BaseException as error:
            if asks(error):
                # It goes on from there when it is run again.
                await self._ledger.release(entry.id)
            elif isinstance(error, Forbidden):
                refused = _message(request.tool_call, str(error), status="error")
                await self._ledger.settle(entry.id, "failed", self._serde.dumps_typed(refused))
            else:
                # Cut in mid effect. Not cancelled itself, so that the row says so before the task ends.
                await asyncio.shield(self._ledger.doubt(entry.id))
            raise
        outcome = _noted(outcome, entry)
        failed = isinstance(outcome, ToolMessage) and outcome.status == "error"
        await asyncio.shield(
            self._ledger.settle(entry.id, "failed" if failed else "done", self._serde.dumps_typed(outcome))
        )
        return outcome

    async def _without_running(self, entry: Entry) -> Outcome:
        """What the model gets for a call that does not run, or not again."""
        (entry,) = await self._ledger.read([entry.id])
        if entry.result is not None and entry.result_type is not None:
            stored: Outcome = self._serde.loads_typed((entry.result_type, entry.result))
            return stored
        if entry.status == "running":
            await self._ledger.doubt(entry.id)
        call = {"id": entry.tool_call_id, "name": entry.name}
        told = _message(call, explanation(entry), status="success" if entry.status == "responded" else "error")
        await self._ledger.note(entry.id, self._serde.dumps_typed(told))
        return told

    def _call(self, message: AIMessage | None, call: ToolCall) -> Call:
        rule = self._rules[call["name"]]
        message_id = "" if message is None or message.id is None else message.id
        return Call(message_id, call["id"] or "", call["name"], call["args"], rule)

    @cached_property
    def _serde(self) -> JsonPlusSerializer:
        """Reads nothing back but plain values, messages and commands."""
        return JsonPlusSerializer(allowed_msgpack_modules=None)


def question(entries: Sequence[Entry]) -> dict[str, Any]:
    """The interrupt's value, in LangChain's human-in-the-loop form; what the calls are bound by stands beside.

    ``arguments`` repeats ``args`` for the agent inbox, which reads no other name.
    """
    return {
        "action_requests": [
            {
                "name": entry.name,
                "args": dict(entry.args),
                "arguments": dict(entry.args),
                "description": entry.description or f"The assistant asks to run {entry.name!r}.",
                "tool_call_id": entry.tool_call_id,
                "approval_id": str(entry.id),
            }
            for entry in entries
        ],
        "review_configs": [
            {"action_name": entry.name, "allowed_decisions": list(entry.allowed)}
            for entry in {entry.name: entry for entry in entries}.values()
        ],
    }


def explanation(entry: Entry) -> str:
    """What the model reads of a call that did not run, or of which nobody knows whether it did."""
    match entry.status:
        case "responded":
            return entry.message or ""
        case "rejected":
            reason = f" The reason: {entry.message}" if entry.message else ""
            return (
                f"The call of {entry.name!r} was rejected and not carried out.{reason} "
                "Do not make the same call again unless the user asks for it."
            )
        case "cancelled":
            return f"The call of {entry.name!r} was cancelled and not carried out."
        case _:
            return (
                f"Nobody knows whether the call of {entry.name!r} was carried out: it was cut off in the middle. "
                "It is not repeated. Tell the user to check before anything is tried again."
            )


def asks(error: BaseException) -> bool:
    """Whether a tool that ended with this waits for a person, or was answered in a form that it does not take."""
    return isinstance(error, GraphBubbleUp) or is_invalid_resume(error)


async def _guarded(request: ToolCallRequest, handler: Handler) -> Outcome:
    """Run the tool; what it fails with becomes a result that the model reads, but for `Forbidden`."""
    try:
        with letting_through(request.tool_call["name"]):
            return await handler(request)
    except Exception as error:  # the model reads whatever a tool fails with
        if asks(error) or isinstance(error, Forbidden):
            raise
        if isinstance(error, PlatformError):
            return _message(request.tool_call, str(error), status="error")
        logger.exception("the tool %r failed", request.tool_call["name"])
        return _message(request.tool_call, "The tool failed unexpectedly. The server's log has the reason.", "error")


def _stopped(message: AIMessage, name: str, times: int) -> list[BaseMessage]:
    reason = f"Not carried out: the same call of {name!r} was made {times} times for one question."
    stopped: list[BaseMessage] = [_message(call, reason, status="error") for call in open_calls([message])[1]]
    return [
        *stopped,
        AIMessage(f"I stopped: I tried to use {name!r} in the same way {times} times, and it led nowhere."),
    ]


def _message(call: Any, text: str, status: str) -> ToolMessage:
    return ToolMessage(text, name=call["name"], tool_call_id=call["id"] or "", status=status)


def _noted(outcome: Outcome, entry: Entry) -> Outcome:
    """The result with a note for the model when a person changed what it asked for."""
    if entry.decided_args is None or not isinstance(outcome, ToolMessage) or not isinstance(outcome.content, str):
        return outcome
    ran = json.dumps(entry.decided_args, ensure_ascii=False, default=str)
    note = f"A person changed this call before it ran. {entry.name!r} ran with {ran}. Do not repeat your own call."
    return outcome.model_copy(update={"content": f"{note}\n\n{outcome.content}"})


def _message_of(request: ToolCallRequest) -> AIMessage | None:
    """The model's message that holds the call: the newest one in the state that does."""
    state = request.state
    messages = state if isinstance(state, list) else state.get("messages", []) if isinstance(state, Mapping) else []
    for message in reversed(messages):
        if isinstance(message, AIMessage) and any(call["id"] == request.tool_call["id"] for call in message.tool_calls):
            return message
    return None


def _thread(config: RunnableConfig) -> UUID:
    try:
        return UUID(str(config["configurable"]["thread_id"]))
    except (KeyError, ValueError) as error:
        raise InvalidInput("Tools with rules run on a thread only: set configurable.thread_id to its id.") from error


def _run(config: RunnableConfig) -> UUID | None:
    run = config.get("metadata", {}).get("run_id")
    return UUID(str(run)) if run else None
