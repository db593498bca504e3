"""A web server that answers byte for byte what a test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Pieces = AsyncIterator[bytes]


@dataclass(slots=True)
class Call:
    """A request as it came."""

    path: str
    headers: dict[str, str]


@dataclass(slots=True)
class WebServer:
    """Answers by path: bytes, or a function that makes pieces of them; everything else is 404."""

    port: int = 0
    answers: dict[str, bytes | Callable[[Call], bytes | Pieces]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            call = Call(first.split(" ")[1], headers)
            self.calls.append(call)
            answer = self.answers.get(call.path, respond(b"", status="404 Not Found"))
            made = answer(call) if callable(answer) else answer
            if isinstance(made, bytes):
                writer.write(made)
            else:
                async for piece in made:
                    writer.write(piece)
                    await writer.drain()
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def respond(body: bytes, status: str = "200 OK", *, length: str = "", **headers: str) -> bytes:
    """An answer; ``content_type="text/html"`` gives the header Content-Type."""
    given = {"Content-Length": length or str(len(body)), "Connection": "close"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def run_web_server(context: ssl.SSLContext | None = None) -> AsyncIterator[WebServer]:
    """The server while the block runs."""
    server = WebServer()
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()
