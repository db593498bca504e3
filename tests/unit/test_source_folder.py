from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from core.errors import Forbidden, InvalidInput, NotFound, Unavailable
from ingest.sources.folder import FolderSource, folder_address, split
from ingest.sources.name import clean_path
from ingest.sources.source import Item, Source

ADDRESS = "file://host/docs"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "guide" / "deep").mkdir(parents=True)
    (root / "read me.md").write_text("# One")
    (root / "guide" / "read me.md").write_text("# Two")
    (root / "guide" / "deep" / "é.txt").write_text("three")
    return root


async def discovered(source: Source) -> dict[str, Item]:
    return {item.path: item async for item in source.discover()}


async def test_every_file_is_found_once_with_its_path_as_name(root: Path) -> None:
    found = await discovered(FolderSource(root, ADDRESS))
    assert list(found) == ["guide/deep/é.txt", "guide/read me.md", "read me.md"]
    assert found["guide/read me.md"].id == "file://host/docs/guide/read%20me.md"
    assert found["read me.md"].size == 5


async def test_a_file_is_copied_with_the_version_that_it_was_found_with(root: Path) -> None:
    source = FolderSource(root, ADDRESS)
    for path, item in (await discovered(source)).items():
        target = io.BytesIO()
        fetched = await source.fetch(item, target)
        assert fetched is not None
        assert (fetched.name, fetched.version) == (path, item.version)
        assert target.getvalue() == (root / path).read_bytes()
        assert await source.fetch(item, target, known=item.version) is None


async def test_a_version_changes_with_the_file(root: Path) -> None:
    source = FolderSource(root, ADDRESS)
    before = (await discovered(source))["read me.md"].version
    (root / "read me.md").write_text("# 1")
    assert (await discovered(source))["read me.md"].version != before


async def test_a_version_can_be_the_digest_of_the_bytes(root: Path) -> None:
    found = await discovered(FolderSource(root, ADDRESS, digests=True))
    assert found["read me.md"].version == hashlib.sha256(b"# One").hexdigest()


async def test_nothing_outside_the_root_is_read(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("key")
    (root / "link.txt").symlink_to(tmp_path / "secret" / "key.txt")
    (root / "folder").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root)
    (root / "nowhere.txt").symlink_to(root / "missing.txt")
    (root / "self.txt").symlink_to(root / "self.txt")
    (root / "inside.txt").symlink_to(root / "guide" / "deep" / "é.txt")
    os.mkfifo(root / "pipe.txt")
    source = FolderSource(root, ADDRESS)
    assert list(await discovered(source)) == ["guide/deep/é.txt", "guide/read me.md", "inside.txt", "read me.md"]
    for id_ in ("link.txt", "folder/key.txt", "../secret/key.txt", "%2e%2e/secret/key.txt"):
        with pytest.raises(Forbidden, match="outside its source's folder"):
            await source.fetch(Item(id=f"{ADDRESS}/{id_}", path="x.txt"), io.BytesIO())


async def test_a_name_that_is_no_text_has_an_id_of_its_own(root: Path) -> None:
    strange = os.fsencode(root) + b"/caf\xe9.txt"
    Path(os.fsdecode(strange)).write_text("latin")
    source = FolderSource(root, ADDRESS)
    item = (await discovered(source))["caf�.txt"]
    assert item.id == "file://host/docs/caf%E9.txt"
    target = io.BytesIO()
    assert await source.fetch(item, target) is not None
    assert target.getvalue() == b"latin"


async def test_a_single_file_is_a_source(root: Path) -> None:
    folder, only = split(root / "guide" / "read me.md")
    source = FolderSource(folder, ADDRESS, only=only)
    assert list(await discovered(source)) == ["read me.md"]
    assert split(root) == (root, None)


async def test_what_is_not_there_is_said(root: Path) -> None:
    with pytest.raises(InvalidInput, match="There is no folder"):
        await discovered(FolderSource(root / "missing", ADDRESS))
    source = FolderSource(root, ADDRESS)
    item = (await discovered(source))["read me.md"]
    (root / "read me.md").unlink()
    with pytest.raises(NotFound, match="no longer there"):
        await source.fetch(item, io.BytesIO())


async def test_a_file_that_changes_while_it_is_copied_is_tried_again_later(root: Path) -> None:
    class Writer(io.BytesIO):
        def write(self, data: object) -> int:
            (root / "read me.md").write_text("# One and more")
            return 5

    source = FolderSource(root, ADDRESS)
    with pytest.raises(Unavailable, match="is being written"):
        await source.fetch((await discovered(source))["read me.md"], Writer())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
async def test_a_folder_that_may_not_be_read_is_an_error_and_not_empty(root: Path) -> None:
    (root / "guide").chmod(0)
    try:
        with pytest.raises(Unavailable, match="cannot be read"):
            await discovered(FolderSource(root, ADDRESS))
    finally:
        (root / "guide").chmod(0o755)


def test_the_address_of_a_folder_names_the_machine() -> None:
    assert folder_address(Path("/srv/my docs"), "ship") == "file://ship/srv/my%20docs"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.md", "a/b.md"),
        ("../../etc/passwd", "etc/passwd"),
        ("a\\..\\b.md", "a/b.md"),
        ("/a//./b\n.md", "a/b.md"),
        ("x" * 900 + "/" + "y" * 900 + ".md", "y" * 252 + ".md"),
    ],
)
def test_a_name_is_a_clean_path(path: str, name: str) -> None:
    cleaned = clean_path(path)
    assert cleaned.endswith(name)
    assert len(cleaned.encode()) <= 1000
    assert ".." not in cleaned
