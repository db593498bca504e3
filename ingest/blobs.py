"""The original files: the `BlobStore` interface and its fsspec implementation (a folder, S3, and what fsspec knows)."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from core.errors import InvalidInput, NotFound, PlatformError, Unavailable
from core.settings import Settings

PIECE = 1 << 20


class BlobStore(Protocol):
    """Bytes by key; a key is a relative path of our own making, never a name that a person gave."""

    async def put(self, key: str, source: BinaryIO) -> None:
        """Store all of ``source``; a reader never sees half of it."""
        ...

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The bytes in pieces; raises `core.errors.NotFound` for an unknown key."""
        ...

    async def fetch(self, key: str, target: Path) -> None:
        """Copy the bytes into a local file; raises `core.errors.NotFound` for an unknown key."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the bytes; an unknown key is no error."""
        ...

    async def keys(self, *, before: datetime) -> list[str]:
        """The keys that were last written before a moment; also of what was not stored to its end."""
        ...


class FsspecBlobs:
    """Blobs below ``root`` of an fsspec file system. All calls run in threads.

    In a local folder bytes and names are written through to the disk before `put` returns; an object store does that
    itself.
    """

    def __init__(self, filesystem: Any, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._local = "file" in _protocols(filesystem)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    async def put(self, key: str, source: BinaryIO) -> None:
        """Store all of ``source``, under a temporary name until it is complete."""

        def write() -> None:
            path = self._path(key)
            self._filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            try:
                with self._filesystem.open(f"{path}.part", "wb") as target:
                    shutil.copyfileobj(source, target, PIECE)
                    if self._local:
                        target.flush()
                        os.fsync(target.fileno())
                self._filesystem.mv(f"{path}.part", path)
                if self._local:
                    _sync_folders(Path(path).parent, Path(self._root))
            except Exception:  # whatever ends it, half a file must not stay
                with suppress(Exception):
                    self._filesystem.rm_file(f"{path}.part")
                raise

        with translated("stored"):
            await asyncio.to_thread(write)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """The bytes in pieces."""
        source = await self._open(key)
        try:
            while True:
                with translated("read"):
                    piece = await asyncio.to_thread(source.read, PIECE)
                if not piece:
                    break
                yield piece
        finally:
            await asyncio.to_thread(source.close)

    async def fetch(self, key: str, target: Path) -> None:
        """Copy the bytes into a local file."""
        source = await self._open(key)

        def copy() -> None:
            with source, target.open("wb") as file:
                while piece := _read(source):
                    file.write(piece)

        await asyncio.to_thread(copy)

    async def delete(self, key: str) -> None:
        """Remove the bytes; an unknown key is no error."""

        def remove() -> None:
            if self._filesystem.exists(self._path(key)):
                self._filesystem.rm_file(self._path(key))

        with translated("deleted"):
            await asyncio.to_thread(remove)

    async def keys(self, *, before: datetime) -> list[str]:
        """The keys that were last written before a moment; also of what was not stored to its end."""

        def find() -> list[str]:
            self._filesystem.invalidate_cache()
            found: dict[str, Any] = self._filesystem.find(self._root, detail=True)
            root = f"{self._filesystem._strip_protocol(self._root)}/"  # noqa: SLF001 (as `find` writes the names)
            return [name.removeprefix(root) for name, info in found.items() if _written(info) < before]

        with translated("listed"):
            return await asyncio.to_thread(find)

    async def _open(self, key: str) -> Any:
        with translated("read"):
            return await asyncio.to_thread(self._filesystem.open, self._path(key), "rb")


@contextmanager
def translated(done: str) -> Iterator[None]:
    """What a file system raises, in our words; ``done`` is what could not be done with the file.

    The packages behind fsspec raise whatever they like (botocore and aiohttp no `OSError` at all).
    """
    try:
        yield
    except PlatformError:
        raise
    except FileNotFoundError as error:
        raise NotFound("The original file is no longer there; upload the document again.") from error
    except Exception as error:  # see above
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise Unavailable(
            f"The file could not be {done} ({why}). "
            "Check the free space and the rights of BLOBS__URL, or of DATA_DIR when it is empty."
        ) from error


def _read(source: Any) -> bytes:
    """The next piece; apart from the writing, so that a full disk here is not taken for a fault of the store."""
    with translated("read"):
        piece: bytes = source.read(PIECE)
        return piece


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _sync_folders(folder: Path, root: Path) -> None:
    """Write the names in a folder, and in those above it up to the root's own, through to the disk."""
    for path in (folder, *folder.parents):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == root.parent:
            return


def _written(info: dict[str, Any]) -> datetime:
    """When a file was last written; one that does not tell counts as new."""
    moment = next((info[name] for name in ("mtime", "LastModified", "created") if info.get(name) is not None), None)
    if isinstance(moment, datetime):
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return datetime.now(UTC) if moment is None else datetime.fromtimestamp(float(moment), UTC)


def open_blobs(settings: Settings) -> FsspecBlobs:
    """The store at BLOBS__URL, or the folder DATA_DIR/blobs.

    Raises:
        InvalidInput: fsspec does not know the address's scheme, or its package is not installed.
    """
    import fsspec

    # A path and not a file:// address: fsspec would take the escapes of an address for the path's own letters.
    url = settings.blobs.url or str((settings.data_dir / "blobs").absolute())
    try:
        filesystem, root = fsspec.url_to_fs(url)  # type: ignore[no-untyped-call]
    except (ValueError, ImportError) as error:
        raise InvalidInput(f"BLOBS__URL: {error}") from error
    return FsspecBlobs(filesystem, root)
