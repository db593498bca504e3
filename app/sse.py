"""Server-sent events: frames, and the response that keeps a stream alive and notices when its reader has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

HEARTBEAT_S = 15.0
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def sse(event: str, data: str, seq: int | None = None) -> bytes:
    """A frame; ``data`` must be one line."""
    lines = [f"event: {event}", f"data: {data}"] + ([] if seq is None else [f"id: {seq}"])
    return ("\n".join(lines) + "\n\n").encode()


def event_stream(
    request: Request, frames: AsyncGenerator[bytes], headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """The frames as a response; when the reader goes away, the generator of the frames is closed."""
    body = watched(frames, asyncio.ensure_future(departure(request)))
    return StreamingResponse(body, media_type="text/event-stream", headers={**HEADERS, **(headers or {})})


async def departure(request: Request) -> None:
    """Return when the reader has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def watched(
    frames: AsyncGenerator[bytes], gone: asyncio.Future[None], seconds: float = HEARTBEAT_S
) -> AsyncIterator[bytes]:
    """The frames, with ``: heartbeat`` after every silence of ``seconds``, until the reader has gone."""
    waiting: asyncio.Future[bytes] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(frames))
            both: list[asyncio.Future[Any]] = [waiting, gone]
            done, _ = await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if gone in done:
                return
            if waiting not in done:
                yield b": heartbeat\n\n"
                continue
            try:
                frame = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield frame
    finally:
        gone.cancel()
        await asyncio.shield(asyncio.ensure_future(close(frames, waiting)))


async def close(frames: AsyncGenerator[bytes], waiting: asyncio.Future[bytes] | None) -> None:
    """End the generator wherever it is, so that what it holds is given back."""
    if waiting is not None:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await frames.aclose()
