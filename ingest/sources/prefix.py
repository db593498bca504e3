"""What lies below an address of fsspec as a source: an S3 prefix above all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, BinaryIO

from core.errors import Forbidden, InvalidInput, NotFound, PlatformError, TooLarge, Unavailable
from ingest.sources.name import clean_path
from ingest.sources.source import Fetched, Item

PIECE = 1 << 20


class PrefixSource:
    """The files below ``root`` of an fsspec file system; ``address`` is the same place with its scheme.

    A version is the entity tag that the store gives, or else is made of the time of the last change and the size.
    """

    def __init__(self, filesystem: Any, root: str, address: str, *, max_bytes: int, timeout_s: float) -> None:
        self._filesystem = filesystem
        self._root = root.strip("/")
        self._address = address.rstrip("/") + "/"
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def discover(self) -> AsyncIterator[Item]:
        """Every file, sorted by its path.

        Raises:
            InvalidInput: there is no such bucket.
            Forbidden: the server's credentials do not allow it.
            Unavailable: the store does not answer.
        """
        try:
            found = await asyncio.to_thread(self._list)
        except Exception as error:  # a store's own package raises whatever it likes
            raise translate(error, self._address) from error
        for path, info in sorted(found.items()):
            relative = path.strip("/").removeprefix(self._root).strip("/")
            if relative and info.get("type") == "file":
                yield Item(id=self._address + relative, path=relative, version=version_of(info), size=info.get("size"))

    async def fetch(self, item: Item, target: BinaryIO, *, known: str | None = None) -> Fetched | None:
        """Copy the file; see `Source.fetch`.

        Raises:
            TooLarge: it is larger than the limit, whatever the listing said.
        """
        if known is not None and item.version == known:
            return None
        path = f"{self._root}/{item.id.removeprefix(self._address)}"
        abandoned = threading.Event()
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.to_thread(self._copy, path, target, abandoned)
        except TimeoutError as error:
            raise Unavailable(f"{item.id!r} took longer than {self._timeout_s:g} s to fetch.") from error
        except PlatformError:
            raise
        except Exception as error:  # a store's own package raises whatever it likes
            raise translate(error, item.id) from error
        finally:
            # A thread cannot be stopped: told so, it ends at its next piece and leaves the target alone.
            abandoned.set()
        return Fetched(name=clean_path(item.path), version=item.version)

    def _list(self) -> dict[str, dict[str, Any]]:
        self._filesystem.invalidate_cache()
        found: dict[str, dict[str, Any]] = self._filesystem.find(self._path(""), detail=True)
        if not found and not self._filesystem.exists(self._path("").rstrip("/")):
            raise FileNotFoundError
        return found

    def _copy(self, path: str, target: BinaryIO, abandoned: threading.Event) -> None:
        written = 0
        with self._filesystem.open(self._path(path), "rb") as file:
            while (piece := file.read(PIECE)) and not abandoned.is_set():
                written += len(piece)
                if written > self._max_bytes:
                    raise TooLarge(f"The file is larger than {self._max_bytes / (1 << 20):g} MiB (SOURCES__MAX_MB).")
                target.write(piece)

    def _path(self, path: str) -> str:
        """The path as the file system has it: local and in-memory ones begin with a slash."""
        path = path or self._root
        return path if self._filesystem.root_marker == "" else f"{self._filesystem.root_marker}{path}"


def open_prefix(address: str, *, max_bytes: int, timeout_s: float) -> PrefixSource:
    """The source at an fsspec address, with the credentials of the server's own environment.

    Raises:
        InvalidInput: fsspec does not know the scheme, or its package is not installed.
    """
    import fsspec

    try:
        filesystem, root = fsspec.url_to_fs(address)  # type: ignore[no-untyped-call]
    except (ValueError, ImportError) as error:
        hint = " Install Ragstone's extra 's3' on the server." if address.startswith("s3:") else ""
        raise InvalidInput(f"Nothing here reads {address!r}.{hint}") from error
    return PrefixSource(filesystem, root, address, max_bytes=max_bytes, timeout_s=timeout_s)


def version_of(info: dict[str, Any]) -> str:
    """What to know a file by the next time."""
    if etag := info.get("ETag") or info.get("etag"):
        return f"etag:{etag}"
    moment = next((info[name] for name in ("LastModified", "mtime", "created", "updated") if info.get(name)), "")
    text = moment.isoformat() if isinstance(moment, datetime) else str(moment)
    return f"{text}-{info.get('size', '')}"


def translate(error: Exception, address: str) -> PlatformError:
    """The platform's error for what a store raises; fsspec's file systems raise errors of the operating system."""
    if isinstance(error, FileNotFoundError):
        return NotFound(f"There is nothing at {address!r}.")
    if isinstance(error, PermissionError):
        return Forbidden(f"The server's credentials do not allow it to read {address!r}.")
    return Unavailable(f"{address!r} cannot be read now ({type(error).__name__}).")
