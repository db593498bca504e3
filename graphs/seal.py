"""Sealed tools: they run where a gate has let their call through, and nowhere else, however a graph is built."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from core.errors import InvalidInput, PlatformError

_passes: ContextVar[list[str] | None] = ContextVar("passes", default=None)
"""The tools that may run in this context, each once."""


@contextmanager
def letting_through(name: str) -> Iterator[None]:
    """Let the tool run once in the block."""
    token = _passes.set([name])
    try:
        yield
    finally:
        _passes.reset(token)


def sealed(tool: BaseTool) -> BaseTool:
    """The tool, but it refuses to run where no gate has let it through: a subagent without one, a plain tool node.

    Raises:
        InvalidInput: it is of a kind that cannot be sealed.
    """
    if not isinstance(tool, StructuredTool):
        raise InvalidInput(f"The tool {tool.name!r} cannot be sealed: make it a StructuredTool (`@tool` does).")
    if (tool.metadata or {}).get("sealed"):
        return tool
    update: dict[str, Any] = {"metadata": {**(tool.metadata or {}), "sealed": True}}
    if tool.coroutine is not None:
        update["coroutine"] = _guarded(tool.name, tool.coroutine)
    if tool.func is not None:
        update["func"] = _guarded_function(tool.name, tool.func)
    return tool.model_copy(update=update)


def _guarded(name: str, run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(run)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        _demand(name)
        return await run(*args, **kwargs)

    return guarded


def _guarded_function(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(run)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _demand(name)
        return run(*args, **kwargs)

    return guarded


def _demand(name: str) -> None:
    # A list, so that a pass that is used up is used up for whoever copied the context.
    passes = _passes.get()
    if not passes or name not in passes:
        raise PlatformError(
            f"The tool {name!r} runs behind its gate only. Add GateMiddleware to the agent that uses it."
        )
    passes.remove(name)
