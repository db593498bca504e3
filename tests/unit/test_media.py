from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput, UnreadableDocument, UnsupportedType
from ingest.load import LOADERS, RECOGNISING
from ingest.media import (
    CODE,
    CSV,
    DOCX,
    EML,
    EPUB,
    HTML,
    JPEG,
    JSON,
    JSONL,
    LATEX,
    MARKDOWN,
    MSG,
    NAME_BYTES,
    NOTEBOOK,
    ODT,
    PDF,
    PLAIN,
    PNG,
    PPTX,
    RTF,
    TIFF,
    WEBP,
    XLSX,
    XML,
    clean_name,
    detect,
)

PICTURE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"
ZIP = b"PK\x03\x04\x14\x00\x06\x00\x08\x00"
OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00\x00"


@pytest.mark.parametrize(
    ("name", "head", "media_type"),
    [
        ("a.pdf", b"%PDF-1.7\n", PDF),
        ("a.PDF", b"junk before it\n%PDF-1.4", PDF),
        ("scan", b"%PDF-1.4\n", PDF),
        ("a.docx", ZIP, DOCX),
        ("a", ZIP + b"word/document.xml", DOCX),
        ("a.html", b"<p>x", HTML),
        ("a.htm", "<p>Größe".encode("utf-16"), HTML),
        ("page", b"\n<!DOCTYPE HTML><p>x", HTML),
        ("README.md", b"# x", MARKDOWN),
        ("a.txt", b"x", PLAIN),
        ("a.txt", "Größe".encode("utf-16"), PLAIN),
        ("a.csv", b"a;b", CSV),
        ("a.json", b"{}", JSON),
        ("a.ndjson", b"{}", JSONL),
        ("a.ipynb", b"{}", NOTEBOOK),
        ("a.ts", b"let x", CODE),
        ("a.py", b"<html> = 1", CODE),
        ("a.xml", b"<a/>", XML),
        ("feed", b"<?xml version='1.0'?><rss/>", XML),
        ("page", b"<?xml version='1.0'?><html/>", HTML),
        ("a.tex", b"x", LATEX),
        ("paper", b"\\documentclass{article}", LATEX),
        ("a.eml", b"From: a", EML),
        ("mail", b"Received: from a\r\n by b\r\nFrom: c\r\n\r\nx", EML),
        ("notes", b"From: the desk of\nA. Smith\n", PLAIN),
        ("a.pptx", ZIP, PPTX),
        ("a.xlsx", ZIP, XLSX),
        ("a.docx", ZIP + b"xl/workbook.xml", XLSX),
        ("a", ZIP + b"ppt/presentation.xml", PPTX),
        ("a", ZIP + b"mimetypeapplication/epub+zip", EPUB),
        ("a", ZIP + b"mimetypeapplication/vnd.oasis.opendocument.textPK", ODT),
        ("a.rtf", b"{\\rtf1 hello}", RTF),
        ("letter", b"{\\rtf1 hello}", RTF),
        ("a.doc", b"{\\rtf1 hello}", RTF),
        ("a.msg", OFFICE, MSG),
        ("a", OFFICE + "__nameid_version1.0".encode("utf-16-le"), MSG),
        ("a.png", PICTURE, PNG),
        ("a.pdf", PICTURE, PNG),
        ("a.jpg", b"\xff\xd8\xff\xe0", JPEG),
        ("a.tif", b"II*\x00\x08", TIFF),
        ("a", b"RIFF\x00\x00\x00\x00WEBPVP8 ", WEBP),
        ("Makefile", b"run:\n\tx", PLAIN),
        ("notes of 3. May", b"hello", PLAIN),
        ("a.txt", b"one \x00 control character", PLAIN),
        ("about.txt", b"a text about %PDF-1.7", PLAIN),
    ],
)
def test_the_type_follows_from_name_and_bytes(name: str, head: bytes, media_type: str) -> None:
    assert detect(name, head) == media_type


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.gif", b"GIF89a\x00\x00\x00"),
        ("a.zip", ZIP),
        ("a", OFFICE),
        ("a.ods", ZIP),
        ("a.exe", b"MZ\x90\x00\x03\x00"),
        ("a.bin", b"hello"),
        ("a.svg", b"<svg/>"),
        ("a.txt.gz", b"hello"),
        ("a.mp4", b"hello"),
    ],
)
def test_other_types_are_not_supported_and_the_message_says_which_are(name: str, head: bytes) -> None:
    with pytest.raises(UnsupportedType, match="Upload a PDF, DOCX, PPTX, XLSX"):
        detect(name, head)


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("a.pdf", b"<html><p>Please log in", "'a.pdf' is not a PDF: it looks like a web page"),
        ("a.pdf", b"hello", "looks like plain text"),
        ("a.pdf", b"GIF89a", "looks like a GIF image"),
        ("a.png", b"hello", "'a.png' is not a PNG: it looks like plain text"),
        ("a.msg", ZIP, "looks like a ZIP archive"),
        ("a.pdf", bytes(range(1, 200)), "looks like binary data"),
        ("a.docx", OFFICE, "Save it as .docx without a password"),
        ("a.docx", b"hello", "'a.docx' is not a DOCX: it looks like plain text"),
        ("a.pdf", b"", "'a.pdf' is empty"),
        ("a.txt", b"", "'a.txt' is empty"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_unreadable(name: str, head: bytes, message: str) -> None:
    with pytest.raises(UnreadableDocument) as error:
        detect(name, head)
    assert message in str(error.value)


@pytest.mark.parametrize(("name", "better"), [("a.doc", ".docx"), ("a.xls", ".xlsx"), ("a.ppt", ".pptx")])
def test_the_old_office_formats_are_refused_with_what_to_save_them_as(name: str, better: str) -> None:
    with pytest.raises(UnsupportedType, match=f"Save it as {better}"):
        detect(name, OFFICE)


@given(st.text(max_size=20), st.binary(max_size=100))
def test_any_name_and_bytes_have_a_type_or_an_error_of_ours(name: str, head: bytes) -> None:
    try:
        found = detect(name, head)
    except InvalidInput:
        found = None
    assert found is None or found in {*LOADERS, *RECOGNISING}


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\report.pdf", "report.pdf"),
        ("/abs/report.pdf", "report.pdf"),
        ("re\x00po\nrt\x7f.pdf", "report.pdf"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("  a \t b .txt ", "a b .txt"),
        ("Cafe\u0301.txt", "Café.txt"),
        (".env", ".env"),
        ("نامه‌ها.pdf", "نامه‌ها.pdf"),
    ],
)
def test_a_name_is_its_last_part_without_what_cannot_be_seen(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


@pytest.mark.parametrize("name", ["", " ", "..", ".", "../", "a/", "\x00", "\u202e", "C:\\"])
def test_no_name_is_an_error(name: str) -> None:
    with pytest.raises(InvalidInput, match="no name"):
        clean_name(name)


def test_a_long_name_is_cut_before_its_extension() -> None:
    cleaned = clean_name("é" * 300 + ".pdf")
    assert cleaned.endswith("é.pdf")
    assert NAME_BYTES - 1 <= len(cleaned.encode()) <= NAME_BYTES


def test_a_long_extension_is_cut_like_any_name() -> None:
    assert len(clean_name("a." + "x" * 300).encode()) == NAME_BYTES


@given(st.text())
def test_a_cleaned_name_is_safe_and_stays_as_it_is(name: str) -> None:
    try:
        cleaned = clean_name(name)
    except InvalidInput:
        return
    assert "/" not in cleaned
    assert "\\" not in cleaned
    assert "\x00" not in cleaned
    assert cleaned not in {".", ".."}
    assert 0 < len(cleaned.encode()) <= NAME_BYTES
    assert clean_name(cleaned) == cleaned
