"""Server-sent events: frames, and the response that keeps a stream alive and notices when its reader has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

HEARTBEAT_S = 15.0
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def sse(event: str, data: str, seq: int | None = None) -> bytes:
    """A frame; ``data`` must be one line."""
    place = "" if seq is None else f"\nid: {seq}"
    return f"event: {event}\ndata: {data}{place}\n\n".encode()


def event_stream(
    request: Request,  # noqa: ARG001 (says that the route is one that is read from for long)
    frames: AsyncGenerator[bytes],
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """The frames as a response; when the reader goes away, the generator of the frames is closed."""
    return EventStream(frames, headers or {})


class EventStream(StreamingResponse):
    """Frames as they come, with ``: heartbeat`` after every silence of ``heartbeat_s`` seconds.

    A reader who is slow to take the frames makes their generator wait; one who leaves has it closed.
    """

    def __init__(
        self, frames: AsyncGenerator[bytes], headers: Mapping[str, str], heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        super().__init__(frames, media_type="text/event-stream", headers={**HEADERS, **headers})
        self._frames = frames
        self._heartbeat_s = heartbeat_s
        self._sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send until the frames end or the reader has gone."""
        tasks = [asyncio.ensure_future(work) for work in (self._pump(send), self._heartbeats(send), departure(receive))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            # What the generator holds is given back even when this task is cancelled meanwhile.
            await asyncio.shield(asyncio.ensure_future(self._close(tasks)))
        if self.background is not None:
            await self.background()

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for frame in self._frames:
            await self._send(send, frame)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, body: bytes) -> None:
        self._sent = asyncio.get_running_loop().time()
        await send({"type": "http.response.body", "body": body, "more_body": True})

    async def _heartbeats(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        self._sent = loop.time()
        while True:
            left = self._sent + self._heartbeat_s - loop.time()
            if left > 0:
                await asyncio.sleep(left)
            else:
                await self._send(send, b": heartbeat\n\n")

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        pump, *others = tasks
        await asyncio.gather(*others, return_exceptions=True)
        ended = await asyncio.gather(pump, return_exceptions=True)
        await self._frames.aclose()
        if isinstance(ended[0], Exception):
            raise ended[0]


async def departure(receive: Receive) -> None:
    """Return when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
