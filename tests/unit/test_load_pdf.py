from __future__ import annotations

from pathlib import Path

import pytest

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.formats.pdf import load_pdf
from tests.pdf import Words, make_pdf, paragraph

PROSE = (
    "The lighthouse of Kerzenfels was built in 1821 by the engineer Marta Olsund on a rock of red granite far out in "
    "the bay, and it has been kept by the same family ever since."
)


def read(folder: Path, data: bytes) -> LoadedDocument:
    path = folder / "paper.pdf"
    path.write_bytes(data)
    return load_pdf(path)


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


def test_a_pdf_without_text_says_to_run_ocr(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"no text.*OCR"):
        read(tmp_path, make_pdf([[], []]))


def test_pages_without_text_are_named_beside_those_that_have_some(tmp_path: Path) -> None:
    loaded = read(tmp_path, make_pdf([[Words("one")], [], [], [Words("four")], []]))
    assert loaded.text.split() == ["one", "four"]
    assert [page.number for page in loaded.pages] == [1, 2, 3, 4, 5]
    assert list(loaded.warnings) == ["3 of 5 pages hold no text that can be read (scanned?): 2-3, 5."]


def test_damaged_pages_are_named_beside_those_that_can_be_read(tmp_path: Path) -> None:
    data = make_pdf([[Words("one")], [Words("two")], [Words("three")]])
    second_page = data.index(b"6 0 obj")
    damaged = data[:second_page] + data[second_page:].replace(b"/Type /Page ", b"/Type /Pagx ", 1)
    loaded = read(tmp_path, damaged)
    assert loaded.text.split() == ["one", "three"]
    assert list(loaded.warnings) == ["1 of 3 pages are damaged and were left out: 2."]


@pytest.mark.parametrize("data", [b"%PDF-1.7\nnothing", b"\x00" * 100, make_pdf([[Words("x")]])[:60]])
def test_a_damaged_pdf_says_what_to_do(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnreadableDocument, match="damaged"):
        read(tmp_path, data)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="empty"):
        read(tmp_path, b"")
