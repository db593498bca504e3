"""Plays a graph: what LangGraph streams, under the event names of the Agent Server protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

from langchain_core.messages import BaseMessage, BaseMessageChunk, message_chunk_to_message
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from app.wire import checkpoint_of

StreamMode = Literal[
    "values",
    "updates",
    "messages",
    "messages-tuple",
    "custom",
    "events",
    "tasks",
    "checkpoints",
    "debug",
    "tools",
    "lifecycle",
]
"""The protocol's stream modes."""

Interrupts = Literal["*"] | Sequence[str] | None
Part = tuple[tuple[str, ...], str, Any]
"""What LangGraph streams: the namespace of the subgraph (empty for the root), the mode and the payload."""

HIDDEN = "langsmith:hidden"
OTHER_NAMES = {"messages-tuple": "messages"}
"""The protocol's stream modes that have another name in LangGraph."""


async def play(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    given: Mapping[str, Any] | Command[Any] | None,
    config: Any,
    context: object | None,
    *,
    modes: Sequence[str],
    subgraphs: bool = False,
    interrupt_before: Interrupts = None,
    interrupt_after: Interrupts = None,
    durability: Literal["sync", "async", "exit"] = "sync",
    on_message: Callable[[BaseMessage, Mapping[str, Any]], None] | None = None,
) -> AsyncGenerator[tuple[str, Any]]:
    """Execute a graph; yields the protocol's events as (name, data), with LangGraph's own objects as data.

    ``given`` is the input, a command, or None to go on from the last checkpoint. ``modes`` are the protocol's.
    ``on_message`` gets every token or message with its metadata, whatever the modes are.
    With ``subgraphs`` the event of a subgraph is named ``mode|namespace|…``.
    """
    names = Names(modes)
    wanted = names.langgraph_modes(also_messages=on_message is not None)
    options: dict[str, Any] = {
        "context": context,
        "stream_mode": wanted,
        "subgraphs": subgraphs,
        "interrupt_before": interrupt_before,
        "interrupt_after": interrupt_after,
        "durability": durability,
    }
    if "events" in modes:
        async with aclosing(_with_events(graph, given, config, options)) as mixed:
            async for name, value in mixed:
                if name == "events":
                    yield name, value
                    continue
                for event in _named(value, names, on_message):
                    yield event
        return
    stream: AsyncGenerator[Any] = graph.astream(given, config, **options)  # type: ignore[assignment]
    async with aclosing(stream) as parts:
        async for part in parts:
            for event in _named(part if subgraphs else ((), *part), names, on_message):
                yield event


def _named(
    part: Part, names: Names, on_message: Callable[[BaseMessage, Mapping[str, Any]], None] | None
) -> Iterator[tuple[str, Any]]:
    if on_message is not None and part[1] == "messages":
        on_message(*part[2])
    return names.events(part)


async def _with_events(
    graph: CompiledStateGraph[Any, Any, Any, Any], given: Any, config: Any, options: dict[str, Any]
) -> AsyncGenerator[tuple[str, Any]]:
    """LangChain's events, and beside them the parts that the root graph streams."""
    root: str | None = None
    stream: AsyncGenerator[Any] = graph.astream_events(given, config, version="v2", **options)  # type: ignore[assignment]
    async with aclosing(stream) as events:
        async for event in events:
            root = root or event["run_id"]
            if HIDDEN in (event.get("tags") or ()):
                continue
            yield "events", event
            if event["event"] == "on_chain_stream" and event["run_id"] == root:
                part = event["data"]["chunk"]
                yield "part", part if options["subgraphs"] else ((), *part)


class Names:
    """The protocol's events of LangGraph's parts, for the modes that one run was asked for."""

    def __init__(self, modes: Sequence[str]) -> None:
        self._modes = frozenset(modes)
        self._whole: dict[str, BaseMessage] = {}

    def langgraph_modes(self, *, also_messages: bool) -> list[str]:
        """What LangGraph must stream; never nothing, because a part is what moves it on."""
        modes = {OTHER_NAMES.get(mode, mode) for mode in self._modes} - {"events", "lifecycle"}
        if also_messages:
            modes.add("messages")
        return sorted(modes or {"updates"})

    def events(self, part: Part) -> Iterator[tuple[str, Any]]:
        """The events of one part; none when nobody asked for its mode."""
        namespace, mode, payload = part
        if mode == "messages":
            yield from self._messages(namespace, payload)
        elif mode in self._modes:
            yield placed(mode, namespace), _with_checkpoint(mode, payload)

    def _messages(self, namespace: tuple[str, ...], payload: tuple[BaseMessage, Mapping[str, Any]]) -> Any:
        if "messages-tuple" in self._modes:
            yield placed("messages", namespace), payload
        elif "messages" in self._modes:
            yield from self._grown(*payload)

    def _grown(self, message: BaseMessage, metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """A token as the whole message so far; its metadata goes before the first one."""
        key = message.id or ""
        known = self._whole.get(key)
        if known is None:
            yield "messages/metadata", {key: {"metadata": metadata}}
        if not isinstance(message, BaseMessageChunk):
            self._whole[key] = message
            yield "messages/complete", [message]
            return
        # Adding chunks gives a chunk, which the types do not say.
        whole: Any = known + message if isinstance(known, BaseMessageChunk) else message
        self._whole[key] = whole
        yield "messages/partial", [message_chunk_to_message(whole)]


def placed(name: str, namespace: Sequence[str]) -> str:
    """An event's name with the place of the subgraph that it comes from: ``values|ns1|ns2``."""
    return "|".join((name, *namespace))


def _with_checkpoint(mode: str, payload: Any) -> Any:
    """The payload with its configs as the protocol's checkpoints, where the mode has some."""
    if mode == "checkpoints":
        return _checkpoint(payload)
    if mode == "debug" and payload["type"] == "checkpoint":
        return {**payload, "payload": _checkpoint(payload["payload"])}
    return payload


def _checkpoint(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **payload,
        "checkpoint": checkpoint_of(payload.get("config")),
        "parent_checkpoint": checkpoint_of(payload.get("parent_config")),
        "tasks": [_task(task) for task in payload["tasks"]],
    }


def _task(task: Mapping[str, Any]) -> dict[str, Any]:
    state = task.get("state")
    if not isinstance(state, Mapping) or "configurable" not in state:
        return dict(task)
    return {**{key: value for key, value in task.items() if key != "state"}, "checkpoint": dict(state["configurable"])}
