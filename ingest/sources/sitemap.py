"""A sitemap as a source: the pages that it lists (sitemaps.org, protocol 0.9)."""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from typing import BinaryIO, Protocol
from xml.etree.ElementTree import ParseError

import httpx
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from core.errors import InvalidInput
from ingest.sources.fetch import Fetcher, read_url
from ingest.sources.source import Fetched, Item
from ingest.sources.web import fetch_page, item_of

UNPACKED = 50 << 20
"""Largest sitemap in bytes, unpacked: what the protocol allows."""
SITEMAPS = 500
URL_COUNT = 50_000
GZIP = b"\x1f\x8b"


class SitemapSource:
    """The pages of a sitemap, or of the sitemaps that an index of them lists.

    Pages of other hosts are left out unless ``other_hosts``; so are sitemaps, because an index could name any.
    """

    def __init__(self, fetcher: Fetcher, address: str, *, other_hosts: bool = False, most: int = URL_COUNT) -> None:
        self._fetcher = fetcher
        self._url = read_url(address)
        self._other_hosts = other_hosts
        self._most = most

    async def discover(self) -> AsyncIterator[Item]:
        """The pages in the order of the sitemap, each once.

        Raises:
            InvalidInput: it is no sitemap, or lists too much.
        """
        waiting, seen = deque([self._url]), {self._url}
        pages: set[httpx.URL] = set()
        while waiting:
            for kind, url in await self._read(waiting.popleft()):
                if url in (seen if kind == "sitemap" else pages) or not self._wanted(url):
                    continue
                if kind == "sitemap":
                    seen.add(url)
                    waiting.append(url)
                else:
                    pages.add(url)
                    yield item_of(url)
                if len(seen) > SITEMAPS or len(pages) > self._most:
                    raise InvalidInput(
                        f"The sitemap of {self._url.host!r} lists more than {self._most:,} pages or {SITEMAPS} "
                        "sitemaps. Name a smaller sitemap, or raise SOURCES__MAX_ITEMS."
                    )

    async def fetch(self, item: Item, target: BinaryIO, *, known: str | None = None) -> Fetched | None:
        """Ask for a page; see `Source.fetch` and `Fetcher.fetch`."""
        return await fetch_page(self._fetcher, item, target, known)

    def _wanted(self, url: httpx.URL) -> bool:
        return self._other_hosts or url.host == self._url.host

    async def _read(self, url: httpx.URL) -> list[tuple[str, httpx.URL]]:
        with tempfile.TemporaryFile() as file:
            await self._fetcher.fetch(str(url), file)
            file.seek(0)
            return await asyncio.to_thread(read_sitemap, file, str(url))


def read_sitemap(file: BinaryIO, address: str) -> list[tuple[str, httpx.URL]]:
    """The entries of a sitemap, packed or not: ``url`` or ``sitemap``, and the address.

    An entry that is no address is left out.

    Raises:
        InvalidInput: it is no sitemap, is larger than 50 MiB, or declares entities.
    """
    packed = file.read(2) == GZIP
    file.seek(0)
    opened: Readable = gzip.GzipFile(fileobj=file) if packed else file
    found: list[tuple[str, httpx.URL]] = []
    try:
        for _, element in iterparse(Bounded(opened, UNPACKED), forbid_dtd=True):
            tag = element.tag.rpartition("}")[2]
            if tag in ("url", "sitemap"):
                place = next((child.text for child in element if child.tag.rpartition("}")[2] == "loc"), None)
                if (url := _address(place)) is not None:
                    found.append((tag, url))
                element.clear()
    except (ParseError, DefusedXmlException, EOFError, OSError, UnicodeError, LookupError) as error:
        raise InvalidInput(f"{address!r} is no sitemap that can be read ({type(error).__name__}).") from error
    return found


class Readable(Protocol):
    """What can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        ...


class Bounded:
    """A file to read from, up to a number of bytes."""

    def __init__(self, file: Readable, most: int) -> None:
        self._file = file
        self._left = most

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            OSError: there are more than the bound allows.
        """
        data = self._file.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise OSError("too large")
        return data


def _address(text: str | None) -> httpx.URL | None:
    try:
        return read_url((text or "").strip())
    except InvalidInput:
        return None
