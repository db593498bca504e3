"""A page of a PDF: its lines through PDFium, without those that a reader cannot see; its notes and form fields."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from ctypes import POINTER, byref, c_double, c_int, c_ushort, cast, create_string_buffer
from dataclasses import dataclass, replace
from typing import Any

from ingest.encoding import clean
from ingest.formats.arabic import with_ligatures_in_order
from ingest.formats.hidden import hidden_characters
from ingest.formats.layout import HYPHEN, MARGIN_SHARE, Line, turned

LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\xad": "", "\xa0": " "}
)
NAME_BYTES = 128
BOLD_NAME = re.compile(rb"bold|black|heavy", re.IGNORECASE)
REGULAR_WEIGHT, BOLD_WEIGHT = 400, 700
SAMPLE = 5  # one character in so many tells whether a page's fonts map to letters
MOST_NOTES = 1000
NOTE_BYTES = 20_000
WIDGET = 20
QUIET = frozenset({2, 16})  # links and the windows of notes say nothing of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class PageText:
    """What a page says: ``notes`` are its comments and form fields, ``recognised`` the paragraphs that OCR gave.

    ``is_silent`` says that something is drawn on the page but no text can be taken from it; ``hides`` that text was
    left out which a reader does not see.
    """

    lines: Sequence[Line] = ()
    notes: Sequence[str] = ()
    recognised: Sequence[str] = ()
    is_silent: bool = False
    hides: bool = False


def read_page(page: Any) -> PageText:
    """The text of a pypdfium2 page; PDFium's own error goes through."""
    notes = list(_notes(page))
    text_page = _text_page(page)
    garbled = _is_garbled(text_page)
    hidden = frozenset() if garbled else hidden_characters(page, text_page)
    lines = [] if garbled else _lines(text_page, page.get_size(), hidden)
    text_page.close()
    is_blank = _pdfium().raw.FPDFPage_CountObjects(page) == 0
    return PageText(lines=lines, notes=notes, is_silent=not lines and not is_blank and not hidden, hides=bool(hidden))


def _pdfium() -> Any:
    """The library, which is not typed; loaded where a PDF is read and nowhere else."""
    import pypdfium2

    return pypdfium2


def _notes(page: Any) -> Iterator[str]:
    raw = _pdfium().raw
    for n in range(min(raw.FPDFPage_GetAnnotCount(page), MOST_NOTES)):
        note = raw.FPDFPage_GetAnnot(page, n)
        if not note:
            continue
        kind = raw.FPDFAnnot_GetSubtype(note)
        if kind == WIDGET:
            name, value = _string(raw, note, b"T"), _string(raw, note, b"V")
            if value:
                yield f"{name}: {value}" if name else value
        elif kind not in QUIET and (text := _string(raw, note, b"Contents")):
            yield f"Comment: {text}"
        raw.FPDFPage_CloseAnnot(note)


def _string(raw: Any, note: Any, key: bytes) -> str:
    buffer = create_string_buffer(NOTE_BYTES)
    size = raw.FPDFAnnot_GetStringValue(note, key, cast(buffer, POINTER(c_ushort)), NOTE_BYTES)
    if size <= 2 or size > NOTE_BYTES:
        return ""
    return " ".join(clean(buffer.raw[: size - 2].decode("utf-16-le", "replace")).split())


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


def _lines(page: Any, size: tuple[float, float], hidden: frozenset[int]) -> list[Line]:
    """The lines of a text page in PDFium's order, which is that of the file; those that run askew come last."""
    raw = _pdfium().raw
    units = with_ligatures_in_order(_units(raw, page), lambda n: _place(raw, page, n) == _place(raw, page, n + 1))
    if hidden:
        units = "".join(" " if n in hidden else unit for n, unit in enumerate(units))
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


def _place(raw: Any, page: Any, index: int) -> tuple[float, ...]:
    """Where a character is drawn: its origin and its box; equal for the letters of one glyph."""
    origin = [c_double() for _ in range(2)]
    box = [c_double() for _ in range(4)]
    raw.FPDFText_GetCharOrigin(page, index, *map(byref, origin))
    raw.FPDFText_GetCharBox(page, index, *map(byref, box))
    return tuple(part.value for part in (*origin, *box))


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
