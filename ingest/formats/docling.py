"""PDF through docling, where it is installed and asked for: its models find headings, tables and the reading order."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import Unavailable, UnreadableDocument
from ingest.draft import Draft
from ingest.formats.damage import AGAIN
from ingest.formats.pdf import listed, survey_pdf
from ingest.formats.table import write_table
from ingest.options import ReadOptions

FURNITURE = frozenset({"page_header", "page_footer"})


def load_docling(path: Path, options: ReadOptions) -> LoadedDocument:
    """Read a PDF in one go.

    Raises:
        UnreadableDocument: it is encrypted, broken, or holds no text.
        Unavailable: its models cannot be loaded.
    """
    survey = survey_pdf(path)
    result = _converter(options.ocr, options.ocr_languages).convert(path, raises_on_error=False)
    if result.status.value not in {"success", "partial_success"}:
        raise UnreadableDocument(f"The PDF could not be read by docling. {AGAIN}")
    return laid_out(result.document, pages=survey.pages, notes=survey.notes)


def laid_out(document: Any, *, pages: int, notes: Sequence[str] = ()) -> LoadedDocument:
    """A `DoclingDocument` of a file with so many pages as ours; ``notes`` go before its warnings.

    Its title and its section headers are headings, items of a list that follow each other are one block, and tables are
    rows below their header. What stands in the margins of pages is left out.

    Raises:
        UnreadableDocument: it holds no text.
    """
    items = [item for item, _ in document.iterate_items() if item.label.value not in FURNITURE]
    top = 1 + any(item.label.value == "title" for item in items)
    numbers = sorted(document.pages)
    draft = Draft()
    page = 0
    for is_list, group in itertools.groupby(items, key=lambda item: item.label.value == "list_item"):
        for run in _by_page(group) if is_list else ([item] for item in group):
            page = _turn(draft, numbers, page, _page(run[0]))
            if is_list:
                draft.add("\n".join(map(_list_line, run)), lines=True)
            else:
                _write(draft, run[0], top)
    _turn(draft, numbers, page, pages)
    missing = sorted(set(range(1, pages + 1)) - set(numbers))
    left_out = [f"{len(missing)} of {pages} pages were left out (docling gave none): {listed(missing)}."]
    return draft.finish([*notes, *(left_out if missing else ())])


def _write(draft: Draft, item: Any, top: int) -> None:
    label = item.label.value
    if label in {"table", "document_index"}:
        write_table(draft, _rows(item.data.grid))
        return
    text = getattr(item, "text", "") or getattr(item, "orig", "")
    if label == "title":
        draft.add(" ".join(text.split()), level=1)
    elif label == "section_header":
        draft.add(" ".join(text.split()), level=min(item.level - 1 + top, 6))
    else:
        draft.add(text, lines=label == "code")


def _turn(draft: Draft, numbers: Iterable[int], last: int, page: int | None) -> int:
    """Begin the pages up to ``page``; what docling gives late of an earlier page stays on this one."""
    if page is None or page <= last:
        return last
    for number in numbers:
        if last < number <= page:
            draft.page(number)
    return page


def _by_page(items: Iterable[Any]) -> Iterator[list[Any]]:
    for _, group in itertools.groupby(items, key=_page):
        yield list(group)


def _page(item: Any) -> int | None:
    """The page on which an item begins, if it says."""
    number: int | None = item.prov[0].page_no if item.prov else None
    return number


def _list_line(item: Any) -> str:
    return f"{item.marker if item.enumerated and item.marker else '-'} {' '.join(item.text.split())}"


def _rows(grid: Sequence[Sequence[Any]]) -> Iterator[list[str]]:
    """The rows of a table; a cell that spans several is written once, where it begins."""
    for y, cells in enumerate(grid):
        yield [
            " ".join(cell.text.split()) if (cell.start_row_offset_idx, cell.start_col_offset_idx) == (y, x) else ""
            for x, cell in enumerate(cells)
        ]


@functools.cache
def _converter(ocr: bool, languages: str) -> Any:
    """The converter with its models, which a process loads once."""
    from docling.datamodel.accelerator_options import AcceleratorDevice, AcceleratorOptions
    from docling.datamodel.base_models import InputFormat
    from docling.datamodel.pipeline_options import PdfPipelineOptions, TesseractCliOcrOptions
    from docling.document_converter import DocumentConverter, PdfFormatOption

    chosen = PdfPipelineOptions(
        do_ocr=ocr and shutil.which("tesseract") is not None,
        ocr_options=TesseractCliOcrOptions(lang=languages.split("+")),
        # The process may not map as much memory as a graphics card wants mapped.
        accelerator_options=AcceleratorOptions(device=AcceleratorDevice.CPU),
        enable_remote_services=False,
    )
    converter = DocumentConverter(
        allowed_formats=[InputFormat.PDF], format_options={InputFormat.PDF: PdfFormatOption(pipeline_options=chosen)}
    )
    try:
        converter.initialize_pipeline(InputFormat.PDF)
    except MemoryError:
        raise
    except Exception as error:  # whatever it raises, the document is not to blame
        raise Unavailable(
            f"The models of docling cannot be loaded ({type(error).__name__}). Fetch them with `docling-tools models "
            "download`, say where they are in DOCLING_ARTIFACTS_PATH, and raise INGEST__LOAD_MEMORY_MB."
        ) from error
    return converter
