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
HEADING_CHARS = 200
BOLD_CHARS = 100
MOST_LEVELS = 5
MARGIN_SHARE = 0.12
END_MARKS = tuple(".!?:;…。！？")
BULLET = re.compile(r"(?:[•‣◦▪■●○∙·–\uf0b7\uf0a7]|[-*](?=\s)|\(?\d{1,2}[.)](?=\s)|\([a-z]\)(?=\s))")
NUMBER = re.compile(r"[-+(]?[$€£¥]?[-+(]?\d[\d.,:/%)-]*%?\)?")
WORD = re.compile(r"\w+(?:-\w+)*")
BROKEN_WORD = re.compile(rf"(\w*){HYPHEN}(\w*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of text. Its box is in points, turned so that the text runs to the right and ``top`` > ``bottom``.

    A line that was hyphenated goes on into the next one: ``bottom`` and ``right`` are those of its end.
    ``margin`` says that it stands near the upper or lower edge of its page.
    """

    text: str
    left: float
    right: float
    top: float
    bottom: float
    size: float
    bold: bool = False
    margin: bool = False


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


def paragraphs(pages: Sequence[Sequence[Line]]) -> list[list[Paragraph]]:
    """The paragraphs of each page. Lines that repeat in the margins of most pages are left out."""
    running = _running(pages)
    kept = [[line for line in page if not (line.margin and _mask(line.text) in running)] for page in pages]
    grouped = [_groups(_joined(page)) for page in kept]
    groups = [group for page in grouped for group in page]
    level = _levels(groups)
    dehyphenate = _dehyphenator(groups)
    return [[_paragraph(group, level(group), dehyphenate) for group in page] for page in grouped]


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
            bold=last.bold and line.bold,
            margin=last.margin,
        )
    return joined


def _continues(last: Line, line: Line) -> bool:
    overlap = min(last.top, line.top) - max(last.bottom, line.bottom)
    height = min(last.top - last.bottom, line.top - line.bottom)
    gap = line.left - last.right
    return overlap > 0.5 * height and -0.5 * last.size < gap < 1.5 * last.size


def _groups(lines: Sequence[Line]) -> list[_Group]:
    gaps = sorted(a.bottom - b.top for a, b in pairwise(lines) if abs(a.size - b.size) < 0.1 * a.size)
    usual = gaps[len(gaps) // 2] if gaps else 0.0
    groups: list[_Group] = []
    for line in lines:
        if groups and not _breaks(groups[-1].lines[-1], line, usual):
            groups[-1].lines.append(line)
        else:
            groups.append(_Group([line]))
    return groups


def _breaks(last: Line, line: Line, usual: float) -> bool:
    """Whether a paragraph ends between two lines."""
    if abs(last.size - line.size) > 0.1 * max(last.size, line.size) or last.bold != line.bold:
        return True
    gap = last.bottom - line.top
    ended = last.text.rstrip().endswith(END_MARKS)
    if gap < -0.5 * line.size or gap > 8 * line.size:
        # The next column: a sentence that is under way goes on there.
        return ended or not line.text[:1].islower()
    if gap > max(usual, 0.0) + 0.45 * line.size:
        return True
    indented = line.left - last.left > 0.8 * line.size and last.right > last.left
    short = last.right < line.right - 0.2 * abs(line.right - line.left)
    return ended and (indented or short) and not BULLET.match(last.text)


def _levels(groups: Sequence[_Group]) -> Callable[[_Group], int]:
    """Which paragraphs are headings: larger than the most frequent size, or bold in a text that is not."""
    sizes: Counter[float] = Counter()
    bold = 0
    for group in groups:
        for line in group.lines:
            sizes[_rounded(line.size)] += len(line.text)
            bold += len(line.text) * line.bold
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    bold_counts = bold < 0.3 * sizes.total()

    def is_large(group: _Group) -> bool:
        size = group.lines[0].size
        return size > HEADING_RATIO * body and group.letters <= HEADING_CHARS and len(group.lines) <= 4

    def is_heading(group: _Group) -> bool:
        if not re.search(r"[^\W\d_]{2}", group.lines[0].text) or _is_row(group.lines[0]):
            return False
        return is_large(group) or (bold_counts and _is_bold_heading(group, body))

    headings = [group for group in groups if is_heading(group)]
    if sum(group.letters for group in headings) > 0.4 * sizes.total():
        return lambda _: 0
    ranks = sorted({_rounded(group.lines[0].size) for group in headings if is_large(group)}, reverse=True)
    level_of = {size: min(rank, MOST_LEVELS) for rank, size in enumerate(ranks, 1)}
    smallest = min(len(ranks), MOST_LEVELS) + 1

    def level(group: _Group) -> int:
        return level_of.get(_rounded(group.lines[0].size), smallest) if is_heading(group) else 0

    return level


def _is_bold_heading(group: _Group, body: float) -> bool:
    text = group.lines[0].text.strip()
    return (
        len(group.lines) == 1
        and group.lines[0].bold
        and group.lines[0].size > 0.95 * body
        and len(text) <= BOLD_CHARS
        and not text.endswith((*END_MARKS, ","))
        and not text[0].islower()
    )


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def _is_row(line: Line) -> bool:
    words = line.text.split()
    numbers = sum(NUMBER.fullmatch(word) is not None or word in "$€£¥" for word in words)
    return numbers >= 3 or (len(words) > 1 and numbers > 0.5 * len(words))


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
