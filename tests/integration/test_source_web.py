from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import ssl
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import trustme

from core.errors import Forbidden, InvalidInput, NotFound, PlatformError, TooLarge, Unavailable
from ingest.sources.address import look_up, read_allowed
from ingest.sources.fetch import Fetcher, Limits, open_fetcher, read_url, retry_after
from ingest.sources.source import Fetched
from ingest.sources.web import WebSource
from tests.web_server import Call, Pieces, WebServer, respond, run_web_server

LIMITS = Limits(size=1 << 20, time_s=5.0)
PAGE = respond(b"<html><body><p>Ferries leave at 9:30.</p></body></html>", content_type="text/html; charset=utf-8")


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with run_web_server() as server:
        yield server


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    """One that may reach what is called 127.0.0.1, and nothing else that is not public."""
    async with open_fetcher(LIMITS, read_allowed("127.0.0.1")) as fetcher:
        yield fetcher


async def take(fetcher: Fetcher, address: str, known: str | None = None) -> tuple[Fetched | None, bytes]:
    source = WebSource(fetcher, address)
    [item] = [item async for item in source.discover()]
    target = io.BytesIO()
    return await source.fetch(item, target, known=known), target.getvalue()


async def refused(fetcher: Fetcher, address: str, kind: type[PlatformError]) -> str:
    target = io.BytesIO()
    with pytest.raises(kind) as caught:
        await fetcher.fetch(address, target)
    return str(caught.value)


async def test_a_page_comes_with_its_name_and_its_tag(web: WebServer, fetcher: Fetcher) -> None:
    web.answers["/guide/ferries.php?line=3"] = respond(b"<p>x</p>", content_type="text/html", etag='"1"')
    fetched, body = await take(fetcher, web.url("/guide/ferries.php?line=3#times"))
    assert fetched == Fetched(name="127.0.0.1/guide/ferries.php?line=3.html", version='etag:"1"')
    assert body == b"<p>x</p>"
    assert web.calls[0].headers["user-agent"].startswith("Ragstone/")
    assert web.calls[0].headers["host"] == f"127.0.0.1:{web.port}"


@pytest.mark.parametrize(
    ("path", "headers", "name"),
    [
        ("/", {"content_type": "text/html"}, "127.0.0.1/index.html"),
        ("/a/b.htm", {"content_type": "text/html"}, "127.0.0.1/a/b.htm"),
        ("/get", {"content_type": "application/pdf"}, "127.0.0.1/get.pdf"),
        ("/get", {"content_type": "text/plain"}, "127.0.0.1/get.txt"),
        ("/get.csv", {"content_type": "application/octet-stream"}, "127.0.0.1/get.csv"),
        ("/get", {}, "127.0.0.1/get"),
        ("/get", {"content_disposition": 'attachment; filename="../x/the report.pdf"'}, "the report.pdf"),
        ("/get", {"content_disposition": "attachment; filename*=UTF-8''%C3%A9t%C3%A9.md"}, "été.md"),
    ],
)
async def test_a_name_says_what_the_document_is(
    web: WebServer, fetcher: Fetcher, path: str, headers: dict[str, str], name: str
) -> None:
    web.answers[path] = respond(b"words", **headers)
    fetched, _ = await take(fetcher, web.url(path))
    assert fetched is not None
    assert fetched.name == name


async def test_what_has_not_changed_is_not_sent_again(web: WebServer, fetcher: Fetcher) -> None:
    def tagged(call: Call) -> bytes:
        known = call.headers.get("if-none-match") == '"1"'
        return respond(b"", status="304 Not Modified") if known else respond(b"words", etag='"1"')

    def dated(call: Call) -> bytes:
        moment = "Sun, 06 Nov 1994 08:49:37 GMT"
        known = call.headers.get("if-modified-since") == moment
        return respond(b"", status="304 Not Modified") if known else respond(b"words", last_modified=moment)

    web.answers |= {"/tag": tagged, "/date": dated, "/none": respond(b"words")}
    for path in ("/tag", "/date", "/none"):
        first, body = await take(fetcher, web.url(path))
        assert first is not None
        assert body == b"words"
        assert await take(fetcher, web.url(path), known=first.version) == (None, b"")
    assert first is not None
    assert first.version == f"sha256:{hashlib.sha256(b'words').hexdigest()}"


async def by_name(host: str, port: int) -> Sequence[str]:
    """``start.example`` is the test's own server; everything else is what the system says."""
    return ["127.0.0.1"] if host == "start.example" else await look_up(host, port)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_to_a_private_address_is_refused(web: WebServer, status: str) -> None:
    start = web.url("/away", host="start.example")
    async with (
        run_web_server() as hidden,
        open_fetcher(LIMITS, read_allowed("start.example"), resolve=by_name) as fetcher,
    ):
        hidden.answers["/"] = PAGE
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1"):
            web.answers["/away"] = respond(b"", status=status, location=hidden.url(host=host))
            assert "has a loopback address" in await refused(fetcher, start, Forbidden)
        web.answers["/away"] = respond(b"", status=status, location="http://169.254.169.254/latest/meta-data/")
        assert "has a link-local address" in await refused(fetcher, start, Forbidden)
        for location in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"):
            web.answers["/away"] = respond(b"", status=status, location=location)
            assert "must begin with https://" in await refused(fetcher, start, InvalidInput)
        assert (hidden.calls, len(web.calls)) == ([], 10)


async def test_redirects_are_followed_five_times_and_checked_each_time(web: WebServer, fetcher: Fetcher) -> None:
    web.answers |= {f"/{n}": respond(b"", status="302 Found", location=f"/{n + 1}") for n in range(5)}
    web.answers["/5"] = respond(b"here", content_type="text/plain")
    fetched, body = await take(fetcher, web.url("/0"))
    assert body == b"here"
    assert fetched is not None
    assert fetched.name == "127.0.0.1/5.txt"
    web.answers["/5"] = respond(b"", status="302 Found", location="/0")
    assert "more than 5 times" in await refused(fetcher, web.url("/0"), InvalidInput)


async def test_a_name_that_changes_its_address_is_not_followed(web: WebServer) -> None:
    """The first answer is checked and connected to; the second, private one is never asked for."""
    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.9"]

    web.answers["/"] = PAGE
    async with open_fetcher(LIMITS, read_allowed("127.0.0.1/32"), resolve=rebinding) as fetcher:
        _, body = await take(fetcher, web.url(host="rebind.example"))
        assert b"Ferries" in body
        assert (asked, web.calls[0].headers["host"]) == (["rebind.example"], f"rebind.example:{web.port}")
        assert "loopback" in await refused(fetcher, web.url(host="rebind.example"), Forbidden)


async def test_tls_is_checked_against_the_name_and_not_the_address() -> None:
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("docs.example").configure_cert(serving)
    authority.configure_trust(trusting)

    async def here(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with (
        run_web_server(serving) as web,
        open_fetcher(LIMITS, read_allowed("127.0.0.1"), resolve=here, context=trusting) as fetcher,
    ):
        web.answers["/"] = PAGE
        _, body = await take(fetcher, f"https://docs.example:{web.port}/")
        assert b"Ferries" in body
        assert "cannot be reached" in await refused(fetcher, f"https://other.example:{web.port}/", Unavailable)
        assert len(web.calls) == 1


async def test_a_body_above_the_limit_is_cut_off(web: WebServer, fetcher: Fetcher) -> None:
    sent = 0

    async def endless(_call: Call) -> Pieces:
        nonlocal sent
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while True:
            sent += 1 << 16
            yield b"x" * (1 << 16)

    web.answers |= {"/said": respond(b"", length=str(LIMITS.size + 1)), "/endless": endless}
    assert "larger than 1 MiB" in await refused(fetcher, web.url("/said"), TooLarge)
    assert "larger than 1 MiB" in await refused(fetcher, web.url("/endless"), TooLarge)
    assert sent < 64 << 20


async def test_a_gzip_bomb_is_cut_off(web: WebServer, fetcher: Fetcher) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(bytes(64 << 20)) + packer.flush()
    web.answers |= {
        "/bomb": respond(bomb, content_encoding="gzip"),
        "/fits": respond(gzip.compress(bytes(LIMITS.size)), content_encoding="gzip"),
        "/broken": respond(b"\x1f\x8b no", content_encoding="gzip"),
        "/other": respond(b"words", content_encoding="br"),
    }
    assert len(bomb) < 1 << 17
    assert "larger than 1 MiB" in await refused(fetcher, web.url("/bomb"), TooLarge)
    assert (await take(fetcher, web.url("/fits")))[1] == bytes(LIMITS.size)
    assert "is none" in await refused(fetcher, web.url("/broken"), InvalidInput)
    assert "'br'" in await refused(fetcher, web.url("/other"), InvalidInput)


async def test_a_body_that_drips_is_given_up(web: WebServer) -> None:
    async def dripping(_call: Call) -> Pieces:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while True:
            yield b"."
            await asyncio.sleep(0.01)

    web.answers["/slow"] = dripping
    async with open_fetcher(Limits(size=1 << 20, time_s=0.2), read_allowed("127.0.0.1")) as fetcher:
        assert "took longer than 0.2 s" in await refused(fetcher, web.url("/slow"), Unavailable)


async def test_a_busy_server_is_asked_again_after_the_time_that_it_names(web: WebServer, fetcher: Fetcher) -> None:
    def busy_once(_call: Call) -> bytes:
        first = len(web.calls) == 1
        return respond(b"", status="429 Too Many Requests", retry_after="0") if first else respond(b"words")

    web.answers["/"] = busy_once
    assert (await take(fetcher, web.url()))[1] == b"words"
    web.answers["/"] = respond(b"", status="503 Service Unavailable", retry_after="3600")
    before = len(web.calls)
    assert "answers 503 and asks to wait 3600 s" in await refused(fetcher, web.url(), Unavailable)
    assert len(web.calls) == before + 1


async def test_half_of_an_answer_is_not_kept(web: WebServer, fetcher: Fetcher) -> None:
    def cut(_call: Call) -> bytes:
        return respond(b"first half", length="1000") if len(web.calls) == 1 else respond(b"all")

    web.answers["/"] = cut
    assert (await take(fetcher, web.url()))[1] == b"all"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("404 Not Found", NotFound),
        ("410 Gone", NotFound),
        ("401 Unauthorized", Forbidden),
        ("403 Forbidden", Forbidden),
        ("418 Teapot", InvalidInput),
        ("204 No Content", InvalidInput),
    ],
)
async def test_a_refusal_is_told_and_not_repeated(
    web: WebServer, fetcher: Fetcher, status: str, kind: type[PlatformError]
) -> None:
    web.answers["/"] = respond(b"", status=status)
    assert status[:3] in await refused(fetcher, web.url(), kind)
    assert len(web.calls) == 1


async def test_no_cookie_goes_from_one_fetch_to_the_next(web: WebServer, fetcher: Fetcher) -> None:
    web.answers["/"] = respond(b"words", set_cookie="session=secret; Path=/")
    await take(fetcher, web.url())
    await take(fetcher, web.url())
    assert ["cookie" in call.headers for call in web.calls] == [False, False]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://example.org/x", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("example.org", "must begin with https://"),
        ("https://", "must begin with https://"),
        ("https://user:word@example.org/", "user name or password"),
        ("https://example.org/" + "x" * 2000, "at most 2,000 characters"),
        ("http://exa mple.org\x00/", "is no web address"),
    ],
)
def test_what_is_no_web_address_is_said(address: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_url(address)


def test_retry_after_gives_seconds_or_a_date() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert retry_after("7", now) == 7
    assert retry_after(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert retry_after(format_datetime(now - timedelta(seconds=90), usegmt=True), now) == 0
    assert retry_after("soon", now) is retry_after(None, now) is None


async def test_a_host_that_does_not_answer_is_unavailable(web: WebServer, fetcher: Fetcher) -> None:
    async with run_web_server() as gone:
        address = gone.url()
    assert "cannot be reached" in await refused(fetcher, address, Unavailable)
