"""The middleware: carries a request with an ``Idempotency-Key`` out once, and answers its repetitions."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from uuid import UUID

import orjson
import psycopg
from psycopg_pool import PoolTimeout
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth import find_principal, key_of, services_of
from app.idempotency.answer import Answer, Answers, Place, check_same
from app.idempotency.fingerprint import Fingerprint
from app.problems import respond
from core.domain import Principal
from core.errors import Conflict, InvalidInput, PlatformError

logger = logging.getLogger(__name__)

HEADER = "idempotency-key"
KEY = re.compile(r"[!-~]{1,255}")
THREAD = re.compile(r"/threads/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/|$)")
LONGEST = 1 << 20  # bytes of an answer that is kept
OWN = {"content-length", "transfer-encoding", "connection", "date"}
"""Headers that belong to one transmission."""
REFUSALS = (PlatformError, HTTPException, psycopg.OperationalError, PoolTimeout)


class Idempotency:
    """Every POST with the header is carried out at most once for each key, principal, path and query.

    Only what succeeded is kept: after an answer of 400 or more the key is free again.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry the request out, or answer it with what it was answered with before."""
        key = Headers(scope=scope).get(HEADER) if scope["type"] == "http" and scope["method"] == "POST" else None
        if key is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            principal = await _caller(request)
            work = None if principal is None else await self._begin(request, principal, key, receive)
        except REFUSALS as error:
            await (await respond(request, error))(scope, receive, send)
            return
        if work is None:
            await self._app(scope, receive, send)
        elif work.found is None:
            await self._carry_out(scope, work, send)
        else:
            await self._repeat(request, work.found, work.receive, send)

    async def _begin(self, request: Request, principal: Principal, key: str, receive: Receive) -> _Work:
        if not KEY.fullmatch(key):
            raise InvalidInput("An Idempotency-Key has 1 to 255 printable ASCII characters, such as a UUID.")
        answers = services_of(request).answers
        route = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        work = _Work(answers, Place(principal.id, route, key), receive, Fingerprint(_content_type(request)))
        # An upload is not held in memory: what it said is known when it was carried out.
        is_upload = _content_type(request).startswith(b"multipart/")
        if not is_upload:
            await work.read()
        work.found = await answers.claim(work.place, None if is_upload else work.fingerprint.digest())
        if work.found and is_upload:
            await work.read(keep=False)
            check_same(work.fingerprint.digest(), work.found.fingerprint)
        return work

    async def _carry_out(self, scope: Scope, work: _Work, send: Send) -> None:
        try:
            await self._app(scope, work.receive, work.recording(send))
        finally:
            await work.end()

    async def _repeat(self, request: Request, answer: Answer, receive: Receive, send: Send) -> None:
        """Give the kept answer; of a run that was streamed or waited for, follow the run itself."""
        if answer.body is not None:
            response = Response(answer.body, answer.status)
            response.raw_headers[:0] = [(name.encode(), value.encode()) for name, value in answer.headers]
            response.headers["Idempotent-Replayed"] = "true"
            await response(request.scope, receive, send)
            return
        place = _follow(request.url.path, dict(answer.headers))
        if place is None:
            gone = Conflict(
                "The request with this Idempotency-Key was carried out, but its answer was not kept: it was a stream, "
                "longer than 1 MiB, or nobody waited for it. Look at what it made."
            )
            await (await respond(request, gone))(request.scope, receive, send)
            return
        headers = [pair for pair in request.scope["headers"] if not pair[0].startswith(b"content-")]
        changed = {"method": "GET", "path": place, "raw_path": place.encode(), "query_string": b"", "headers": headers}
        await self._app({**request.scope, **changed}, receive, send)


@dataclass
class _Work:
    """A request on its way: what was read of it, and what it is answered with."""

    answers: Answers
    place: Place
    source: Receive
    fingerprint: Fingerprint
    found: Answer | None = None
    _read: list[Message] = field(default_factory=list)
    _start: Message | None = None
    _body: bytearray | None = field(default_factory=bytearray)
    _settled: bool = False

    async def read(self, *, keep: bool = True) -> None:
        """Read the whole body; kept, it is given again to whoever carries the request out."""
        more = True
        while more:
            message = await self._next()
            more = message.get("more_body", False)
            if keep:
                self._read.append(message)

    async def receive(self) -> Message:
        """The request's next message."""
        return self._read.pop(0) if self._read else await self._next()

    async def _next(self) -> Message:
        message = await self.source()
        self.fingerprint.add(message.get("body", b""))
        return message

    def recording(self, send: Send) -> Send:
        """``send``, with every message taken down before it goes out."""

        async def recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._start = message
                if Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream"):
                    self._body = None
                    await self._settle()
            elif message["type"] == "http.response.body" and self._body is not None:
                self._body += message.get("body", b"")
                if len(self._body) > LONGEST:
                    self._body = None
                if not message.get("more_body", False):
                    await self._settle()
            await send(message)

        return recorded

    async def end(self) -> None:
        """Keep what there is of an answer that was broken off."""
        if not self._settled:
            self._body = None
            await self._settle()

    async def _settle(self) -> None:
        """Keep the answer, or give the key free. A database that is away leaves the key as under way, which is safe."""
        if self._settled:
            return
        self._settled = True
        try:
            if self._start is None or self._start["status"] >= 400:
                await self.answers.release(self.place)
                return
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._start["headers"]]
            answer = Answer(
                status=self._start["status"],
                headers=[pair for pair in headers if pair[0].lower() not in OWN],
                body=None if self._body is None else bytes(self._body),
                fingerprint=self.fingerprint.digest(),
            )
            await self.answers.keep(self.place, answer, _thread(self.place.route, answer))
        except (psycopg.Error, PoolTimeout) as error:
            logger.warning("the answer to an idempotency key could not be kept: %s", type(error).__name__)


async def _caller(request: Request) -> Principal | None:
    key = key_of(request)
    return None if key is None else await find_principal(services_of(request).pool, key)


def _content_type(request: Request) -> bytes:
    return request.headers.get("content-type", "").encode("latin-1")


def _follow(path: str, headers: dict[str, str]) -> str | None:
    """Where a run goes on whose answer was not kept: its stream, or its end."""
    if headers.get("content-type", "").startswith("text/event-stream"):
        return headers.get("location")
    run = headers.get("content-location")
    return f"{run}/join" if run and path.endswith("/runs/wait") else None


def _thread(route: str, answer: Answer) -> UUID | None:
    """The thread that the answer is about."""
    named = THREAD.search(route) or THREAD.search(dict(answer.headers).get("content-location", ""))
    if named:
        return UUID(named[1])
    if route != "/threads" or answer.body is None:
        return None
    return UUID(orjson.loads(answer.body)["thread_id"])
