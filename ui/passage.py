"""A quote in its document: the text around it, and a PDF's page as a picture with the quote highlighted."""

from __future__ import annotations

import ctypes
import io
import threading
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from app.schemas import TextOut

BEFORE, AFTER = 500, 1500  # characters: the quote is near the top, and seen without scrolling
_WIDEST_PX = 1400
_SHARPEST = 2.5
_HIGHLIGHT = (255, 213, 79)
# A shorter match than this may be anywhere, and would highlight the wrong words.
_LEAST_MATCH = 12

# Guards PDFium, which is not safe to call from two threads; pages of several people are drawn by one process.
_pdfium = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class PageImage:
    """A page as PNG; ``quote_top`` is how far down the quote begins, 0 to 1, or none when it was not found on it."""

    png: bytes
    quote_top: float | None


def window(start: int, end: int) -> tuple[int, int]:
    """The stretch of a document's text to show around ``start:end``."""
    return max(start - BEFORE, 0), end + AFTER


def split_window(stretch: TextOut, start: int, end: int) -> tuple[str, str, str]:
    """What stands before, in and after ``start:end``; where the stretch is cut off, at a space."""
    first, last = start - stretch.start, end - stretch.start
    before, quote, after = stretch.text[:first], stretch.text[first:last], stretch.text[last:]
    if stretch.start > 0:
        before = "… " + before.partition(" ")[2].lstrip()
    if stretch.end < stretch.length:
        after = after.rpartition(" ")[0].rstrip() + " …"
    return before, quote, after


def locate(text: str, quote: str) -> tuple[int, int] | None:
    """Where ``quote`` stands in ``text``, as ``(start, end)``; only its letters and digits matter.

    Of a quote that goes on on another page, the longer part is found.
    """
    letters, positions = _letters(text)
    wanted, _ = _letters(quote)
    if not wanted or not letters:
        return None
    at = letters.find(wanted)
    length = len(wanted)
    if at < 0:
        match = SequenceMatcher(None, letters, wanted, autojunk=False).find_longest_match()
        at, length = match.a, match.size
        if length < max(_LEAST_MATCH, len(wanted) // 4):
            return None
    start, end = positions[at], positions[at + length - 1] + 1
    tail = quote.rstrip()[_after_last_letter(quote) :]
    return start, end + len(tail) if length == len(wanted) and text.startswith(tail, end) else end


def draw_page(pdf: bytes, number: int, quote: str) -> PageImage | None:
    """Page ``number`` (from 1) of a PDF with ``quote`` highlighted; none when it cannot be drawn."""
    import pypdfium2

    open_document: Any = pypdfium2.PdfDocument
    with _pdfium:
        try:
            document = open_document(pdf)
        except pypdfium2.PdfiumError:
            return None
        try:
            if not 1 <= number <= len(document):
                return None
            return _draw(document[number - 1], quote)
        finally:
            document.close()


def _draw(page: Any, quote: str) -> PageImage:
    from PIL import Image, ImageChops, ImageDraw

    width, height = page.get_size()
    scale = min(_SHARPEST, _WIDEST_PX / max(width, height * 0.7, 1.0))
    picture = page.render(scale=scale).to_pil().convert("RGB")
    boxes = _boxes(page, quote, picture.width, picture.height)
    if boxes:
        veil = Image.new("RGB", picture.size, "white")
        brush = ImageDraw.Draw(veil)
        for left, top, right, bottom in boxes:
            brush.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=_HIGHLIGHT)
        picture = ImageChops.multiply(picture, veil)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    tops = [top / picture.height for _, top, _, _ in boxes]
    return PageImage(png=buffer.getvalue(), quote_top=min(tops, default=None))


def _boxes(page: Any, quote: str, width: int, height: int) -> list[tuple[int, int, int, int]]:
    """The rectangles of the quote's lines, in pixels of a picture of ``width`` by ``height``."""
    raw = _raw()
    textpage = page.get_textpage()
    try:
        letters = "".join(chr(raw.FPDFText_GetUnicode(textpage, at)) for at in range(textpage.count_chars()))
        found = locate(letters, quote)
        if found is None:
            return []
        start, end = found
        rectangles = [textpage.get_rect(at) for at in range(textpage.count_rects(start, end - start))]
    finally:
        textpage.close()
    return [_box(page, rectangle, width, height) for rectangle in rectangles]


def _box(page: Any, rectangle: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int]:
    raw = _raw()
    left, bottom, right, top = rectangle
    corners = []
    for x, y in ((left, top), (right, bottom)):
        column, row = ctypes.c_int(), ctypes.c_int()
        # PDFium's own mapping knows the page's rotation and crop box.
        raw.FPDF_PageToDevice(page, 0, 0, width, height, 0, x, y, ctypes.byref(column), ctypes.byref(row))
        corners.append((column.value, row.value))
    (x1, y1), (x2, y2) = corners
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _raw() -> Any:
    """PDFium's own functions, which carry no types."""
    import pypdfium2.raw

    return pypdfium2.raw


def _after_last_letter(text: str) -> int:
    return max((at for at, character in enumerate(text) if character.isalnum()), default=-1) + 1


def _letters(text: str) -> tuple[str, list[int]]:
    """The letters and digits of a text, folded, and where each stands in it."""
    folded: list[str] = []
    positions: list[int] = []
    for position, character in enumerate(text):
        for letter in character.casefold():
            if letter.isalnum():
                folded.append(letter)
                positions.append(position)
    return "".join(folded), positions
