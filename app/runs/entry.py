"""What waits to be written to a run's log: tokens grow together until they are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from langchain_core.messages import AIMessageChunk, BaseMessage

from app.wire import to_json

PARTIAL = "messages/partial"


class Entry:
    """An event that is not written yet."""

    __slots__ = ("data", "event", "size")

    def __init__(self, event: str, data: str) -> None:
        self.event = event
        self.data = data
        self.size = len(data)

    def json(self) -> str:
        """One line of JSON."""
        return self.data


class Token(Entry):
    """A piece of a model's answer with its metadata; the next piece of the same answer is joined to it."""

    __slots__ = ("message", "metadata", "texts")

    def __init__(self, event: str, message: AIMessageChunk, metadata: str) -> None:
        super().__init__(event, "")
        self.message = message
        self.metadata = metadata
        self.texts = [str(message.content)]
        self.size = len(metadata) + len(self.texts[0]) + 256

    def join(self, event: str, message: AIMessageChunk) -> bool:
        """Take in the next piece; False when something else than its text differs."""
        mine = self.message
        if event != self.event or message.id != mine.id or message.response_metadata != mine.response_metadata:
            return False
        self.texts.append(str(message.content))
        return True

    def json(self) -> str:
        """One line of JSON."""
        fields = {**self.message.__dict__, "content": "".join(self.texts)}
        return f"[{orjson.dumps(fields).decode()},{self.metadata}]"


class Partial(Entry):
    """A message so far; a longer one takes its place."""

    __slots__ = ("message_id",)

    def __init__(self, data: list[BaseMessage]) -> None:
        super().__init__(PARTIAL, to_json(data))
        self.message_id = data[0].id


class Entries:
    """The entries of one run that wait, in order."""

    def __init__(self) -> None:
        self._waiting: list[Entry] = []
        self._metadata: tuple[Any, str] = (None, "")
        self._answer: str | None = None
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, event: str, data: Any) -> bool:
        """Add an event; True when it should be written at once, and not with what comes soon after it."""
        if is_plain_token(data):
            return self._put_token(event, *data)
        if event == PARTIAL:
            return self._put_partial(data)
        self._add(Entry(event, to_json(data)))
        return True

    def take(self) -> list[Entry]:
        """All that waits; nothing waits afterwards."""
        taken, self._waiting, self.size = self._waiting, [], 0
        return taken

    def _put_token(self, event: str, message: AIMessageChunk, metadata: Mapping[str, Any]) -> bool:
        # Each token of an answer brings the same mapping: it is made JSON of only once.
        if self._metadata[0] is not metadata:
            self._metadata = (metadata, to_json(metadata))
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, Token) and last.metadata is self._metadata[1] and last.join(event, message):
            self.size += len(message.content)
            return False
        self._add(Token(event, message, self._metadata[1]))
        first, self._answer = message.id != self._answer, message.id
        return first

    def _put_partial(self, data: list[BaseMessage]) -> bool:
        entry = Partial(data)
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, Partial) and last.message_id == entry.message_id:
            self.size -= self._waiting.pop().size
        self._add(entry)
        first, self._answer = entry.message_id != self._answer, entry.message_id
        return first

    def _add(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self.size += entry.size


def is_plain_token(data: Any) -> bool:
    """Whether the data is a token with its metadata, and the token nothing but text."""
    if not isinstance(data, tuple) or len(data) != 2 or type(data[0]) is not AIMessageChunk:
        return False
    message = data[0]
    return (
        isinstance(message.content, str)
        and message.chunk_position is None
        and message.usage_metadata is None
        and not message.additional_kwargs
        and not message.tool_call_chunks
        and not message.model_extra
    )
