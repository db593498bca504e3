"""Documents of docling's own data model, as its converter gives them."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from docling_core.types.doc import (
    BoundingBox,
    DocItemLabel,
    DoclingDocument,
    ProvenanceItem,
    Size,
    TableCell,
    TableData,
)
from docling_core.types.doc.document import ContentLayer

from core.domain import LoadedDocument
from core.errors import InvalidInput, UnreadableDocument
from core.settings import IngestSettings
from ingest.formats.docling import laid_out
from ingest.options import ReadOptions, read_options


def blocks(loaded: LoadedDocument) -> list[tuple[int, str]]:
    return [(block.level, loaded.text[block.start : block.end]) for block in loaded.blocks]


def on(page: int) -> ProvenanceItem:
    return ProvenanceItem(page_no=page, bbox=BoundingBox(l=0, t=0, r=1, b=1), charspan=(0, 0))


def sheets(*numbers: int) -> DoclingDocument:
    document = DoclingDocument(name="paper")
    for number in numbers:
        document.add_page(number, Size(width=595, height=842))
    return document


def cell(text: str, y: int, x: int, *, wide: int = 1, high: int = 1) -> TableCell:
    return TableCell(
        text=text,
        row_span=high,
        col_span=wide,
        start_row_offset_idx=y,
        end_row_offset_idx=y + high,
        start_col_offset_idx=x,
        end_col_offset_idx=x + wide,
    )


def test_headings_have_the_levels_of_their_place() -> None:
    document = sheets(1)
    document.add_title("Kerzenfels", prov=on(1))
    document.add_heading("History", level=1, prov=on(1))
    document.add_text(DocItemLabel.TEXT, "Built in 1821.", prov=on(1))
    document.add_heading("The lamp", level=2, prov=on(1))
    document.add_heading("Far below", level=9, prov=on(1))
    assert blocks(laid_out(document, pages=1)) == [
        (1, "Kerzenfels"),
        (2, "History"),
        (0, "Built in 1821."),
        (3, "The lamp"),
        (6, "Far below"),
    ]


def test_without_a_title_the_sections_are_the_top() -> None:
    document = sheets(1)
    document.add_heading("History", level=1, prov=on(1))
    document.add_text(DocItemLabel.TEXT, "Built in 1821.", prov=on(1))
    assert blocks(laid_out(document, pages=1)) == [(1, "History"), (0, "Built in 1821.")]


def test_lists_code_formulas_and_captions_are_read_and_margins_are_not() -> None:
    document = sheets(1)
    document.add_text(DocItemLabel.PAGE_HEADER, "running", prov=on(1), content_layer=ContentLayer.FURNITURE)
    document.add_text(DocItemLabel.PAGE_FOOTER, "page 1", prov=on(1))
    items = document.add_list_group()
    document.add_list_item("oil", parent=items, prov=on(1))
    document.add_list_item("wicks", enumerated=True, marker="2.", parent=items, prov=on(1))
    document.add_code("if lit:\n    burn()", prov=on(1))
    document.add_formula("a + b", prov=on(1))
    document.add_picture(caption=document.add_text(DocItemLabel.CAPTION, "The rock", prov=on(1)), prov=on(1))
    loaded = laid_out(document, pages=1)
    assert blocks(loaded) == [
        (0, "- oil\n2. wicks"),
        (0, "if lit:\n    burn()"),
        (0, "a + b"),
        (0, "The rock"),
    ]
    assert [block.lines for block in loaded.blocks] == [True, True, False, False]


def test_a_cell_that_spans_others_is_written_once() -> None:
    document = sheets(1)
    cells = [
        cell("port", 0, 0),
        cell("depth", 0, 1),
        cell("Tornby", 1, 0, high=2),
        cell("12 | 13", 1, 1),
        cell("14", 2, 1),
        cell("in metres", 3, 0, wide=2),
    ]
    document.add_table(TableData(num_rows=4, num_cols=2, table_cells=cells), prov=on(1))
    assert laid_out(document, pages=1).text == ("| port | depth |\n| Tornby | 12 \\| 13 |\n|  | 14 |\n| in metres |")


def test_pages_are_those_on_which_things_begin() -> None:
    document = sheets(1, 2, 3, 4)
    document.add_text(DocItemLabel.TEXT, "one", prov=on(1))
    items = document.add_list_group()
    document.add_list_item("first", parent=items, prov=on(1))
    document.add_list_item("second", parent=items, prov=on(3))
    document.add_text(DocItemLabel.TEXT, "late", prov=on(2))
    document.add_text(DocItemLabel.TEXT, "nowhere")
    loaded = laid_out(document, pages=4)
    assert loaded.text == "one\n\n- first\n\n- second\n\nlate\n\nnowhere"
    starts = {page.number: loaded.text[page.start :].partition("\n")[0] for page in loaded.pages}
    assert starts == {1: "one", 2: "- second", 3: "- second", 4: ""}
    assert [page.start for page in loaded.pages] == sorted(page.start for page in loaded.pages)


def test_pages_that_docling_left_out_are_named() -> None:
    document = sheets(1, 4)
    document.add_text(DocItemLabel.TEXT, "one", prov=on(1))
    document.add_text(DocItemLabel.TEXT, "four", prov=on(4))
    loaded = laid_out(document, pages=5, notes=["It has attachments."])
    assert [page.number for page in loaded.pages] == [1, 4]
    assert list(loaded.warnings) == [
        "It has attachments.",
        "3 of 5 pages were left out (docling gave none): 2-3, 5.",
    ]


def test_a_document_without_text_is_refused() -> None:
    with pytest.raises(UnreadableDocument, match="no text"):
        laid_out(sheets(1), pages=1)


def test_a_missing_package_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def missing(name: str, package: str | None = None) -> Any:
        return None if name == "docling" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    assert read_options(IngestSettings()) == ReadOptions()
    with pytest.raises(InvalidInput, match=r"pip install 'ragstone\[docling\]'"):
        read_options(IngestSettings(pdf_reader="docling"))


def test_the_setting_reaches_the_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: object())
    assert read_options(IngestSettings(pdf_reader="docling")).docling
