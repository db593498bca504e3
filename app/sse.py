"""Server-sent events: frames, and the response that keeps a stream alive through proxies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from fastapi.responses import StreamingResponse

HEARTBEAT_S = 15.0
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def sse(event: str, data: str, seq: int | None = None) -> bytes:
    """A frame; ``data`` must be one line."""
    lines = [f"event: {event}", f"data: {data}"] + ([] if seq is None else [f"id: {seq}"])
    return ("\n".join(lines) + "\n\n").encode()


def event_stream(frames: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> StreamingResponse:
    """The frames as a response, with a comment whenever nothing was said for a while."""
    return StreamingResponse(
        with_heartbeat(frames), media_type="text/event-stream", headers={**HEADERS, **(headers or {})}
    )


async def with_heartbeat(frames: AsyncIterator[bytes], seconds: float = HEARTBEAT_S) -> AsyncIterator[bytes]:
    """The frames, and ``: heartbeat`` after every silence of ``seconds``."""
    waiting: asyncio.Future[bytes] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(frames))
            done, _ = await asyncio.wait([waiting], timeout=seconds)
            if not done:
                yield b": heartbeat\n\n"
                continue
            try:
                frame = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield frame
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
