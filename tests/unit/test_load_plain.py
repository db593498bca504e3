from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.encoding import clean, decode, is_binary
from ingest.formats.plain import load_plain, paragraphs

FRENCH = "Le café est très bon, n'est-ce pas ? Où êtes-vous allé hier après-midi ?"
JAPANESE = "すべての人間は、生まれながらにして自由である。"
RUSSIAN = "Все люди рождаются свободными и равными в своем достоинстве и правах."


def read(folder: Path, data: bytes) -> LoadedDocument:
    path = folder / "notes.txt"
    path.write_bytes(data)
    return load_plain(path)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "utf-8"),
        (FRENCH, "utf-8-sig"),
        (FRENCH, "utf-16"),
        (FRENCH, "utf-16-le"),
        (FRENCH, "utf-16-be"),
        (FRENCH, "utf-32"),
        (FRENCH, "cp1252"),
        ("Zażółć gęślą jaźń. Wszyscy ludzie rodzą się wolni i równi.", "cp1250"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN * 4, "utf-16-le"),
        (JAPANESE, "utf-8"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc-jp"),
        (JAPANESE, "iso2022_jp"),
        ("人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心", "gb18030"),
        ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다", "euc-kr"),
        ("café", "latin-1"),
        ("plain", "ascii"),
    ],
)
def test_a_text_in_any_encoding_is_read(tmp_path: Path, text: str, encoding: str) -> None:
    assert read(tmp_path, text.encode(encoding)).text == text


def test_one_stray_byte_does_not_spoil_a_utf_8_text(tmp_path: Path) -> None:
    loaded = read(tmp_path, "Größe, Länge, Höhe, Tiefe, Fläche, Stärke ".encode() * 3 + b"\xff")
    assert loaded.text.startswith("Größe, Länge, Höhe")
    assert loaded.text.endswith("\ufffd")


def test_a_blank_line_ends_a_paragraph(tmp_path: Path) -> None:
    loaded = read(tmp_path, b"one\r\nmore of one\r\n \r\n\r\ntwo\r\n")
    assert [loaded.text[b.start : b.end] for b in loaded.blocks] == ["one\nmore of one", "two"]


def test_lines_of_code_and_records_stand_for_themselves_and_those_of_prose_do_not() -> None:
    prose = "\n".join(["A line of prose that was broken at the eightieth column, as editors are wont to"] * 3)
    code = "def f(x):\n    if x:\n        return 1\n    return 2"
    records = "name,age,town\nMarta,41,Tornby\nKnut,52,Bergen"
    assert [block.lines for text in (prose, code, records) for block in paragraphs(text)] == [False, True, True]


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", b"\xef\xbb\xbf", b"\x00"])
def test_a_file_without_text_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnreadableDocument, match="empty"):
        read(tmp_path, data)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00", bytes(range(256)) * 4])
def test_a_binary_file_is_refused(tmp_path: Path, data: bytes) -> None:
    assert is_binary(data)
    with pytest.raises(UnreadableDocument, match="binary"):
        read(tmp_path, data)


@given(st.text())
def test_cleaned_text_can_be_stored_and_is_the_same_when_cleaned_again(text: str) -> None:
    cleaned = clean(text)
    assert not set(cleaned) & set("\x00\r\x0b\x0c\x1b\x7f\x85\u2028\ufeff")
    assert clean(cleaned) == cleaned
    assert cleaned.encode().decode() == cleaned


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Co", "Cn"]), min_size=1))
def test_utf_8_is_read_as_it_is_whatever_it_says(text: str) -> None:
    assert decode(text.encode()) == text.removeprefix("\ufeff")


@given(st.binary(max_size=400))
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    try:
        text = clean(decode(data))
    except UnreadableDocument:
        return
    text.encode()


@given(st.text(alphabet="ab \n\t.-"))
def test_paragraphs_are_in_order_and_hold_every_letter(text: str) -> None:
    blocks = paragraphs(text)
    kept = "".join(text[block.start : block.end] for block in blocks)
    assert "".join(kept.split()) == "".join(text.split())
    assert not any("\n\n" in text[block.start : block.end] for block in blocks)
