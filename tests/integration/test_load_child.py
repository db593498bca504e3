from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from core.errors import UnreadableDocument, UnsupportedType
from ingest.children import Children
from ingest.load import Loader, open_loader
from ingest.media import PDF, PLAIN
from ingest.options import ReadOptions
from ingest.slices import SLICE_PAGES, SlicedReading
from tests.integration.misreaders import misread, misread_pages
from tests.pdf import Words, make_pdf

ROOT = Path(__file__).resolve().parents[2]

Order = Callable[[str], Path]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """Writes a file that orders a misreader about."""

    def write(deed: str) -> Path:
        path = tmp_path / f"{deed}.txt"
        path.write_text(deed)
        return path

    return write


@pytest.fixture(scope="module")
async def loader() -> AsyncIterator[Loader]:
    async with open_loader(timeout_s=60, memory_mb=512) as opened:
        yield opened


@pytest.fixture(scope="module")
async def misreader() -> AsyncIterator[Loader]:
    async with open_loader(timeout_s=4, memory_mb=256, read=misread) as opened:
        yield opened


async def said(loader: Loader, path: Path) -> str:
    return (await loader.load(path, PLAIN)).text


async def test_a_document_is_read_in_a_child(loader: Loader, tmp_path: Path) -> None:
    path = tmp_path / "paper.pdf"
    path.write_bytes(make_pdf([[Words("Kerzenfels")], [Words("Tornby")]]))
    loaded = await loader.load(path, PDF)
    assert loaded.text == "Kerzenfels\n\nTornby"
    assert [page.number for page in loaded.pages] == [1, 2]


async def test_errors_of_a_loader_keep_their_kind_and_words(loader: Loader, tmp_path: Path) -> None:
    path = tmp_path / "paper.pdf"
    path.write_bytes(make_pdf([[Words("secret")]], password="1234"))
    with pytest.raises(UnreadableDocument, match="remove the password"):
        await loader.load(path, PDF)
    with pytest.raises(UnsupportedType, match="image/gif"):
        await loader.load(path, "image/gif")
    with pytest.raises(FileNotFoundError):
        await loader.load(tmp_path / "nothing.pdf", PDF)


async def test_a_reading_that_takes_too_long_is_ended(misreader: Loader, order: Order) -> None:
    for deed in ("sleep 600", "spin 600"):
        with pytest.raises(UnreadableDocument, match=r"took longer than 4 s.*INGEST__LOAD_TIMEOUT_S"):
            await misreader.load(order(deed), PLAIN)
    assert await said(misreader, order("say hello")) == "hello"


@pytest.mark.parametrize("deed", ["crash", "exit 3"])
async def test_a_crash_takes_nothing_with_it(misreader: Loader, order: Order, deed: str) -> None:
    waiting = asyncio.gather(*(said(misreader, order(f"say {n}")) for n in range(5)))
    with pytest.raises(UnreadableDocument, match="crashed its reader"):
        await misreader.load(order(deed), PLAIN)
    assert await waiting == ["0", "1", "2", "3", "4"]
    assert await said(misreader, order("say hello")) == "hello"


async def test_a_reading_that_eats_memory_is_ended(misreader: Loader, order: Order) -> None:
    with pytest.raises(UnreadableDocument, match=r"more than 256 MB.*INGEST__LOAD_MEMORY_MB"):
        await misreader.load(order("eat 400"), PLAIN)
    assert await said(misreader, order("fill 400")) == "True"
    assert await said(misreader, order("eat 100")) == str(100 << 20)


async def test_a_cancelled_reading_frees_its_child(misreader: Loader, order: Order) -> None:
    reading = asyncio.create_task(misreader.load(order("sleep 600"), PLAIN))
    await asyncio.sleep(0.2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await said(misreader, order("say hello")) == "hello"


async def test_a_child_that_was_killed_while_idle_is_replaced(order: Order) -> None:
    async with open_loader(timeout_s=20, memory_mb=256, read=misread) as loader:
        assert await said(loader, order("say before")) == "before"
        for child in readers():
            child.kill()
        assert await said(loader, order("say after")) == "after"


async def test_closing_ends_the_children_at_once_and_whatever_they_do(order: Order) -> None:
    before = set(readers())
    async with open_loader(timeout_s=600, memory_mb=256, processes=2, read=misread) as loader:
        reading = asyncio.create_task(loader.load(order("spin 600"), PLAIN))
        await asyncio.sleep(0.5)
        assert set(readers()) - before
    assert not set(readers()) - before
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_child_imports_the_readers_and_nothing_of_the_program(misreader: Loader, order: Order) -> None:
    modules = set((await said(misreader, order("modules"))).split())
    assert {"pypdfium2", "docx", "markdown_it"} <= modules
    assert not {"torch", "langgraph", "fastapi", "psycopg", "numpy", "pytest"} & modules


async def test_the_parent_never_imports_the_readers_libraries() -> None:
    code = "import sys, ingest.load; print({'pypdfium2', 'docx', 'selectolax', 'markdown_it'} & set(sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert output.decode().strip() == "set()"


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("crash", "reading one crashed its reader (SIGSEGV)"),
        ("spin 600", "reading one took too long"),
        ("eat 400", "256 MB"),
    ],
)
async def test_a_page_that_cannot_be_read_costs_no_other_and_is_named(tmp_path: Path, deed: str, reason: str) -> None:
    path = tmp_path / "paper.pdf"
    count = SLICE_PAGES + 4
    deeds = {1: deed, SLICE_PAGES // 2: deed, SLICE_PAGES + 2: deed}
    path.write_bytes(make_pdf([[Words(deeds.get(number, f"number{number}"), y=400)] for number in range(1, count + 1)]))
    children = Children(memory_mb=256, processes=1)
    try:
        reading = SlicedReading(
            children=children,
            path=path,
            options=ReadOptions(ocr=False),
            timeout_s=60,
            slice_timeout_s=3,
            read=misread_pages,
        )
        loaded = await reading.load()
    finally:
        await children.close()
    assert loaded.text.split() == [f"number{number}" for number in range(1, count + 1) if number not in deeds]
    assert [page.number for page in loaded.pages] == [n for n in range(1, count + 1) if n not in deeds]
    (warning,) = loaded.warnings
    assert reason in warning
    assert warning.endswith(f": {', '.join(map(str, deeds))}.")


async def test_pages_beyond_the_documents_time_are_named(tmp_path: Path) -> None:
    path = tmp_path / "paper.pdf"
    path.write_bytes(make_pdf([[Words("number1")], *([Words("sleep 600")] for _ in range(30))]))
    children = Children(memory_mb=256, processes=1)
    try:
        reading = SlicedReading(
            children=children,
            path=path,
            options=ReadOptions(ocr=False),
            timeout_s=4,
            slice_timeout_s=2,
            read=misread_pages,
        )
        loaded = await reading.load()
    finally:
        await children.close()
    assert loaded.text == "number1"
    assert "INGEST__LOAD_TIMEOUT_S)): " in loaded.warnings[-1]
    assert loaded.warnings[-1].endswith("-31.")


def readers() -> list[psutil.Process]:
    """The reading children of this process: they are forked by a server, which is a child of it."""
    children = psutil.Process(os.getpid()).children(recursive=True)
    servers = [child for child in children if "forkserver" in " ".join(_arguments(child))]
    return [reader for server in servers for reader in server.children()]


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
