from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from moto.server import ThreadedMotoServer
from s3fs.core import S3FileSystem

from core.errors import InvalidInput, NotFound, PlatformError, TooLarge, Unavailable
from ingest.sources.prefix import PrefixSource, open_prefix, translate, version_of
from ingest.sources.source import Item

FILES = {"docs/a.md": b"# One", "docs/deep/b é.md": b"# Two", "docs2/c.md": b"# Three", "secret.txt": b"key"}


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of a server that speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["s3", "folder", "memory"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, str]:
    """A file system with `FILES` in it, and where."""
    filesystem: Any
    memory: Any = MemoryFileSystem
    local: Any = LocalFileSystem
    if request.param == "s3":
        address = request.getfixturevalue("store")
        filesystem = S3FileSystem(key="test", secret="test", endpoint_url=address, skip_instance_cache=True)
        root = f"bucket-{time.monotonic_ns()}"
        filesystem.mkdir(root)
    elif request.param == "folder":
        filesystem, root = local(), str(tmp_path)
    else:
        filesystem, root = memory(), f"/{time.monotonic_ns()}"
    for name, content in FILES.items():
        filesystem.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        filesystem.pipe(f"{root}/{name}", content)
    return filesystem, root


def source_of(filled: tuple[Any, str], prefix: str = "docs", *, max_bytes: int = 1000) -> PrefixSource:
    filesystem, root = filled
    address = f"store://{root.strip('/')}/{prefix}"
    return PrefixSource(filesystem, f"{root}/{prefix}", address, max_bytes=max_bytes, timeout_s=20)


async def discovered(source: PrefixSource) -> dict[str, Item]:
    return {item.path: item async for item in source.discover()}


async def test_what_lies_below_the_prefix_is_found_and_nothing_beside_it(filled: tuple[Any, str]) -> None:
    found = await discovered(source_of(filled))
    assert list(found) == ["a.md", "deep/b é.md"]
    assert [item.size for item in found.values()] == [5, 5]
    assert found["a.md"].id == f"store://{filled[1].strip('/')}/docs/a.md"


async def test_bytes_are_copied(filled: tuple[Any, str]) -> None:
    source = source_of(filled)
    for path, item in (await discovered(source)).items():
        target = io.BytesIO()
        fetched = await source.fetch(item, target)
        assert fetched is not None
        assert (fetched.name, fetched.version) == (path, item.version)
        assert target.getvalue() == FILES[f"docs/{path}"]
        assert await source.fetch(item, target, known=item.version) is None


async def test_a_version_stays_until_the_bytes_change(filled: tuple[Any, str]) -> None:
    filesystem, root = filled
    source = source_of(filled)
    before = (await discovered(source))["a.md"].version
    assert before is not None
    assert (await discovered(source))["a.md"].version == before
    filesystem.pipe(f"{root}/docs/a.md", b"# 1, and more")
    assert (await discovered(source))["a.md"].version != before


async def test_a_file_above_the_limit_is_not_taken_whole(filled: tuple[Any, str]) -> None:
    source = source_of(filled, max_bytes=4)
    item = (await discovered(source))["a.md"]
    with pytest.raises(TooLarge, match="SOURCES__MAX_MB"):
        await source.fetch(item, io.BytesIO())


async def test_what_is_not_there_is_said(filled: tuple[Any, str]) -> None:
    filesystem, root = filled
    with pytest.raises(NotFound, match="nothing at"):
        await discovered(source_of(filled, "missing"))
    source = source_of(filled)
    item = (await discovered(source))["a.md"]
    filesystem.rm(f"{root}/docs/a.md")
    with pytest.raises(NotFound, match="nothing at"):
        await source.fetch(item, io.BytesIO())


async def test_a_store_that_does_not_answer_is_unavailable_and_its_keys_are_not_told() -> None:
    filesystem = S3FileSystem(
        key="known-key",
        secret="very-secret",
        endpoint_url="http://127.0.0.1:9",
        skip_instance_cache=True,
        config_kwargs={"retries": {"max_attempts": 0}, "connect_timeout": 2},
    )
    source = PrefixSource(filesystem, "bucket/docs", "s3://bucket/docs", max_bytes=10, timeout_s=20)
    with pytest.raises(Unavailable) as caught:
        await discovered(source)
    assert "secret" not in str(caught.value)
    assert "'s3://bucket/docs/' cannot be read now" in str(caught.value)


@pytest.mark.parametrize("address", ["nonesuch://bucket/x", "nonesuch::s3://x"])
def test_an_address_that_nothing_reads_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="Nothing here reads"):
        open_prefix(address, max_bytes=1, timeout_s=1)


def test_a_version_is_made_of_what_the_store_tells() -> None:
    assert version_of({"ETag": '"5d41"', "size": 3}) == 'etag:"5d41"'
    assert version_of({"mtime": 12.5, "size": 3}) == "12.5-3"
    assert version_of({"size": 3}) == "-3"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError("Forbidden: key AKIA"), "credentials do not allow"),
        (OSError("secret"), "cannot be read now (OSError)"),
        (ValueError("secret"), "cannot be read now (ValueError)"),
    ],
)
def test_errors_of_a_store_are_told_without_their_words(error: Exception, words: str) -> None:
    told: PlatformError = translate(error, "s3://bucket")
    assert words in str(told)
    assert "AKIA" not in str(told)
    assert "secret" not in str(told)
