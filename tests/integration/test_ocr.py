"""Pictures and scanned pages through the program tesseract."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageDraw, ImageFont

from core.errors import UnreadableDocument
from ingest.children import Children
from ingest.formats.ocr import Recogniser
from ingest.formats.pdf import recognise_page
from ingest.load import Loader, load, open_loader
from ingest.media import JPEG, PDF, PNG, TIFF, WEBP
from ingest.options import ReadOptions
from tests.pdf import Words, make_pdf

HINT = "needs tesseract: `apt-get install tesseract-ocr`, or `.ci/run`, which installs it"
HAS_TESSERACT = shutil.which("tesseract") is not None


@pytest.fixture
def tesseract() -> None:
    if not HAS_TESSERACT:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(HINT)


@pytest.fixture(scope="module")
async def loader() -> AsyncIterator[Loader]:
    async with open_loader(timeout_s=60, memory_mb=1024) as opened:
        yield opened


def drawn(text: str) -> Image.Image:
    """A picture of large black words on white."""
    picture = Image.new("L", (1200, 400), 255)
    ImageDraw.Draw(picture).multiline_text((60, 60), text, fill=0, font=ImageFont.load_default(64), spacing=40)
    return picture


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def scan(text: str) -> bytes:
    """What draws a picture of the words over a page of a PDF."""
    picture = drawn(text)
    head = b"q 500 0 0 167 40 600 cm BI /W 1200 /H 400 /CS /G /BPC 8 /F /AHx ID "
    return head + picture.tobytes().hex().encode() + b"> EI Q\n"


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", PNG), ("JPEG", JPEG), ("TIFF", TIFF), ("WEBP", WEBP)])
@pytest.mark.usefixtures("tesseract")
async def test_the_words_of_a_picture_are_read(loader: Loader, tmp_path: Path, kind: str, media_type: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(drawn("Ferries leave at noon"), kind))
    loaded = await loader.load(path, media_type)
    assert loaded.text == "Ferries leave at noon"
    assert [page.number for page in loaded.pages] == [1]


@pytest.mark.usefixtures("tesseract")
async def test_each_picture_of_a_tiff_is_a_page(loader: Loader, tmp_path: Path) -> None:
    path = tmp_path / "fax"
    path.write_bytes(encoded(drawn("First sheet"), "TIFF", save_all=True, append_images=[drawn("Second sheet")]))
    loaded = await loader.load(path, TIFF)
    assert loaded.text == "First sheet\n\nSecond sheet"
    assert [page.number for page in loaded.pages] == [1, 2]


@pytest.mark.usefixtures("tesseract")
async def test_scanned_pages_of_a_pdf_are_recognised_in_their_place(loader: Loader, tmp_path: Path) -> None:
    path = tmp_path / "paper.pdf"
    path.write_bytes(make_pdf([[Words("typed", y=400)], scan("scanned words"), [Words("typed again", y=400)]]))
    loaded = await loader.load(path, PDF)
    assert loaded.text == "typed\n\nscanned words\n\ntyped again"
    assert [page.number for page in loaded.pages] == [1, 2, 3]
    assert list(loaded.warnings) == []


@pytest.mark.usefixtures("tesseract")
async def test_a_language_that_is_not_installed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(drawn("Ferries"), "PNG"))
    with pytest.raises(UnreadableDocument, match=r"lacks a language of INGEST__OCR_LANGUAGES \(tlh\)"):
        load(path, PNG, ReadOptions(ocr_languages="tlh"))


@pytest.mark.usefixtures("tesseract")
async def test_recognition_ends_with_the_time_of_the_document(tmp_path: Path) -> None:
    path = tmp_path / "paper.pdf"
    path.write_bytes(make_pdf([[Words("typed", y=400)], scan("scanned words")]))
    loaded = load(path, PDF, ReadOptions(ocr_timeout_s=1e-9))
    assert loaded.text == "typed"
    (warning,) = loaded.warnings
    assert "INGEST__OCR_TIMEOUT_S" in warning
    assert warning.endswith(": 2.")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
async def test_the_program_ends_with_the_child_that_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, started = tmp_path / "tesseract", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\necho $$ > {started}.part && mv {started}.part {started}\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    paper, folder = tmp_path / "paper.pdf", tmp_path / "pages"
    paper.write_bytes(make_pdf([scan("scanned words")]))
    folder.mkdir()
    children = Children(memory_mb=1024, processes=1)
    try:
        work = children.run(recognise_page, paper, 1, folder, Recogniser(ReadOptions()), timeout_s=600)
        recognising = asyncio.create_task(work)
        async with asyncio.timeout(60):
            while not started.exists():
                await asyncio.sleep(0.05)
        pid = int(started.read_text())
        assert psutil.pid_exists(pid)
        recognising.cancel()
        with pytest.raises(asyncio.CancelledError):
            await recognising
        async with asyncio.timeout(20):
            while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.05)
    finally:
        await children.close()


@pytest.mark.parametrize("options", [ReadOptions(ocr=False), ReadOptions()], ids=["switched off", "not installed"])
async def test_without_ocr_a_picture_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: ReadOptions
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "picture"
    path.write_bytes(encoded(drawn("Ferries"), "PNG"))
    with pytest.raises(UnreadableDocument, match=r"needs OCR: install tesseract.*INGEST__OCR"):
        load(path, PNG, options)


@pytest.mark.usefixtures("tesseract")
async def test_a_picture_without_words_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(Image.new("L", (300, 300), 255), "PNG"))
    with pytest.raises(UnreadableDocument, match="gave no text"):
        load(path, PNG)
    path.write_bytes(encoded(drawn("Ferries"), "PNG")[:200])
    with pytest.raises(UnreadableDocument, match="damaged"):
        load(path, PNG)


@pytest.mark.usefixtures("tesseract")
async def test_a_picture_of_countless_pixels_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(Image.new("1", (20_000, 20_000)), "PNG"))
    with pytest.raises(UnreadableDocument, match=r"too large|million pixels"):
        load(path, PNG)
