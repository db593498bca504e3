from __future__ import annotations

from pathlib import Path

import pytest

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.formats.pdf import load_pdf
from ingest.options import ReadOptions
from tests.pdf import Words, make_pdf, paragraph

PROSE = (
    "The lighthouse of Kerzenfels was built in 1821 by the engineer Marta Olsund on a rock of red granite far out in "
    "the bay, and it has been kept by the same family ever since."
)

SCAN = b"q 595 0 0 842 0 0 cm BI /W 2 /H 2 /CS /G /BPC 8 ID \x00\xff\xff\x00 EI Q\n"
"""A picture that fills its page."""


def read(folder: Path, data: bytes) -> LoadedDocument:
    path = folder / "paper.pdf"
    path.write_bytes(data)
    return load_pdf(path, ReadOptions(ocr=False))


def blocks(loaded: LoadedDocument) -> list[tuple[int, str]]:
    return [(block.level, loaded.text[block.start : block.end]) for block in loaded.blocks]


def test_lines_become_paragraphs(tmp_path: Path) -> None:
    page = [*paragraph(PROSE, top=760), *paragraph(PROSE.replace("1821", "1822"), top=680)]
    assert blocks(read(tmp_path, make_pdf([page]))) == [(0, PROSE), (0, PROSE.replace("1821", "1822"))]


def test_pages_are_numbered_from_one_and_say_where_they_start(tmp_path: Path) -> None:
    loaded = read(tmp_path, make_pdf([[Words("first page")], [Words("second page")], [Words("third page")]]))
    assert [page.number for page in loaded.pages] == [1, 2, 3]
    starts = [loaded.text[page.start :].split()[0] for page in loaded.pages]
    assert starts == ["first", "second", "third"]


def test_larger_and_bolder_lines_are_headings(tmp_path: Path) -> None:
    page = [
        Words("Kerzenfels", size=20, y=780),
        *paragraph(PROSE, top=740),
        Words("History", y=660, bold=True),
        *paragraph(PROSE, top=640),
        Words("Operation", size=14, y=560),
        *paragraph(PROSE, top=540),
    ]
    found = blocks(read(tmp_path, make_pdf([page])))
    assert [(level, text) for level, text in found if level] == [(1, "Kerzenfels"), (3, "History"), (2, "Operation")]
    assert [text for level, text in found if not level] == [PROSE] * 3


def test_columns_are_read_one_after_the_other(tmp_path: Path) -> None:
    left = paragraph("The left column speaks of lamps and oil and of the keeper.", width=24)
    right = paragraph("The right column speaks of ferries and of their tickets.", x=320, width=24)
    loaded = read(tmp_path, make_pdf([[*left, *right]]))
    assert [text for _, text in blocks(loaded)] == [
        "The left column speaks of lamps and oil and of the keeper.",
        "The right column speaks of ferries and of their tickets.",
    ]


def test_a_sentence_goes_on_in_the_next_column(tmp_path: Path) -> None:
    left = paragraph("The keeper of the lighthouse is paid by the harbour office in", width=24)
    right = paragraph("the town of Tornby.", x=320, width=24)
    loaded = read(tmp_path, make_pdf([[*left, *right]]))
    assert loaded.text == "The keeper of the lighthouse is paid by the harbour office in the town of Tornby."


def test_words_broken_at_the_end_of_a_line_are_joined_as_the_document_writes_them(tmp_path: Path) -> None:
    lines = [
        "The light-house stands on a rock and the way to it is a foot-",
        "path of stone; the dual-",
        "encoder is new.",
    ]
    page = [Words(line, y=760 - 13 * n) for n, line in enumerate(lines)]
    page.append(Words("A dual-encoder, a footpath.", y=600))
    loaded = read(tmp_path, make_pdf([page]))
    assert "a footpath of stone; the dual-encoder is new." in loaded.text


def test_running_headers_and_page_numbers_are_left_out(tmp_path: Path) -> None:
    pages = [
        [
            Words("Annual report of the harbour", y=820),
            *paragraph(f"{PROSE} Part {n}.", top=600),
            Words(f"Page {n}", y=20),
        ]
        for n in range(1, 5)
    ]
    loaded = read(tmp_path, make_pdf(pages))
    assert "Annual report" not in loaded.text
    assert "Page 2" not in loaded.text
    assert "Part 2." in loaded.text


def test_rows_of_figures_keep_their_lines(tmp_path: Path) -> None:
    rows = ["Net sales 3,226.8 2,729.4 2,198.7", "Gross profit 37.6% 37.6% 35.1%", "Expenses 762.7 650.0 514.1"]
    loaded = read(tmp_path, make_pdf([[Words(row, y=700 - 13 * n) for n, row in enumerate(rows)]]))
    assert loaded.text == "\n".join(rows)
    assert loaded.blocks[0].lines


def test_a_turned_page_is_read_in_its_own_direction(tmp_path: Path) -> None:
    assert read(tmp_path, make_pdf([paragraph(PROSE)], rotate=90)).text == PROSE


def test_an_encrypted_pdf_says_to_remove_the_password(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"encrypted.*remove the password"):
        read(tmp_path, make_pdf([[Words("secret")]], password="1234"))


def test_a_pdf_that_needs_no_password_to_be_read_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, make_pdf([[Words("open to all")]], password="")).text == "open to all"


def test_a_pdf_of_pictures_says_that_it_needs_ocr_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"no text.*2 of 2 pages need OCR.*install tesseract.*: 1-2"):
        read(tmp_path, make_pdf([SCAN, SCAN]))


def test_a_pdf_of_blank_pages_is_empty(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="The PDF holds no text"):
        read(tmp_path, make_pdf([[], []]))


def test_pages_that_need_ocr_are_named_and_blank_ones_are_not(tmp_path: Path) -> None:
    loaded = read(tmp_path, make_pdf([[Words("one")], SCAN, SCAN, [Words("four")], SCAN, []]))
    assert loaded.text.split() == ["one", "four"]
    assert [page.number for page in loaded.pages] == [1, 2, 3, 4, 5, 6]
    (warning,) = loaded.warnings
    assert warning.startswith("3 of 6 pages need OCR")
    assert warning.endswith(": 2-3, 5.")


@pytest.mark.parametrize(
    "hidden",
    [
        b"BT /F1 11 Tf 3 Tr 72 400 Td (hidden) Tj ET",
        b"BT /F1 11 Tf 1 g 72 400 Td (hidden) Tj ET",
        b"BT /F1 1 Tf 72 400 Td (hidden) Tj ET",
        b"BT /F1 11 Tf 72 -400 Td (hidden) Tj ET",
        b"BT /F1 11 Tf 900 400 Td (hidden) Tj ET",
    ],
    ids=["invisible", "white", "tiny", "below the page", "beside the page"],
)
def test_text_that_a_reader_cannot_see_is_left_out_and_the_page_is_named(tmp_path: Path, hidden: bytes) -> None:
    seen = b"BT /F1 11 Tf 72 760 Td (seen) Tj ET\n"
    loaded = read(tmp_path, make_pdf([seen, seen + hidden]))
    assert loaded.text.split() == ["seen", "seen"]
    (warning,) = loaded.warnings
    assert "cannot see was left out" in warning
    assert warning.endswith("pages 2.")


@pytest.mark.parametrize(
    "seen",
    [
        SCAN + b"BT /F1 11 Tf 3 Tr 72 400 Td (seen) Tj ET",
        b"0 g 60 380 300 60 re f BT /F1 11 Tf 1 g 72 400 Td (seen) Tj ET",
        b"BT /F1 11 Tf 0.5 g 72 400 Td (seen) Tj ET",
    ],
    ids=["OCR layer over a scan", "white on black", "grey"],
)
def test_text_that_only_looks_hidden_is_kept(tmp_path: Path, seen: bytes) -> None:
    loaded = read(tmp_path, make_pdf([seen]))
    assert loaded.text == "seen"
    assert list(loaded.warnings) == []


def test_a_pdf_that_hides_all_of_its_text_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="cannot see was left out"):
        read(tmp_path, make_pdf([b"BT /F1 11 Tf 3 Tr 72 400 Td (hidden) Tj ET"]))


def test_comments_and_form_fields_are_read_and_attachments_are_named(tmp_path: Path) -> None:
    comment = b"<< /Type /Annot /Subtype /Text /Rect [0 0 9 9] /Contents (check this) >>"
    field = b"<< /Type /Annot /Subtype /Widget /FT /Tx /Rect [0 0 9 9] /T (city) /V (Tornby) >>"
    files = b"/Names << /EmbeddedFiles << /Names [(a.txt) << /Type /Filespec /F (a.txt) /UF (a.txt) >>] >> >>"
    data = make_pdf([[Words("body")]], annotations=comment + field, catalog=files)
    loaded = read(tmp_path, data)
    assert loaded.text == "body\n\nComment: check this\ncity: Tornby"
    assert list(loaded.warnings) == ["Attachments that were not read: 'a.txt'. Upload them on their own."]


def test_pages_are_counted_and_it_is_said_that_the_document_labels_them_otherwise(tmp_path: Path) -> None:
    loaded = read(tmp_path, make_pdf([[Words("one")]], catalog=b"/PageLabels << /Nums [0 << /S /r /St 4 >>] >>"))
    assert [page.number for page in loaded.pages] == [1]
    assert list(loaded.warnings) == ["Page numbers count the sheets of the file; it calls sheet 1 'iv'."]


def test_damaged_pages_are_named_beside_those_that_can_be_read(tmp_path: Path) -> None:
    data = make_pdf([[Words("one")], [Words("two")], [Words("three")]])
    second_page = data.index(b"6 0 obj")
    damaged = data[:second_page] + data[second_page:].replace(b"/Type /Page ", b"/Type /Pagx ", 1)
    loaded = read(tmp_path, damaged)
    assert loaded.text.split() == ["one", "three"]
    assert list(loaded.warnings) == ["1 of 3 pages were left out (they are damaged): 2."]


@pytest.mark.parametrize("data", [b"%PDF-1.7\nnothing", b"\x00" * 100, make_pdf([[Words("x")]])[:60]])
def test_a_damaged_pdf_says_what_to_do(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnreadableDocument, match="damaged"):
        read(tmp_path, data)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="empty"):
        read(tmp_path, b"")


@pytest.mark.parametrize(
    ("letters", "drawn", "text"),
    [
        ({"a": "س", "b": "لا", "c": "م"}, "cba", "سلام"),
        ({"a": "ا", "b": "لإ", "c": "ن"}, "cba", "الإن"),
        ({"a": "ا", "b": "ل", "c": "إ"}, "acb", "لإا"),
        # Two glyphs, each of a letter: the article is no ligature.
        ({"a": "ا", "b": "ل", "c": "م"}, "cba", "الم"),
        # A presentation form is one letter of the file, and comes out in order anyway.
        ({"a": "س", "b": "\ufefb", "c": "م"}, "cba", "سلام"),
    ],
)
def test_arabic_ligatures_keep_the_order_of_their_letters(
    tmp_path: Path, letters: dict[str, str], drawn: str, text: str
) -> None:
    page = f"BT /F3 14 Tf 72 500 Td ({drawn}) Tj ET".encode()
    assert read(tmp_path, make_pdf([page], letters=letters)).text == text
