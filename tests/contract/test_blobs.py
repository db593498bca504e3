"""Every blob store keeps the same promises: a folder, and fsspec's file system in memory as the stand-in for S3."""

from __future__ import annotations

import io
import uuid
from pathlib import Path

import pytest

from core.errors import InvalidInput, NotFound, Unavailable
from core.settings import BlobSettings, Settings
from ingest.blobs import PIECE, FsspecBlobs, open_blobs

KEY = "tenant/document"


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> FsspecBlobs:
    url = None if request.param == "folder" else f"memory://{uuid.uuid4()}"
    return open_blobs(Settings(_env_file=None, data_dir=tmp_path, blobs=BlobSettings(url=url)))


async def read(blobs: FsspecBlobs, key: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(key)])


async def test_what_is_put_comes_back_byte_for_byte(blobs: FsspecBlobs, tmp_path: Path) -> None:
    content = bytes(range(256)) * (PIECE // 100)
    await blobs.put(KEY, io.BytesIO(content))
    assert await read(blobs, KEY) == content
    await blobs.fetch(KEY, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


async def test_putting_again_replaces(blobs: FsspecBlobs) -> None:
    await blobs.put(KEY, io.BytesIO(b"one"))
    await blobs.put(KEY, io.BytesIO(b"two"))
    assert await read(blobs, KEY) == b"two"


async def test_what_is_deleted_is_gone_and_deleting_again_is_no_error(blobs: FsspecBlobs) -> None:
    await blobs.put(KEY, io.BytesIO(b"one"))
    await blobs.delete(KEY)
    await blobs.delete(KEY)
    with pytest.raises(NotFound):
        await read(blobs, KEY)
    with pytest.raises(NotFound):
        await blobs.fetch(KEY, Path("never"))


class Broken(io.BytesIO):
    """A source that fails in the middle."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 0:
            raise OSError(28, "No space left on device")
        return super().read(size)


async def test_a_write_that_fails_leaves_nothing(blobs: FsspecBlobs) -> None:
    with pytest.raises(Unavailable, match="free space"):
        await blobs.put(KEY, Broken(b"x" * (2 * PIECE)))
    with pytest.raises(NotFound):
        await read(blobs, KEY)
    with pytest.raises(NotFound):
        await read(blobs, f"{KEY}.part")


def test_an_unknown_scheme_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="BLOBS__URL"):
        open_blobs(Settings(_env_file=None, data_dir=tmp_path, blobs=BlobSettings(url="nowhere://bucket")))


async def test_a_folder_with_spaces_and_letters_of_other_scripts_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "my data" / "ü%20"
    blobs = open_blobs(Settings(_env_file=None, data_dir=folder))
    await blobs.put(KEY, io.BytesIO(b"one"))
    assert (folder / "blobs" / KEY).read_bytes() == b"one"
