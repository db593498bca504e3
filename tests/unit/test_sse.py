"""Server-sent events as an ASGI server sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest

from app.sse import EventStream, sse

Message = MutableMapping[str, Any]


class Server:
    """The server's side of one request: what was sent, and whether the reader has gone."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.gone = asyncio.Event()
        self.news = asyncio.Event()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            self.sent.append(message["body"])
            self.news.set()

    async def serve(self, stream: EventStream) -> None:
        await stream({"type": "http"}, self.receive, self.send)


async def test_frames_are_sent_as_they_come_and_the_stream_ends_with_them() -> None:
    async def two() -> AsyncGenerator[bytes]:
        yield sse("values", "{}", 1)
        yield sse("end", "null")

    server = Server()
    await server.serve(EventStream(two(), {"Location": "/there"}))
    assert server.sent == [b"event: values\ndata: {}\nid: 1\n\n", b"event: end\ndata: null\n\n"]


async def test_silence_is_filled_with_heartbeats() -> None:
    async def silent() -> AsyncGenerator[bytes]:
        await beaten.wait()
        yield b"x"

    beaten, server = asyncio.Event(), Server()
    serving = asyncio.create_task(server.serve(EventStream(silent(), {}, heartbeat_s=0.01)))
    await server.news.wait()
    beaten.set()
    await serving
    assert server.sent[0] == b": heartbeat\n\n"
    assert server.sent[-1] == b"x"


async def test_the_generator_is_closed_when_the_reader_leaves() -> None:
    async def endless() -> AsyncGenerator[bytes]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            closed.set()

    closed, server = asyncio.Event(), Server()
    serving = asyncio.create_task(server.serve(EventStream(endless(), {})))
    await server.news.wait()
    server.gone.set()
    await serving
    assert closed.is_set()


async def test_a_failure_of_the_frames_is_raised_after_the_generator_was_closed() -> None:
    async def failing() -> AsyncGenerator[bytes]:
        yield b"x"
        raise RuntimeError("away")

    server = Server()
    with pytest.raises(RuntimeError, match="away"):
        await server.serve(EventStream(failing(), {}))
    assert server.sent == [b"x"]
