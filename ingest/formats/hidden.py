"""Text of a PDF page that a reader does not see: drawn invisibly, in the colour of its ground, tiny, or off the page.

The text layer that OCR lays invisibly over a scan is none of that: it is what a reader sees in the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from ctypes import byref, c_double, c_float, c_int, c_uint
from typing import Any, NamedTuple

TINY_POINTS = 1.5
NEAR_WHITE = 240
NEAR_TRANSPARENT = 13
CONTRAST = 12  # of 255 levels of grey between letters and their ground
MOST_OBJECTS = 50_000
MOST_NESTED = 5
MOST_PIXELS = 1500
TEXT, IMAGE, FORM = 1, 3, 5
INVISIBLE = frozenset({3, 7})


class Box(NamedTuple):
    """Left, bottom, right and top in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Whether the boxes have a point in common."""
        return not (
            self.right < other.left or other.right < self.left or self.top < other.bottom or other.top < self.bottom
        )


def hidden_characters(page: Any, text_page: Any) -> frozenset[int]:
    """The indices of the characters that cannot be seen. Most pages have none and cost a look at their objects."""
    import pypdfium2

    raw: Any = pypdfium2.raw
    sheet = Box(*page.get_bbox())
    images: list[Box] = []
    if not _is_suspect(raw, page, sheet, images):
        return frozenset()
    hidden, pale = set(), []
    for n in range(text_page.count_chars()):
        if not raw.FPDFText_GetTextObject(text_page, n):
            continue  # a space that PDFium put in
        box = _char_box(raw, text_page, n)
        if _is_invisible(raw, text_page, n, box, images) or not box.meets(sheet) or _is_tiny(raw, text_page, n):
            hidden.add(n)
        elif _is_pale(raw, text_page, n):
            pale.append((n, box))
    if pale:
        hidden |= _without_contrast(raw, page, pale)
    return frozenset(hidden)


def _is_suspect(raw: Any, page: Any, sheet: Box, images: list[Box]) -> bool:
    """Whether any text object may be hidden; collects where images lie on the way."""
    suspect = False
    for thing, outer in _objects(raw, page):
        kind = raw.FPDFPageObj_GetType(thing)
        box = outer or _bounds(raw, thing)
        if kind == IMAGE:
            images.append(box)
        elif kind == TEXT and not suspect:
            colour = _fill(raw.FPDFPageObj_GetFillColor, thing)
            suspect = (
                raw.FPDFTextObj_GetTextRenderMode(thing) in INVISIBLE
                or _is_faint(colour)
                or _size(raw, thing) < TINY_POINTS
                or not box.meets(sheet)
            )
    return suspect


def _objects(raw: Any, page: Any) -> Iterator[tuple[Any, Box | None]]:
    """The objects of a page, with the box of the form that they lie in: their own is in the form's measure."""
    stack: list[tuple[Any, Box | None, int]] = [
        (raw.FPDFPage_GetObject(page, n), None, 0) for n in range(min(raw.FPDFPage_CountObjects(page), MOST_OBJECTS))
    ]
    seen = 0
    while stack and seen < MOST_OBJECTS:
        thing, outer, depth = stack.pop()
        seen += 1
        if raw.FPDFPageObj_GetType(thing) != FORM:
            yield thing, outer
        elif depth < MOST_NESTED:
            box = outer or _bounds(raw, thing)
            inner = range(min(raw.FPDFFormObj_CountObjects(thing), MOST_OBJECTS))
            stack += [(raw.FPDFFormObj_GetObject(thing, n), box, depth + 1) for n in inner]


def _bounds(raw: Any, thing: Any) -> Box:
    left, bottom, right, top = c_float(), c_float(), c_float(), c_float()
    raw.FPDFPageObj_GetBounds(thing, byref(left), byref(bottom), byref(right), byref(top))
    return Box(left.value, bottom.value, right.value, top.value)


def _size(raw: Any, thing: Any) -> float:
    size, matrix = c_float(), raw.FS_MATRIX()
    raw.FPDFTextObj_GetFontSize(thing, byref(size))
    raw.FPDFPageObj_GetMatrix(thing, matrix)
    return size.value * math.hypot(matrix.c, matrix.d)


def _fill(function: Any, *where: Any) -> Sequence[int]:
    """Red, green, blue and opacity, 0 to 255; black when there is no colour."""
    parts = [c_uint(0), c_uint(0), c_uint(0), c_uint(255)]
    return [part.value for part in parts] if function(*where, *map(byref, parts)) else (0, 0, 0, 255)


def _is_faint(colour: Sequence[int]) -> bool:
    return min(colour[:3]) >= NEAR_WHITE or colour[3] <= NEAR_TRANSPARENT


def _is_pale(raw: Any, text_page: Any, n: int) -> bool:
    return _is_faint(_fill(raw.FPDFText_GetFillColor, text_page, n))


def _is_tiny(raw: Any, text_page: Any, n: int) -> bool:
    matrix = raw.FS_MATRIX()
    if not raw.FPDFText_GetMatrix(text_page, n, matrix):
        return False
    return bool(raw.FPDFText_GetFontSize(text_page, n) * math.hypot(matrix.c, matrix.d) < TINY_POINTS)


def _is_invisible(raw: Any, text_page: Any, n: int, box: Box, images: Sequence[Box]) -> bool:
    thing = raw.FPDFText_GetTextObject(text_page, n)
    if raw.FPDFTextObj_GetTextRenderMode(thing) not in INVISIBLE:
        return False
    return not any(box.meets(image) for image in images)


def _char_box(raw: Any, text_page: Any, n: int) -> Box:
    left, right, bottom, top = c_double(), c_double(), c_double(), c_double()
    raw.FPDFText_GetCharBox(text_page, n, byref(left), byref(right), byref(bottom), byref(top))
    return Box(left.value, bottom.value, right.value, top.value)


def _without_contrast(raw: Any, page: Any, pale: Sequence[tuple[int, Box]]) -> set[int]:
    """Those of the characters that leave no trace in a picture of the page: white letters on a dark ground do."""
    width, height = page.get_size()
    scale = min(2.0, MOST_PIXELS / max(width, height, 1.0))
    picture = page.render(scale=scale, grayscale=True, may_draw_forms=False).to_pil().convert("L")
    hidden: set[int] = set()
    for run in _runs(pale):
        corners = [_pixel(raw, page, picture.size, x, y) for _, box in run for x, y in (box[:2], box[2:])]
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        area = (
            max(0, min(xs) - 1),
            max(0, min(ys) - 1),
            min(picture.width, max(xs) + 1),
            min(picture.height, max(ys) + 1),
        )
        if area[0] >= area[2] or area[1] >= area[3]:
            hidden.update(n for n, _ in run)
            continue
        darkest, lightest = picture.crop(area).getextrema()
        if lightest - darkest < CONTRAST:
            hidden.update(n for n, _ in run)
    return hidden


def _runs(pale: Sequence[tuple[int, Box]]) -> Iterator[list[tuple[int, Box]]]:
    """Characters that follow each other, word by word or nearly: what lies further apart has another ground."""
    run: list[tuple[int, Box]] = []
    for n, box in pale:
        if run and n != run[-1][0] + 1:
            yield run
            run = []
        run.append((n, box))
    if run:
        yield run


def _pixel(raw: Any, page: Any, size: tuple[int, int], x: float, y: float) -> tuple[int, int]:
    across, down = c_int(), c_int()
    raw.FPDF_PageToDevice(page, 0, 0, size[0], size[1], 0, x, y, byref(across), byref(down))
    return across.value, down.value
