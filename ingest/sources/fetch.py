"""Fetching from the web for somebody else: to checked addresses only, within limits, and again when that can help."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import BinaryIO

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from core.errors import Forbidden, InvalidInput, NotFound, TooLarge, Unavailable
from ingest.sources.address import Allowed, Resolve, checked, look_up

USER_AGENT = "Ragstone/0.1 (document ingestion; fetches what its users name)"
REDIRECTS = 5
ATTEMPTS = 3
LONGEST_WAIT_S = 30.0
CONNECT_S = 10.0
IDLE_S = 30.0
URL_CHARS = 2000
PIECE = 1 << 20
SLACK = 1 << 20
GZIP = ("gzip", "x-gzip")
ACCEPT = "text/html,application/xhtml+xml,application/pdf,text/*;q=0.9,*/*;q=0.5"
PORTS = {"http": 80, "https": 443}
TRY_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``size`` in bytes, of what is left after unpacking; ``time_s`` in seconds, for one attempt as a whole."""

    size: int
    time_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came: the address that answered in the end, and its headers."""

    url: httpx.URL
    headers: httpx.Headers


class TryAgain(Unavailable):
    """The server asks to come back, after ``wait_s`` seconds when it says so."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class CheckedTransport(httpx.AsyncBaseTransport):
    """Connects to addresses that were checked; the host's name stays in the Host header and in the TLS handshake.

    No connection is used twice: one that was made for a host must not serve another one that has the same address.
    """

    def __init__(self, allowed: Allowed, resolve: Resolve, context: ssl.SSLContext) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = httpx.AsyncHTTPTransport(
            verify=context, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the first of the host's addresses that answers."""
        host, port = request.url.host, request.url.port or PORTS[request.url.scheme]
        problem: httpx.HTTPError | None = None
        for address in await checked(host, port, self._allowed, self._resolve):
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                problem = error
        raise problem or httpx.ConnectError(f"{host} has no address")

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """Fetches addresses; see `open_fetcher`."""

    client: httpx.AsyncClient
    limits: Limits = field(default_factory=lambda: Limits(size=100 << 20, time_s=120.0))

    async def fetch(self, address: str, target: BinaryIO, *, known: str | None = None) -> Answer | None:
        """Write what ``address`` answers to ``target``; nothing when it has not changed since version ``known``.

        Raises:
            NotFound: it is not there.
            Forbidden: it, or what it leads to, must not be fetched.
            TooLarge: it is above the limit.
            InvalidInput: it is no address that is fetched, or the server refuses the request for good.
            Unavailable: the host does not answer, or not in time.
        """
        start = target.tell()
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TryAgain),
            stop=stop_after_attempt(ATTEMPTS),
            wait=_pause,
            reraise=True,
        ):
            with attempt:
                target.seek(start)
                target.truncate()
                return await self._once(read_url(address), target, _condition(known))
        raise AssertionError("unreachable")

    async def _once(self, url: httpx.URL, target: BinaryIO, headers: dict[str, str]) -> Answer | None:
        try:
            async with asyncio.timeout(self.limits.time_s):
                for _ in range(REDIRECTS + 1):
                    async with self._sent(url, headers) as response:
                        if response.has_redirect_location:
                            url = read_url(str(url.join(response.headers["location"])))
                            continue
                        if response.status_code == httpx.codes.NOT_MODIFIED:
                            return None
                        _judge(response)
                        await self._receive(response, target)
                        return Answer(url=url, headers=response.headers)
        except TimeoutError as error:
            raise TryAgain(f"The host {url.host!r} took longer than {self.limits.time_s:g} s.") from error
        raise InvalidInput(f"The host {url.host!r} sends on more than {REDIRECTS} times. Give the final address.")

    @asynccontextmanager
    async def _sent(self, url: httpx.URL, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        try:
            async with self.client.stream("GET", url, headers=headers) as response:
                yield response
        except httpx.TimeoutException as error:
            raise TryAgain(f"The host {url.host!r} does not answer in time.") from error
        except (httpx.HTTPError, httpx.StreamError, ssl.SSLError) as error:
            raise TryAgain(f"The host {url.host!r} cannot be reached ({type(error).__name__}).") from error

    async def _receive(self, response: httpx.Response, target: BinaryIO) -> None:
        length = response.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.limits.size:
            raise self._too_large(response.url)
        written = 0
        async for data in self._unpacked(response):
            written += len(data)
            if written > self.limits.size:
                raise self._too_large(response.url)
            await asyncio.to_thread(target.write, data)

    async def _unpacked(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """The body in pieces of at most 1 MiB, unpacked by us: what httpx unpacks of one packet has no bound."""
        coding = response.headers.get("content-encoding", "").strip().lower()
        if coding not in ("", "identity", *GZIP):
            raise InvalidInput(f"{response.url.host!r} packs its answer as {coding!r}, which was not asked for.")
        unpacker = zlib.decompressobj(wbits=31) if coding in GZIP else None
        received = 0
        async for piece in response.aiter_raw():
            # Blocks that unpack to nothing could go on for ever.
            received += len(piece)
            if received > self.limits.size + SLACK:
                raise self._too_large(response.url)
            for data in [piece] if unpacker is None else unpacked(unpacker, piece):
                yield data
            if unpacker is not None and unpacker.eof:
                return
        if unpacker is not None:
            raise TryAgain(f"The answer of {response.url.host!r} ended too early.")

    def _too_large(self, url: httpx.URL) -> TooLarge:
        limit = self.limits.size / (1 << 20)
        return TooLarge(f"What {url.host!r} sent is larger than {limit:g} MiB (SOURCES__MAX_MB).")


@asynccontextmanager
async def open_fetcher(
    limits: Limits,
    allowed: Allowed | None = None,
    *,
    resolve: Resolve = look_up,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[Fetcher]:
    """A fetcher that keeps no cookies, follows no environment's proxy and trusts the system's certificates."""
    transport = CheckedTransport(allowed or Allowed(), resolve, context or ssl.create_default_context())
    client = httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"User-Agent": USER_AGENT, "Accept": ACCEPT, "Accept-Encoding": "gzip"},
        timeout=httpx.Timeout(IDLE_S, connect=CONNECT_S),
    )
    async with client:
        yield Fetcher(client=client, limits=limits)


def read_url(address: str) -> httpx.URL:
    """An address that may be fetched, without its fragment.

    Raises:
        InvalidInput: it is none.
    """
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInput(
            f"{address[:200]!r} is no web address. Give one such as https://example.org/page."
        ) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidInput(f"{address[:200]!r} is no web address: it must begin with https:// or http://.")
    if url.userinfo:
        raise InvalidInput("A web address must not hold a user name or password, which would be stored with it.")
    if len(str(url)) > URL_CHARS:
        raise InvalidInput(f"A web address may have at most {URL_CHARS:,} characters.")
    return url.copy_with(fragment=None)


def unpacked(unpacker: zlib._Decompress, piece: bytes) -> Iterator[bytes]:
    """What a piece of gzip unpacks to, in pieces of at most 1 MiB.

    Raises:
        InvalidInput: it is not gzip.
    """
    try:
        yield unpacker.decompress(piece, PIECE)
        while unpacker.unconsumed_tail:
            yield unpacker.decompress(unpacker.unconsumed_tail, PIECE)
    except zlib.error as error:
        raise InvalidInput("What was sent as gzip is none.") from error


def version_of(headers: httpx.Headers) -> str | None:
    """What to know an answer by the next time: its entity tag or, without one, its date; nothing without both."""
    if etag := headers.get("etag"):
        return f"etag:{etag}"
    if modified := headers.get("last-modified"):
        return f"modified:{modified}"
    return None


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds of a Retry-After header, which gives them or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def _condition(known: str | None) -> dict[str, str]:
    kind, _, value = (known or "").partition(":")
    name = {"etag": "If-None-Match", "modified": "If-Modified-Since"}.get(kind)
    return {name: value} if name else {}


def _judge(response: httpx.Response) -> None:
    status, host = response.status_code, response.url.host
    if status == httpx.codes.OK:
        return
    if status in (404, 410):
        raise NotFound(f"The host {host!r} has nothing at this address ({status}).")
    if status in (401, 403, 407):
        raise Forbidden(f"The host {host!r} does not show this to everybody ({status}).")
    if status in TRY_LATER:
        wait = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        words = f" and asks to wait {wait:.0f} s" if wait else ""
        if wait and wait > LONGEST_WAIT_S:
            raise Unavailable(f"The host {host!r} answers {status}{words}.")
        raise TryAgain(f"The host {host!r} answers {status}{words}.", wait)
    raise InvalidInput(f"The host {host!r} answers {status}, which is no document.")


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait_s if isinstance(error, TryAgain) else None
    return asked if asked is not None else min(LONGEST_WAIT_S, float(2 ** (state.attempt_number - 1)))
