"""PDF: text page by page through PDFium, paragraphs and headings by layout; no attachments, no annotations."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from ctypes import c_int, create_string_buffer
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.encoding import clean
from ingest.formats.layout import HYPHEN, MARGIN_SHARE, Line, paragraphs, turned

LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\xad": "", "\xa0": " "}
)
NO_TEXT = (
    "The PDF holds no text: its pages are images (scanned?), or its fonts do not say which letters they draw. Run OCR "
    "on it first and upload the result."
)
NAME_BYTES = 128
BOLD_NAME = re.compile(rb"bold|black|heavy", re.IGNORECASE)
REGULAR_WEIGHT, BOLD_WEIGHT = 400, 700
SAMPLE = 5  # one character in so many tells whether a page's fonts map to letters


def load_pdf(path: Path) -> LoadedDocument:
    """Read a PDF; pages that cannot be read or hold no text are named in the warnings.

    Raises:
        UnreadableDocument: it is encrypted, broken, or holds no text on any page.
    """
    pdfium = _pdfium()
    if path.stat().st_size == 0:
        raise UnreadableDocument("The file is empty. Upload a PDF that holds text.")
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        raise _refusal(error) from error
    with document:
        pages, broken = _read_pages(document)
    silent = [number for number, lines in pages.items() if not lines]
    if len(silent) == len(pages):
        raise UnreadableDocument(_nothing(broken) if broken else NO_TEXT)
    draft = Draft()
    for number, page in zip(pages, paragraphs(list(pages.values())), strict=True):
        draft.page(number)
        for paragraph in page:
            draft.add(paragraph.text, level=paragraph.level, lines=paragraph.lines)
    return draft.finish(_warnings(broken, silent, len(pages) + len(broken)))


def _pdfium() -> Any:
    """The library, which is not typed; loaded where a PDF is read and nowhere else."""
    import pypdfium2

    return pypdfium2


def _refusal(error: Exception) -> UnreadableDocument:
    raw = _pdfium().raw
    code = getattr(error, "err_code", None)
    if code == raw.FPDF_ERR_PASSWORD:
        return UnreadableDocument("The PDF is encrypted: remove the password and upload it again.")
    if code == raw.FPDF_ERR_SECURITY:
        return UnreadableDocument("The PDF is encrypted in a way that cannot be read: save it without protection.")
    return UnreadableDocument("The PDF is damaged. Open it in a viewer, print it to a new PDF and upload that.")


def _nothing(broken: Sequence[int]) -> str:
    return (
        f"No page of the PDF can be read; damaged: {_listed(broken)}. Open it in a viewer, print it to a new PDF and "
        "upload that."
    )


def _warnings(broken: Sequence[int], silent: Sequence[int], total: int) -> list[str]:
    warnings = []
    if broken:
        warnings.append(f"{len(broken)} of {total} pages are damaged and were left out: {_listed(broken)}.")
    if silent:
        warnings.append(f"{len(silent)} of {total} pages hold no text that can be read (scanned?): {_listed(silent)}.")
    return warnings


def _listed(numbers: Sequence[int]) -> str:
    """Page numbers as 1, 4-7, 9; no more than twenty entries."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    entries = ["-".join(map(str, run)) for run in runs]
    return ", ".join(entries[:20]) + (" …" if len(entries) > 20 else "")


def _read_pages(document: Any) -> tuple[dict[int, list[Line]], list[int]]:
    """The lines of each readable page by its number, and the numbers of the others."""
    pages: dict[int, list[Line]] = {}
    broken: list[int] = []
    for index in range(len(document)):
        try:
            page = document[index]
            text_page = _text_page(page)
        except _pdfium().PdfiumError:
            broken.append(index + 1)
            continue
        pages[index + 1] = [] if _is_garbled(text_page) else _lines(text_page, page.get_size())
        text_page.close()
        page.close()
    return pages, broken


def _text_page(page: Any) -> Any:
    """The text of a page, in the order of its lines; many a turned page holds text that was not turned with it."""
    text_page = page.get_textpage()
    if page.get_rotation() == 0 or not _is_upright(text_page):
        return text_page
    text_page.close()
    page.set_rotation(0)
    return page.get_textpage()


def _is_upright(page: Any) -> bool:
    """Whether most characters stand upright on the page as it was before it was turned."""
    raw = _pdfium().raw
    matrix = raw.FS_MATRIX()
    sample = range(0, page.count_chars(), SAMPLE)
    upright = 0
    for n in sample:
        raw.FPDFText_GetMatrix(page, n, matrix)
        upright += matrix.a > abs(matrix.b)
    return 2 * upright > len(sample)


def _lines(page: Any, size: tuple[float, float]) -> list[Line]:
    """The lines of a text page in PDFium's order, which is that of the file; those that run askew come last."""
    raw = _pdfium().raw
    units = _units(raw, page)
    found: list[tuple[float, Line]] = []
    start = 0
    for part in units.split("\n"):
        text = part.rstrip("\r ")
        first, last = start + len(text) - len(text.lstrip()), start + len(text) - 1
        start += len(part) + 1
        if first <= last and (readable := _readable(text.lstrip())):
            found.append(_line(raw, page, readable, first, last, size[1]))
    return _straight_first(found)


def _units(raw: Any, page: Any) -> str:
    """One code unit per character of the page, so that offsets are the indices that PDFium's other functions take."""
    count: int = page.count_chars()
    units: str = page.get_text_range() if count else ""
    if len(units) == count:
        return units
    # Some characters are none of the text, or two units of it; one by one takes twice as long but is never wrong.
    return "".join(chr(raw.FPDFText_GetUnicode(page, n)) for n in range(count))


def _is_garbled(page: Any) -> bool:
    """Whether most characters of a page are drawn without saying which letters they are."""
    sample = range(0, page.count_chars(), SAMPLE)
    raw = _pdfium().raw
    errors = [n for n in sample if raw.FPDFText_HasUnicodeMapError(page, n) == 1]
    return 2 * len(errors) > len(sample)


def _straight_first(found: Sequence[tuple[float, Line]]) -> list[Line]:
    letters: Counter[float] = Counter()
    for angle, line in found:
        letters[angle] += len(line.text)
    usual = max(letters, key=letters.__getitem__, default=0.0)
    askew = [replace(line, aside=True) for angle, line in found if angle != usual]
    return [line for angle, line in found if angle == usual] + askew


def _line(raw: Any, page: Any, text: str, first: int, last: int, height: float) -> tuple[float, Line]:
    """A line and the angle at which it runs, in radians."""
    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(page, first, matrix)
    angle = round(math.atan2(matrix.b, matrix.a), 1)
    # The first character is often a bullet or a footnote's mark, in a font of its own.
    fonts = sorted(filter(None, (_font(raw, page, n) for n in (first, (first + last) // 2, last))))
    size, weight = fonts[len(fonts) // 2] if fonts else (0.0, REGULAR_WEIGHT)
    left, right, bottom, top = _box(raw, page, first, angle)
    end = _box(raw, page, last, angle) if last > first else (left, right, bottom, top)
    line = Line(
        text=text,
        left=left,
        right=end[1],
        top=top,
        bottom=end[2],
        size=size or top - bottom,
        weight=weight,
        margin=angle == 0 and not MARGIN_SHARE * height < (top + bottom) / 2 < (1 - MARGIN_SHARE) * height,
    )
    return angle, line


def _font(raw: Any, page: Any, index: int) -> tuple[float, int] | None:
    """Size in points and weight of a character's font; nothing for a space that PDFium put in."""
    weight = raw.FPDFText_GetFontWeight(page, index)
    name = create_string_buffer(NAME_BYTES)
    raw.FPDFText_GetFontInfo(page, index, name, NAME_BYTES, c_int())
    if not name.value:
        return None
    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(page, index, matrix)
    size = raw.FPDFText_GetFontSize(page, index) * math.hypot(matrix.c, matrix.d)
    return size, max(weight, BOLD_WEIGHT if BOLD_NAME.search(name.value) else REGULAR_WEIGHT)


def _box(raw: Any, page: Any, index: int, angle: float) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a character, turned to run to the right."""
    box = raw.FS_RECTF()
    raw.FPDFText_GetLooseCharBox(page, index, box)
    corners = [turned(x, y, angle) for x in (box.left, box.right) for y in (box.bottom, box.top)]
    across, up = [x for x, _ in corners], [y for _, y in corners]
    return min(across), max(across), min(up), max(up)


def _readable(units: str) -> str:
    """Surrogate pairs joined, PDFium's marks for a hyphen made one, ligatures spelt out, control characters gone."""
    text = units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").translate(LIGATURES)
    parts = text.replace("\ufffe", HYPHEN).split(HYPHEN)
    return HYPHEN.join(clean(part).replace("\n", " ") for part in parts)
