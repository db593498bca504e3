"""A page or file of the web as a source of one item."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import AsyncIterator
from email.message import Message
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote

import httpx

from ingest.sources.fetch import Answer, Fetcher, read_url, version_of
from ingest.sources.name import clean_path
from ingest.sources.source import Fetched, Item

# What pages are, whatever their address ends with; everything else is known by its extension and its bytes.
SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/pdf": ".pdf",
    "text/markdown": ".md",
}
SAME = {".html": (".html", ".htm", ".xhtml"), ".pdf": (".pdf",), ".md": (".md", ".markdown")}


class WebSource:
    """One address. Its version is known only by asking for it."""

    def __init__(self, fetcher: Fetcher, address: str) -> None:
        self._fetcher = fetcher
        self._url = read_url(address)

    async def discover(self) -> AsyncIterator[Item]:
        """The address itself."""
        yield item_of(self._url)

    async def fetch(self, item: Item, target: BinaryIO, *, known: str | None = None) -> Fetched | None:
        """Ask for the address; see `Source.fetch` and `Fetcher.fetch`."""
        return await fetch_page(self._fetcher, item, target, known)


def item_of(url: httpx.URL) -> Item:
    """The item of an address; its path is the address's own, with its query."""
    path = unquote(url.raw_path.decode("ascii", "replace")).strip("/")
    return Item(id=str(url), path=path or "index")


async def fetch_page(fetcher: Fetcher, item: Item, target: BinaryIO, known: str | None) -> Fetched | None:
    """Fetch an item that is an address; a server that sends neither a tag nor a date is compared by the bytes."""
    start = target.tell()
    answer = await fetcher.fetch(item.id, target, known=known)
    if answer is None:
        return None
    version = version_of(answer.headers)
    if version is None:
        target.seek(start)
        version = f"sha256:{hashlib.file_digest(target, 'sha256').hexdigest()}"  # type: ignore[arg-type]
        if version == known:
            target.seek(start)
            target.truncate()
            return None
    return Fetched(name=name_of(answer), version=version)


def name_of(answer: Answer) -> str:
    """The name of the document: the file's own when the server gives one, else host and path of the address.

    Its extension is that of the type that the server gives, so that ``index.php`` is read as the page that it is.
    """
    header = Message()
    header["content-type"] = answer.headers.get("content-type", "")
    header["content-disposition"] = answer.headers.get("content-disposition", "")
    given = header.get_filename()
    place = f"{answer.url.host}/{item_of(answer.url).path}"
    name = clean_path(given.rpartition("/")[2] if given else place)
    kind = header.get_content_type() if answer.headers.get("content-type") else ""
    suffix = SUFFIXES.get(kind)
    if suffix is None:
        known = PurePosixPath(name).suffix if given or "?" not in place else ""
        suffix = "" if known else mimetypes.guess_extension(kind) or ""
        return name + suffix
    return name if name.lower().endswith(SAME[suffix]) else name + suffix
