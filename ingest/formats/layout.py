"""Lines on pages to paragraphs and headings, by where they stand and how large they are. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

HYPHEN = "\x02"
"""Stands where a line ended with a hyphen; the next line follows it at once."""

HEADING_RATIO = 1.12
BOLD_RATIO = 1.3
HEADING_CHARS = 200
BOLD_CHARS = 100
MOST_LEVELS = 5
MOST_HEADINGS = 0.4  # of the letters: a page full of headings has none
MARGIN_SHARE = 0.12
LEADER = "....."
END_MARKS = tuple(".!?:;…。！？")
BULLET = re.compile(r"(?:[•‣◦▪■●○∙·–\uf0b7\uf0a7]|[-*](?=\s)|\(?\d{1,2}[.)](?=\s)|\([a-z]\)(?=\s))")
NUMBER = re.compile(r"[-+(]?[$€£¥]?[-+(]?\d[\d.,:/%)-]*%?\)?")
WORD_OF_LETTERS = re.compile(r"[^\W\d_]{2}")
WORD = re.compile(r"\w+(?:-\w+)*")
BROKEN_WORD = re.compile(rf"(\w*){HYPHEN}(\w*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of text. Its box is in points, turned so that the text runs to the right and ``top`` > ``bottom``.

    A line that was hyphenated goes on into the next one: ``bottom`` and ``right`` are those of its end. ``weight`` is
    that of the font (400 regular, 700 bold, if it tells the truth). ``margin`` says that the line stands near the
    upper or lower edge of its page, ``aside`` that it runs in another direction than the rest.
    """

    text: str
    left: float
    right: float
    top: float
    bottom: float
    size: float
    weight: int = 400
    margin: bool = False
    aside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """What a reader takes for one block; ``level`` is 1 to 6 for a heading and 0 for everything else."""

    text: str
    level: int
    lines: bool


@dataclass(slots=True)
class _Group:
    lines: list[Line] = field(default_factory=list)

    @property
    def letters(self) -> int:
        return sum(len(line.text) for line in self.lines)


@dataclass(frozen=True, slots=True)
class _Body:
    """What most of the text is set in."""

    size: float
    weight: float

    def is_bold(self, line: Line) -> bool:
        return line.weight >= BOLD_RATIO * self.weight

    def is_large(self, line: Line) -> bool:
        return line.size > HEADING_RATIO * self.size


def paragraphs(pages: Sequence[Sequence[Line]]) -> list[list[Paragraph]]:
    """The paragraphs of each page. Lines that repeat in the margins of most pages are left out."""
    running = _running(pages)
    kept = [[line for line in page if not (line.margin and _mask(line.text) in running)] for page in pages]
    body = _body([line for page in kept for line in page])
    grouped = [_groups(_joined(page), body) for page in kept]
    groups = [group for page in grouped for group in page]
    level = _levels(groups, body)
    dehyphenate = _dehyphenator(groups)
    return [[_paragraph(group, level(group), dehyphenate) for group in page] for page in grouped]


def _body(lines: Sequence[Line]) -> _Body:
    sizes: Counter[float] = Counter()
    weights: Counter[int] = Counter()
    for line in lines:
        sizes[_rounded(line.size)] += len(line.text)
        weights[line.weight] += len(line.text)
    return _Body(max(sizes, key=sizes.__getitem__, default=1.0), max(weights, key=weights.__getitem__, default=400))


def _running(pages: Sequence[Sequence[Line]]) -> set[str]:
    """Headers and footers, with their numbers masked."""
    counts = Counter(mask for page in pages for mask in {_mask(line.text) for line in page if line.margin})
    return {mask for mask, count in counts.items() if count >= max(3, 0.5 * len(pages))}


def _mask(text: str) -> str:
    return re.sub(r"\d+", "#", " ".join(text.split()))


def _joined(lines: Sequence[Line]) -> list[Line]:
    """Lines that a superscript had torn into pieces, whole again."""
    joined: list[Line] = []
    for line in lines:
        last = joined[-1] if joined else None
        if last is None or not _continues(last, line):
            joined.append(line)
            continue
        large = max(last, line, key=lambda part: part.size)
        space = " " if line.left - last.right > 0.15 * large.size and not line.text.startswith((",", ".")) else ""
        joined[-1] = Line(
            text=last.text.rstrip() + space + line.text.lstrip() if space else last.text + line.text,
            left=last.left,
            right=line.right,
            top=max(last.top, line.top),
            bottom=min(last.bottom, line.bottom),
            size=large.size,
            weight=min(last.weight, line.weight),
            margin=last.margin,
            aside=last.aside,
        )
    return joined


def _continues(last: Line, line: Line) -> bool:
    overlap = min(last.top, line.top) - max(last.bottom, line.bottom)
    height = min(last.top - last.bottom, line.top - line.bottom)
    gap = line.left - last.right
    enough = 0.5 if abs(last.size - line.size) < 0.1 * last.size else 0.2  # sub- and superscripts overlap less
    return overlap > enough * height and -0.5 * last.size < gap < 1.5 * last.size


def _groups(lines: Sequence[Line], body: _Body) -> list[_Group]:
    gaps = sorted(a.bottom - b.top for a, b in pairwise(lines) if abs(a.size - b.size) < 0.1 * a.size)
    usual = gaps[len(gaps) // 2] if gaps else 0.0
    groups: list[_Group] = []
    for line in lines:
        if groups and not _breaks(groups[-1].lines[-1], line, body, usual):
            groups[-1].lines.append(line)
        else:
            groups.append(_Group([line]))
    return groups


def _breaks(last: Line, line: Line, body: _Body, usual: float) -> bool:
    """Whether a paragraph ends between two lines."""
    lower = line.text[:1].islower()
    gap = last.bottom - line.top
    if abs(last.size - line.size) > 0.1 * max(last.size, line.size) or last.aside != line.aside:
        return True
    if body.is_bold(last) != body.is_bold(line) and not lower:
        return True
    ended = last.text.rstrip().endswith(END_MARKS)
    if gap < -0.5 * line.size or gap > 8 * line.size:
        # The next column: a sentence that is under way goes on there.
        return ended or not lower
    if gap > max(usual, 0.0) + 0.45 * line.size:
        return True
    indented = line.left - last.left > 0.8 * line.size and last.right > last.left
    short = last.right < line.right - 0.2 * abs(line.right - line.left)
    return ended and (indented or short) and not BULLET.match(last.text)


def _levels(groups: Sequence[_Group], body: _Body) -> Callable[[_Group], int]:
    """The level of a paragraph: headings are larger than the body, in order of their sizes, or bold where it is not."""
    headings = [group for group in groups if _is_heading(group, body)]
    if sum(group.letters for group in headings) > MOST_HEADINGS * sum(group.letters for group in groups):
        return lambda _: 0
    sizes = {_rounded(group.lines[0].size) for group in headings if body.is_large(group.lines[0])}
    levels = {size: min(rank, MOST_LEVELS) for rank, size in enumerate(sorted(sizes, reverse=True), 1)}
    bold = min(len(levels), MOST_LEVELS) + 1
    found = {id(group): levels.get(_rounded(group.lines[0].size), bold) for group in headings}
    return lambda group: found.get(id(group), 0)


def _is_heading(group: _Group, body: _Body) -> bool:
    first = group.lines[0]
    if first.aside or not WORD_OF_LETTERS.search(first.text) or any(map(_is_row, group.lines)):
        return False
    if body.is_large(first):
        return group.letters <= HEADING_CHARS and len(group.lines) <= 4
    text = first.text.strip()
    return (
        body.is_bold(first)
        and first.size > 0.95 * body.size
        and len(group.lines) == 1
        and len(text) <= BOLD_CHARS
        and not text.endswith((*END_MARKS, ","))
        and not text[0].islower()
    )


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def _is_row(line: Line) -> bool:
    """Whether a line is a row of figures, or of a table of contents."""
    words = line.text.split()
    numbers = sum(NUMBER.fullmatch(word) is not None or word in "$€£¥" for word in words)
    return numbers >= 3 or (len(words) > 1 and numbers > 0.5 * len(words)) or LEADER in line.text


def _paragraph(group: _Group, level: int, dehyphenate: Callable[[str], str]) -> Paragraph:
    widest = max(line.right - line.left for line in group.lines)
    text = group.lines[0].text.strip()
    breaks = 0
    for last, line in pairwise(group.lines):
        own_line = level == 0 and _stands_alone(last, line, widest)
        breaks += own_line
        text += ("\n" if own_line else "" if text.endswith(HYPHEN) else " ") + line.text.strip()
    return Paragraph(text=dehyphenate(text), level=level, lines=breaks > 0.5 * (len(group.lines) - 1))


def _stands_alone(last: Line, line: Line, widest: float) -> bool:
    """Whether a line break inside a paragraph means something: in tables, lists, addresses, verse."""
    if BULLET.match(line.text.lstrip()) or (_is_row(last) and _is_row(line)):
        return True
    return 0 < last.right - last.left < 0.7 * widest and not last.text.endswith(HYPHEN)


def _dehyphenator(groups: Sequence[_Group]) -> Callable[[str], str]:
    """Joins words that were broken at the end of a line, as the rest of the document writes them."""
    known = {word.lower() for word in _words(groups)}

    def join(match: re.Match[str]) -> str:
        left, right = match.groups()
        if not right or (left + right).lower() in known:
            return left + (right or "-")
        keep = f"{left}-{right}".lower() in known or not (left[-1:].islower() and right[0].islower())
        return f"{left}-{right}" if keep else left + right

    return lambda text: BROKEN_WORD.sub(join, text)


def _words(groups: Sequence[_Group]) -> Iterator[str]:
    for group in groups:
        for line in group.lines:
            yield from WORD.findall(line.text)


def turned(x: float, y: float, angle: float) -> tuple[float, float]:
    """A point turned back by an angle in radians, so that text at that angle runs to the right."""
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos + y * sin, y * cos - x * sin
