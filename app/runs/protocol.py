"""The second protocol's events of a run, made of the events of its log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import orjson

Event: TypeAlias = dict[str, Any]
Namespace: TypeAlias = tuple[str, ...]
Said: TypeAlias = Iterator[tuple[str, Namespace, Any]]

SUB_BITS = 8
"""What one event of the log becomes is numbered within it in these bits: at most 255 events."""
LAST = 2**SUB_BITS - 1
STOPPED = {"interrupted": "The run was stopped.", "deleted": "The run was rolled back."}
"""Ends that the log has no error of; clients wait for ``completed`` or ``failed``."""


class Translator:
    """The events of one run; a run is translated from its first event on, because messages are said in pieces."""

    def __init__(self, graph: str) -> None:
        self._graph = graph
        self._open: dict[Namespace, Message] = {}
        self._seen: set[Namespace] = set()
        self._asked: set[str] = set()

    def events(self, place: int, name: str, data: str) -> Iterator[Event]:
        """What one event of the log becomes."""
        kind, *namespace = name.split("|")
        for index, (method, where, said) in enumerate(self._said(kind, tuple(namespace), orjson.loads(data))):
            yield event(place << SUB_BITS | min(index + 1, LAST), method, where, said)

    def end(self, place: int, status: str) -> Iterator[Event]:
        """What the end of the run becomes."""
        index = 0
        for index, (method, where, said) in enumerate(self._closed(), 1):
            yield event(place << SUB_BITS | min(index, LAST - 1), method, where, said)
        if self._asked:
            data = {"event": "interrupted"}
        elif status in STOPPED:
            data = {"event": "failed", "error": STOPPED[status]}
        elif status == "success":
            data = {"event": "completed"}
        else:
            return  # its error was said
        yield event(place << SUB_BITS | LAST, "lifecycle", (), {"graph_name": self._graph, **data})

    def _said(self, kind: str, where: Namespace, data: Any) -> Said:
        yield from self._started(where)
        if kind == "messages":
            yield from self._message(where, *data)
        elif kind == "error":
            yield "lifecycle", (), {"event": "failed", "graph_name": self._graph, "error": data.get("message", "")}
        elif kind == "metadata":
            yield "lifecycle", (), {"event": "running", "graph_name": self._graph}
        elif kind in ("values", "updates"):
            yield from self._asks(where, data)
            yield from _state(kind, where, data)
        elif kind == "custom":
            yield kind, where, _custom(data)
        elif kind == "checkpoints":
            yield kind, where, _checkpoint(data)
        elif kind in ("tasks", "tools"):
            yield kind, where, data
            yield from self._finished(kind, where, data)

    def _started(self, where: Namespace) -> Said:
        for depth in range(1, len(where) + 1):
            if (below := where[:depth]) not in self._seen:
                self._seen.add(below)
                yield "lifecycle", below, {"event": "started", "graph_name": below[-1].partition(":")[0]}

    def _finished(self, kind: str, where: Namespace, data: Any) -> Said:
        below = (*where, f"{data.get('name')}:{data.get('id')}")
        if kind == "tasks" and "result" in data and below in self._seen:
            how = "failed" if data.get("error") else "interrupted" if data.get("interrupts") else "completed"
            yield "lifecycle", below, {"event": how, "graph_name": data["name"]}

    def _asks(self, where: Namespace, data: Any) -> Said:
        for item in data.get("__interrupt__") or () if isinstance(data, dict) else ():
            if item["id"] not in self._asked:
                self._asked.add(item["id"])
                # Clients in Python read the value, those in JavaScript the payload.
                yield (
                    "input.requested",
                    where,
                    {"interrupt_id": item["id"], "value": item["value"], "payload": item["value"]},
                )

    def _message(self, where: Namespace, chunk: Mapping[str, Any], metadata: Mapping[str, Any]) -> Said:
        if chunk["type"] not in ("ai", "AIMessageChunk"):
            return
        message = self._open.get(where)
        if message is None or message.id != chunk["id"]:
            if message is not None:
                yield from (("messages", where, said) for said in message.finish())
            message = self._open[where] = Message(str(chunk["id"]))
            yield "messages", where, message.start(metadata)
        yield from (("messages", where, said) for said in message.grow(chunk))
        if chunk["type"] == "ai" or chunk.get("chunk_position") == "last":
            yield from (("messages", where, said) for said in message.finish())
            del self._open[where]

    def _closed(self) -> Said:
        for where, message in self._open.items():
            yield from (("messages", where, said) for said in message.finish())
        self._open = {}


class Message:
    """A message of a model that is being said: a block of text, and one for each tool call."""

    def __init__(self, message_id: str) -> None:
        self.id = message_id
        self._blocks: dict[Any, dict[str, Any]] = {}
        self._usage: Any = None

    def start(self, metadata: Mapping[str, Any]) -> Event:
        """The beginning."""
        kept = {key: metadata[key] for key in ("run_id", "thread_id", "langgraph_node") if metadata.get(key)}
        return {"event": "message-start", "role": "ai", "id": self.id, "message_id": self.id, "metadata": kept}

    def grow(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        """A piece, or the whole of it at once."""
        self._usage = chunk.get("usage_metadata") or self._usage
        for text in _texts(chunk["content"]):
            yield from self._block("text", {"type": "text", "text": ""})
            self._blocks["text"]["text"] += text
            yield self._delta("text", {"type": "text-delta", "text": text})
        for call in chunk.get("tool_call_chunks") or () if chunk["type"] != "ai" else _whole_calls(chunk):
            yield from self._call(call)

    def _call(self, call: Mapping[str, Any]) -> Iterator[Event]:
        key = ("call", call.get("index"))
        yield from self._block(key, {"type": "tool_call_chunk", "id": call["id"], "name": call["name"], "args": ""})
        block = self._blocks[key]
        block["id"], block["name"] = block["id"] or call["id"], block["name"] or call["name"]
        block["args"] += call["args"] or ""
        said = {"type": "tool_call_chunk", "id": block["id"], "name": block["name"], "args": block["args"]}
        yield self._delta(key, {"type": "block-delta", "fields": said})

    def finish(self) -> Iterator[Event]:
        """The end of all that is open."""
        for key, block in self._blocks.items():
            yield self._said("content-block-finish", key, content=_final(block))
        usage = {"usage": self._usage} if self._usage else {}
        yield {"event": "message-finish", "message_id": self.id, **usage}

    def _block(self, key: Any, skeleton: dict[str, Any]) -> Iterator[Event]:
        if key not in self._blocks:
            self._blocks[key] = dict(skeleton)
            yield self._said("content-block-start", key, content=skeleton)

    def _delta(self, key: Any, delta: Event) -> Event:
        return self._said("content-block-delta", key, delta=delta)

    def _said(self, what: str, key: Any, **more: Any) -> Event:
        return {"event": what, "index": list(self._blocks).index(key), "message_id": self.id, **more}


def event(seq: int, method: str, where: Namespace, data: Any) -> Event:
    """An event in its envelope."""
    params = {"namespace": list(where), "timestamp": int(time.time() * 1000), "data": data}
    return {"type": "event", "seq": seq, "event_id": str(seq), "method": method, "params": params}


def _state(kind: str, where: Namespace, data: Any) -> Said:
    if not isinstance(data, dict):
        yield kind, where, data
        return
    rest = {key: value for key, value in data.items() if key != "__interrupt__"}
    if kind == "values":
        yield kind, where, rest
        return
    for node, values in rest.items():
        yield kind, where, {"node": node, "values": values}


def _custom(data: Any) -> Event:
    name = data.get("name") if isinstance(data, dict) else None
    return {"payload": data, **({"name": name} if isinstance(name, str) else {})}


def _checkpoint(data: Mapping[str, Any]) -> Event:
    metadata, parent = data.get("metadata") or {}, data.get("parent_checkpoint") or {}
    found = {
        "id": (data.get("checkpoint") or {}).get("checkpoint_id"),
        "parent_id": parent.get("checkpoint_id"),
        "step": metadata.get("step"),
        "source": metadata.get("source"),
    }
    return {key: value for key, value in found.items() if value is not None}


def _texts(content: Any) -> Iterator[str]:
    blocks = (
        [content]
        if isinstance(content, str)
        else [block.get("text", "") for block in content if isinstance(block, dict) and block.get("type") == "text"]
    )
    yield from (text for text in blocks if text)


def _whole_calls(message: Mapping[str, Any]) -> Iterator[Event]:
    for index, call in enumerate(message.get("tool_calls") or ()):
        yield {"index": index, "id": call["id"], "name": call["name"], "args": orjson.dumps(call["args"]).decode()}


def _final(block: dict[str, Any]) -> Event:
    if block["type"] == "text":
        return block
    named = {"id": block["id"], "name": block["name"]}
    try:
        return {"type": "tool_call", **named, "args": orjson.loads(block["args"] or "{}")}
    except orjson.JSONDecodeError:
        return {"type": "invalid_tool_call", **named, "args": block["args"], "error": "The arguments are no JSON."}
