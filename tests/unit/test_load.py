from __future__ import annotations

from pathlib import Path

import docx
import pytest

from core.errors import UnreadableDocument, UnsupportedType
from ingest import media
from ingest.load import LOADERS, RECOGNISING, load
from ingest.media import DOCX, HTML, MARKDOWN, PLAIN
from ingest.options import ReadOptions


def test_there_is_a_loader_for_each_type_that_is_detected() -> None:
    detected = {*media.BINARY.values(), *media.TEXTS.values()}
    assert {*LOADERS, *RECOGNISING} == detected


@pytest.mark.parametrize(("media_type", "level"), [(HTML, 0), (MARKDOWN, 1), (PLAIN, 0)])
def test_the_type_chooses_the_loader(tmp_path: Path, media_type: str, level: int) -> None:
    path = tmp_path / "file"
    path.write_text("# Kerzenfels")
    assert [block.level for block in load(path, media_type).blocks] == [level]


def test_a_type_without_a_loader_is_not_supported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedType, match="'image/gif'"):
        load(tmp_path / "file", "image/gif")


@pytest.mark.parametrize("media_type", sorted({*LOADERS, *RECOGNISING}))
def test_a_file_that_is_not_there_is_no_damaged_file(tmp_path: Path, media_type: str) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "file", media_type)


def test_more_text_than_allowed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("Kerzenfels " * 10)
    assert load(path, PLAIN, ReadOptions(max_chars=110)).text
    with pytest.raises(UnreadableDocument, match=r"more than 109 characters.*INGEST__LOAD_MAX_CHARS"):
        load(path, PLAIN, ReadOptions(max_chars=109))


@pytest.mark.parametrize("cut", [slice(100, None), slice(0, -30), slice(2000, 9000)])
def test_whatever_a_library_raises_the_file_is_damaged(tmp_path: Path, cut: slice) -> None:
    path = tmp_path / "paper.docx"
    document = docx.Document()
    document.add_paragraph("Kerzenfels")
    document.save(str(path))
    path.write_bytes(path.read_bytes()[cut])
    with pytest.raises(UnreadableDocument, match="damaged"):
        load(path, DOCX)
