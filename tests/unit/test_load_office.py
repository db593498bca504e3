"""PPTX, XLSX, ODT, RTF and EPUB."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from pptx import Presentation
from pptx.util import Inches

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.formats import sheets
from ingest.formats.book import load_epub
from ingest.formats.opendocument import load_odt
from ingest.formats.richtext import load_rtf
from ingest.formats.sheets import load_xlsx
from ingest.formats.slides import load_pptx
from ingest.formats.table import trimmed
from tests.archives import make_epub, make_odt


def blocks(loaded: LoadedDocument) -> list[tuple[int, str]]:
    return [(block.level, loaded.text[block.start : block.end]) for block in loaded.blocks]


def read(load: Callable[[Path], LoadedDocument], folder: Path, data: bytes) -> LoadedDocument:
    path = folder / "file"
    path.write_bytes(data)
    return load(path)


def test_slides_are_pages_with_titles_tables_and_notes(tmp_path: Path) -> None:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Harbour"
    low = slide.shapes.add_textbox(Inches(1), Inches(6), Inches(2), Inches(1))
    low.text_frame.text = "below"
    high = slide.shapes.add_textbox(Inches(1), Inches(2), Inches(2), Inches(1))
    high.text_frame.text = "above"
    table = slide.shapes.add_table(2, 2, Inches(1), Inches(4), Inches(4), Inches(1)).table
    for n, text in enumerate(["ship", "crew", "Anna", "7"]):
        table.cell(n // 2, n % 2).text = text
    slide.notes_slide.notes_text_frame.text = "Speak slowly."
    second = deck.slides.add_slide(deck.slide_layouts[1])
    second.shapes.title.text = "Ferries"
    second.placeholders[1].text_frame.text = "at nine"
    second.placeholders[1].text_frame.add_paragraph().text = "at noon"
    deck.save(str(tmp_path / "deck.pptx"))
    loaded = load_pptx(tmp_path / "deck.pptx")
    assert blocks(loaded) == [
        (1, "Harbour"),
        (0, "above"),
        (0, "| ship | crew |\n| Anna | 7 |"),
        (0, "below"),
        (0, "Notes: Speak slowly."),
        (1, "Ferries"),
        (0, "- at nine\n- at noon"),
    ]
    assert [page.number for page in loaded.pages] == [1, 2]
    assert loaded.text[loaded.pages[1].start :].startswith("Ferries")


def test_sheets_are_sections_and_blank_rows_end_a_table(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    first = book.active
    first.title = "Tides"
    rows = [["day", "height"], [dt.datetime(2026, 5, 1), 3.5], [], [None, "port", "depth"], [None, "Tornby", 12]]  # noqa: DTZ001 (a sheet knows no zone)
    for cells in rows:
        first.append(cells)
    book.create_sheet("Empty")
    book.create_sheet("More").append(["only"])
    book.save(tmp_path / "book.xlsx")
    assert blocks(load_xlsx(tmp_path / "book.xlsx")) == [
        (1, "Tides"),
        (0, "| day | height |\n| 2026-05-01 | 3.5 |"),
        (0, "| port | depth |\n| Tornby | 12 |"),
        (1, "More"),
        (0, "| only |"),
    ]


def test_what_is_hidden_in_a_workbook_or_a_show_is_read_and_named(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["seen"])
    for state in ("hidden", "veryHidden"):
        sheet = book.create_sheet(state.title())
        sheet.append(["unseen"])
        sheet.sheet_state = state
    book.save(tmp_path / "book.xlsx")
    loaded = load_xlsx(tmp_path / "book.xlsx")
    assert loaded.text.count("unseen") == 2
    assert list(loaded.warnings) == ["Sheets that are hidden in the workbook were read: 'Hidden', 'Veryhidden'."]
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Plan"
    for number in range(1, 6):
        sheet.append([f"ship {number}", number, number * 7])
    for number in (2, 4, 9):
        sheet.row_dimensions[number].hidden = True
    for letter in ("C", "F"):
        sheet.column_dimensions[letter].hidden = True
    book.save(tmp_path / "rows.xlsx")
    loaded = load_xlsx(tmp_path / "rows.xlsx")
    assert "| ship 2 | 2 | 14 |" in loaded.text
    assert list(loaded.warnings) == [
        "Rows and columns that are hidden in the workbook were read: 2 rows of 'Plan', column C of 'Plan'."
    ], "what is hidden and blank is nothing to tell of"
    deck = Presentation()
    for shown in ("1", "0"):
        slide = deck.slides.add_slide(deck.slide_layouts[5])
        slide.shapes.title.text = "Harbour"
        slide._element.set("show", shown)
    deck.save(str(tmp_path / "deck.pptx"))
    assert list(load_pptx(tmp_path / "deck.pptx").warnings) == ["Slides that are hidden in a show were read: 2."]


def test_an_empty_workbook_holds_no_text(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "book.xlsx")
    with pytest.raises(UnreadableDocument, match="no text"):
        load_xlsx(tmp_path / "book.xlsx")


def test_the_rows_that_a_sheet_leaves_out_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []

    def shown(value: object) -> str:
        looked.append(value)
        return str(value)

    monkeypatch.setattr(sheets, "_shown", shown)

    def counted(cells: list[str]) -> list[str]:
        looked.append(None)
        return trimmed(cells)

    monkeypatch.setattr(sheets, "trimmed", counted)
    book = openpyxl.Workbook()
    book.active["A1"] = "near"
    book.active["A1048576"] = "far"
    book.save(tmp_path / "book.xlsx")
    assert load_xlsx(tmp_path / "book.xlsx").text == "Sheet\n\n| near |\n\n| far |"
    assert [value for value in looked if value] == ["near", "far"]
    assert len(looked) < 10


def test_a_workbook_of_countless_blank_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "MOST_ROWS", 150)
    book = openpyxl.Workbook()
    book.active["A100"] = "far"
    book.save(tmp_path / "book.xlsx")
    assert "far" in load_xlsx(tmp_path / "book.xlsx").text
    book.create_sheet("More")["A100"] = "far"
    book.save(tmp_path / "book.xlsx")
    with pytest.raises(UnreadableDocument, match="more than 150 rows"):
        load_xlsx(tmp_path / "book.xlsx")


def test_an_odt_keeps_headings_lists_tables_and_footnotes(tmp_path: Path) -> None:
    body = (
        '<text:h text:outline-level="2">Harbour</text:h>'
        "<text:p>One<text:s text:c='2'/>two<text:note><text:note-citation>1</text:note-citation>"
        "<text:note-body><text:p>aside</text:p></text:note-body></text:note>.</text:p>"
        "<text:list><text:list-item><text:p>a</text:p><text:list><text:list-item><text:p>b</text:p></text:list-item>"
        "</text:list></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>ship</text:p></table:table-cell>"
        "<table:table-cell><text:p>crew</text:p></table:table-cell></table:table-row>"
        "<table:table-row><table:table-cell table:number-columns-repeated='2'><text:p>7</text:p></table:table-cell>"
        "</table:table-row></table:table>"
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
    )
    assert blocks(read(load_odt, tmp_path, make_odt(body))) == [
        (2, "Harbour"),
        (0, "One  two (aside)."),
        (0, "- a\n  - b"),
        (0, "| ship | crew |\n| 7 | 7 |"),
    ]


def test_an_encrypted_odt_says_so(tmp_path: Path) -> None:
    manifest = "<manifest:encryption-data/>"
    with pytest.raises(UnreadableDocument, match="encrypted: remove the password"):
        read(load_odt, tmp_path, make_odt("<text:p>x</text:p>", manifest=manifest))


RTF = rb"""{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset128 MS Gothic;}}
{\stylesheet{\s1 heading 1;}{\s2\outlinelevel1 Own;}}{\info{\title not text}}
{\header not text}\pard\s1 Harbour\par\pard\s2 Depth\par\pard Gr\'f6\'dfe \u8212? \f1\'93\'fa\'96{\f0 n}\par
\trowd\pard\intbl ship\cell crew\cell\row\trowd\pard\intbl Anna\cell 7\cell\row\pard {\v hidden}last\par
{\*\unknown not text}}"""


def test_rtf_keeps_headings_tables_and_letters_of_every_code_page(tmp_path: Path) -> None:
    data = RTF.replace(rb"\'96{\f0 n}", rb"\'96\'7b")
    assert blocks(read(load_rtf, tmp_path, data)) == [
        (1, "Harbour"),
        (2, "Depth"),
        (0, "Größe — 日本"),
        (0, "| ship | crew |\n| Anna | 7 |"),
        (0, "last"),
    ]


def test_an_epub_is_read_in_the_order_of_its_spine(tmp_path: Path) -> None:
    chapters = {
        "b.xhtml": "<html><head><title>Book</title></head><body><p>second</p></body></html>",
        "a.xhtml": "<html><body><h1>One</h1><p>first</p><img src='http://127.0.0.1:9/x.png'/></body></html>",
    }
    data = make_epub(chapters, spine=["a.xhtml", "b.xhtml", "gone.xhtml"], titles={"b.xhtml": "Two"})
    loaded = read(load_epub, tmp_path, data)
    assert blocks(loaded) == [(1, "One"), (0, "first"), (1, "Two"), (0, "second")]
    assert list(loaded.warnings) == ["Chapters that are not in the file were left out: 'gone.xhtml'."]


def test_a_protected_epub_says_so(tmp_path: Path) -> None:
    method = '<e:EncryptionMethod xmlns:e="urn:x" Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/>'
    data = make_epub({"a.xhtml": "<p>x</p>"}, spine=["a.xhtml"], encryption=method)
    with pytest.raises(UnreadableDocument, match="DRM"):
        read(load_epub, tmp_path, data)
