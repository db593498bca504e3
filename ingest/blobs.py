"""The original files: the `BlobStore` interface and its fsspec implementation (a folder, S3, and what fsspec knows)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from core.errors import InvalidInput, NotFound, Unavailable
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


class FsspecBlobs:
    """Blobs below ``root`` of an fsspec file system. All calls run in threads."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")

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
                self._filesystem.mv(f"{path}.part", path)
            except OSError:
                if self._filesystem.exists(f"{path}.part"):
                    self._filesystem.rm_file(f"{path}.part")
                raise

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            raise Unavailable(
                f"The file could not be stored ({error.strerror or type(error).__name__}). "
                "Check the free space and the rights of BLOBS__URL, or of DATA_DIR when it is empty."
            ) from error

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """The bytes in pieces of at most 1 MiB."""
        source = await self._open(key)
        try:
            while piece := await asyncio.to_thread(source.read, PIECE):
                yield piece
        finally:
            await asyncio.to_thread(source.close)

    async def fetch(self, key: str, target: Path) -> None:
        """Copy the bytes into a local file."""
        source = await self._open(key)

        def copy() -> None:
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file, PIECE)

        await asyncio.to_thread(copy)

    async def delete(self, key: str) -> None:
        """Remove the bytes; an unknown key is no error."""

        def remove() -> None:
            if self._filesystem.exists(self._path(key)):
                self._filesystem.rm_file(self._path(key))

        await asyncio.to_thread(remove)

    async def _open(self, key: str) -> Any:
        try:
            return await asyncio.to_thread(self._filesystem.open, self._path(key), "rb")
        except FileNotFoundError as error:
            raise NotFound("The original file is no longer there; upload the document again.") from error


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
