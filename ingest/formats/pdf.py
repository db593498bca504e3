"""PDF: text page by page through PDFium, paragraphs and headings by layout; scanned pages by OCR where there is one.

The work is cut into steps that each stand for themselves, so that a page which crashes its reader costs no other page:
`survey_pdf`, then `read_pages` slice by slice, `recognise_page` for what has no text, and `compose_pdf`. Between them
the pages lie in a folder, a file for each.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.formats.damage import translated_damage
from ingest.formats.layout import Paragraph, paragraphs
from ingest.formats.ocr import INSTALL, OcrFailed, Recogniser
from ingest.formats.pdfpage import PageText, read_page
from ingest.options import ReadOptions

MOST_PAGES = 20_000
OCR_SCALE = 300 / 72
MOST_SIDE = 4000
MOST_ATTACHMENTS = 100
SILENT, READ = ".silent", ".page"
DAMAGED = "they are damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """How many pages a PDF has, and sentences about the whole of it."""

    pages: int
    notes: Sequence[str] = ()


def load_pdf(path: Path, options: ReadOptions) -> LoadedDocument:
    """Read a PDF in one go; pages that cannot be read or hold no text are named in the warnings.

    Raises:
        UnreadableDocument: it is encrypted, broken, or holds no text on any page.
    """
    survey = survey_pdf(path)
    with TemporaryDirectory(prefix="ragstone-pages-") as name:
        folder = Path(name)
        read_pages(path, 1, survey.pages, folder)
        failures: dict[int, str] = {}
        recogniser = Recogniser(options)
        for number in silent_pages(folder) if recogniser.is_available else ():
            if (reason := recognise_page(path, number, folder, recogniser)) is not None:
                failures[number] = reason
        return compose_pdf(folder, survey, failures)


@translated_damage()
def survey_pdf(path: Path) -> Survey:
    """Look at the document as a whole.

    Raises:
        UnreadableDocument: it is encrypted or broken, or has too many pages.
    """
    with _open(path) as document:
        pages = len(document)
        if pages > MOST_PAGES:
            raise UnreadableDocument(f"The PDF has more than {MOST_PAGES} pages. Split it into smaller files.")
        return Survey(pages=pages, notes=[*_attachments(document), *_labels(document, pages)])


@translated_damage()
def read_pages(path: Path, first: int, last: int, folder: Path) -> None:
    """Read the pages ``first`` to ``last`` (1-based, both included) into the folder, each as soon as it is read."""
    with _open(path) as document:
        for number in range(first, last + 1):
            try:
                page = document[number - 1]
                text = read_page(page)
                page.close()
            except _pdfium().PdfiumError:
                continue  # it has no file then, and is named as damaged
            _store(folder, number, text)


@translated_damage()
def recognise_page(path: Path, number: int, folder: Path, recogniser: Recogniser) -> str | None:
    """Recognise the text of a page; returns why that failed."""
    with _open(path) as document:
        page = document[number - 1]
        scale = min(OCR_SCALE, MOST_SIDE / max(*page.get_size(), 1.0))
        picture = page.render(scale=scale, grayscale=True).to_pil()
        try:
            found = recogniser.paragraphs(picture)
        except OcrFailed as error:
            return str(error)
    _store(folder, number, PageText(recognised=found))
    return None


@translated_damage()
def compose_pdf(folder: Path, survey: Survey, failures: Mapping[int, str]) -> LoadedDocument:
    """The document that the pages in the folder make; ``failures`` say why pages are missing or were not recognised.

    Raises:
        UnreadableDocument: no page holds text.
    """
    pages = dict(_stored(folder))
    missing = [number for number in range(1, survey.pages + 1) if number not in pages]
    reasons = {**dict.fromkeys(missing, DAMAGED), **failures}
    silent = {number: reasons.pop(number, _no_ocr()) for number, page in pages.items() if page.is_silent}
    warnings = [*survey.notes, *_left_out(reasons, survey.pages), *_unread(silent, survey.pages), *_hiding(pages)]
    draft = Draft()
    laid_out = dict(zip(pages, paragraphs([page.lines for page in pages.values()]), strict=True))
    for number, page in pages.items():
        draft.page(number)
        _write(draft, page, laid_out[number])
    if draft.is_empty:
        raise UnreadableDocument(" ".join(["The PDF holds no text.", *(warnings or ["Upload one that does."])]))
    return draft.finish(warnings)


def silent_pages(folder: Path) -> list[int]:
    """The pages in the folder on which something is drawn, but no text."""
    return sorted(int(path.stem) for path in folder.glob(f"*{SILENT}"))


def finished_pages(folder: Path) -> set[int]:
    """The pages that lie in the folder."""
    return {int(path.stem) for path in folder.iterdir() if path.suffix in {SILENT, READ}}


def _pdfium() -> Any:
    """The library, which is not typed; loaded where a PDF is read and nowhere else."""
    import pypdfium2

    return pypdfium2


def _open(path: Path) -> Any:
    pdfium = _pdfium()
    if path.stat().st_size == 0:
        raise UnreadableDocument("The file is empty. Upload a PDF that holds text.")
    try:
        return pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> UnreadableDocument:
    raw = _pdfium().raw
    code = getattr(error, "err_code", None)
    if code == raw.FPDF_ERR_PASSWORD:
        return UnreadableDocument("The PDF is encrypted: remove the password and upload it again.")
    if code == raw.FPDF_ERR_SECURITY:
        return UnreadableDocument("The PDF is encrypted in a way that cannot be read: save it without protection.")
    return UnreadableDocument("The PDF is damaged. Open it in a viewer, print it to a new PDF and upload that.")


def _attachments(document: Any) -> Iterator[str]:
    try:
        count = min(max(0, document.count_attachments()), MOST_ATTACHMENTS)
        names = [repr(document.get_attachment(n).get_name()[:100]) for n in range(count)]
    except _pdfium().PdfiumError:
        return
    if names:
        yield f"Attachments that were not read: {', '.join(names[:20])}. Upload them on their own."


def _labels(document: Any, pages: int) -> Iterator[str]:
    """Says so when the document calls its pages otherwise than by counting them."""
    for number in range(1, pages + 1):
        label = document.get_page_label(number - 1)
        if label and label != str(number):
            yield f"Page numbers count the sheets of the file; it calls sheet {number} {label[:20]!r}."
            return


def _store(folder: Path, number: int, page: PageText) -> None:
    """Keep a page under a temporary name until it is whole: the process may die at any time."""
    part = folder / f"{number}.part"
    part.write_bytes(pickle.dumps(page))
    part.rename(folder / f"{number}{SILENT if page.is_silent else READ}")
    if not page.is_silent:
        (folder / f"{number}{SILENT}").unlink(missing_ok=True)


def _stored(folder: Path) -> Iterator[tuple[int, PageText]]:
    for number in sorted(finished_pages(folder)):
        path = folder / f"{number}{READ}"
        found = path if path.exists() else path.with_suffix(SILENT)
        yield number, pickle.loads(found.read_bytes())  # noqa: S301 -- written by `_store` a moment ago


def _write(draft: Draft, page: PageText, laid_out: Sequence[Paragraph]) -> None:
    for paragraph in laid_out:
        draft.add(paragraph.text, level=paragraph.level, lines=paragraph.lines)
    for text in page.recognised:
        draft.add(text)
    draft.add("\n".join(page.notes), lines=True)


def _no_ocr() -> str:
    return f"they are scanned, or their fonts do not say which letters they draw; to read them, {INSTALL}"


def _left_out(reasons: Mapping[int, str], total: int) -> Iterator[str]:
    for reason, numbers in _by_reason(reasons):
        yield f"{len(numbers)} of {total} pages were left out ({reason}): {listed(numbers)}."


def _unread(reasons: Mapping[int, str], total: int) -> Iterator[str]:
    for reason, numbers in _by_reason(reasons):
        yield f"{len(numbers)} of {total} pages need OCR ({reason}): {listed(numbers)}."


def _hiding(pages: Mapping[int, PageText]) -> Iterator[str]:
    numbers = [number for number, page in pages.items() if page.hides]
    if numbers:
        yield f"Text that a reader cannot see was left out (invisible, tiny or off the page): pages {listed(numbers)}."


def _by_reason(reasons: Mapping[int, str]) -> list[tuple[str, list[int]]]:
    grouped: dict[str, list[int]] = {}
    for number in sorted(reasons):
        grouped.setdefault(reasons[number], []).append(number)
    return list(grouped.items())


def listed(numbers: Sequence[int]) -> str:
    """Page numbers as 1, 4-7, 9; no more than twenty entries."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    entries = ["-".join(map(str, run)) for run in runs]
    return ", ".join(entries[:20]) + (" …" if len(entries) > 20 else "")
