"""A folder as a source: every regular file below it, none outside."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

from core.errors import Forbidden, InvalidInput, NotFound, Unavailable
from ingest.sources.name import clean_path
from ingest.sources.source import Fetched, Item

PIECE = 1 << 20


class FolderSource:
    """The files below ``root``. Folders that are links are not entered, and files that lead out of it not read.

    ``address`` stands before the ids, which name the same file for as long as it stays where it is. With ``digests``
    a version is the SHA-256 of the bytes, otherwise it is made of the time of the last change and the size.
    """

    def __init__(self, root: Path, address: str, *, only: str | None = None, digests: bool = False) -> None:
        self._root = root
        self._address = address.rstrip("/") + "/"
        self._only = only
        self._digests = digests
        self._known: dict[Path, tuple[int, int, str]] = {}

    async def discover(self) -> AsyncIterator[Item]:
        """Every regular file, sorted by its path.

        Raises:
            InvalidInput: the root is no folder.
            Unavailable: a folder in it cannot be read, so that nobody knows what is there.
        """
        for path in await asyncio.to_thread(self._walk):
            item = await asyncio.to_thread(self._item, path)
            if item is not None:
                yield item

    async def fetch(self, item: Item, target: BinaryIO, *, known: str | None = None) -> Fetched | None:
        """Copy the file; see `Source.fetch`.

        Raises:
            NotFound: it is gone.
            Forbidden: it lies outside the root, or may not be read.
            Unavailable: it changed while it was copied.
        """
        path = self._root / os.fsdecode(unquote_to_bytes(item.id.removeprefix(self._address)))
        version = await asyncio.to_thread(self._copy, path, target, known)
        return None if version is None else Fetched(name=clean_path(item.path), version=version)

    def _walk(self) -> list[Path]:
        if not self._root.is_dir():
            raise InvalidInput(f"There is no folder {str(self._root)!r}.")
        if self._only is not None:
            return [self._root / self._only]

        def refuse(error: OSError) -> None:
            raise Unavailable(
                f"The folder {error.filename!r} cannot be read ({error.strerror}). Check its rights, or exclude it."
            ) from error

        walked = os.walk(self._root, onerror=refuse, followlinks=False)
        return sorted(Path(folder) / name for folder, _, names in walked for name in names)

    def _item(self, path: Path) -> Item | None:
        try:
            if not self._holds(path.resolve(strict=True)):
                return None
            found = path.stat()
            if not S_ISREG(found.st_mode):
                return None
            version = self._version(path, found)
        except (FileNotFoundError, RuntimeError):
            return None  # It vanished meanwhile, or is a link to nowhere or to itself.
        except OSError as error:
            raise Forbidden(f"The file {str(path)!r} may not be read ({error.strerror}). Check its rights.") from error
        relative = path.relative_to(self._root).as_posix()
        raw = os.fsencode(relative)
        id_ = self._address + quote_from_bytes(raw)
        return Item(id=id_, path=raw.decode(errors="replace"), version=version, size=found.st_size)

    def _version(self, path: Path, found: os.stat_result) -> str:
        if not self._digests:
            return f"{found.st_mtime_ns}-{found.st_size}"
        state = (found.st_mtime_ns, found.st_size)
        if (known := self._known.get(path)) is not None and known[:2] == state:
            return known[2]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[path] = (*state, digest)
        return digest

    def _copy(self, path: Path, target: BinaryIO, known: str | None) -> str | None:
        try:
            with path.open("rb") as file:
                # Where the open file lies, and not where the path led a moment ago.
                if not self._holds(opened_path(file, path)):
                    raise Forbidden(f"The file {str(path)!r} lies outside its source's folder.")
                before = os.fstat(file.fileno())
                version = self._version(path, before)
                if version == known:
                    return None
                shutil.copyfileobj(file, target, PIECE)
                after = os.fstat(file.fileno())
        except FileNotFoundError as error:
            raise NotFound(f"The file {str(path)!r} is no longer there.") from error
        except OSError as error:
            raise Forbidden(f"The file {str(path)!r} may not be read ({error.strerror}). Check its rights.") from error
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise Unavailable(f"The file {str(path)!r} is being written at this moment.")
        return version

    def _holds(self, path: Path) -> bool:
        return path.is_relative_to(self._root.resolve())


def opened_path(file: BinaryIO, path: Path) -> Path:
    """Where an open file really lies."""
    handle = Path(f"/proc/self/fd/{file.fileno()}")
    return handle.resolve() if handle.exists() else path.resolve()


def folder_address(root: Path, host: str) -> str:
    """The address of a folder of a machine, as the ids of its files begin with it."""
    return f"file://{host}{quote_from_bytes(os.fsencode(root.absolute().as_posix()))}"


def split(path: Path) -> tuple[Path, str | None]:
    """The root, and the one file of it that is meant when the path is a file."""
    return (path, None) if path.is_dir() else (path.parent, path.name)
