"""A chat server for tests: it passes requests on to the real model server, unless a test scripts the next answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


@dataclass
class Script:
    """Answers to give in turn, word by word with a pause before each; or a status to fail with."""

    answers: list[str] = field(default_factory=list)
    pause_s: float = 0.0
    status: int = 200
    requests: list[dict[str, Any]] = field(default_factory=list)
    hung_up: int = 0


class Relay:
    """Scripts or passes on chat completions."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._script: Script | None = None
        self.url = ""

    @contextmanager
    def scripted(self, *answers: str, pause_s: float = 0.0, status: int = 200) -> Iterator[Script]:
        """Give these answers while the block runs; the last one is repeated."""
        self._script = Script(list(answers), pause_s, status)
        try:
            yield self._script
        finally:
            self._script = None

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        script = self._script
        if script is None:
            return await self._pass_on(body)
        script.requests.append(body)
        if script.status != 200:
            return JSONResponse({"error": {"message": "scripted failure"}}, script.status)
        answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
        if not body.get("stream"):
            await asyncio.sleep(script.pause_s)
            message = {"role": "assistant", "content": answer}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return JSONResponse({"id": "scripted", "object": "chat.completion", "choices": [choice], "usage": USAGE})
        return StreamingResponse(self._words(script, answer), media_type="text/event-stream")

    async def _words(self, script: Script, answer: str) -> AsyncIterator[bytes]:
        words = [word if place == 0 else f" {word}" for place, word in enumerate(answer.split(" "))]
        said = 0
        try:
            for word in words:
                await asyncio.sleep(script.pause_s)
                yield chunk([{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}])
                said += 1
        finally:
            script.hung_up += said < len(words)
        yield chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        yield chunk([], usage=USAGE)
        yield b"data: [DONE]\n\n"

    async def _pass_on(self, body: dict[str, Any]) -> Response:
        address = f"{self._upstream}/chat/completions"
        if not body.get("stream"):
            async with httpx.AsyncClient(timeout=120) as client:
                reply = await client.post(address, json=body)
            return Response(reply.content, reply.status_code, media_type="application/json")

        async def stream() -> AsyncIterator[bytes]:
            async with (
                httpx.AsyncClient(timeout=120) as client,
                client.stream("POST", address, json=body) as reply,
            ):
                async for piece in reply.aiter_raw():
                    yield piece

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": []})


USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
    """A frame of a streamed completion."""
    frame = {"id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": "scripted"}
    return f"data: {json.dumps({**frame, 'choices': choices, **more})}\n\n".encode()


@asynccontextmanager
async def serve(app: Any, http: Any = "auto") -> AsyncIterator[str]:
    """Serve an ASGI app in this event loop on a free port; yields its address."""
    config = uvicorn.Config(
        app, port=0, http=http, log_config=None, timeout_graceful_shutdown=1, ws="none", lifespan="on"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def run_relay(upstream: str) -> AsyncIterator[Relay]:
    """The relay in front of a model server."""
    relay = Relay(upstream)
    routes = [
        Route("/v1/chat/completions", relay.complete, methods=["POST"]),
        Route("/v1/models", relay.models),
    ]
    async with serve(Starlette(routes=routes)) as url:
        relay.url = f"{url}/v1"
        yield relay
