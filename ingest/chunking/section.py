"""Which headings each block of a document stands under."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core.domain import SECTION_SEPARATOR, Block

TITLE_CHARS = 80


@dataclass(slots=True, eq=False)
class Section:
    """A stretch of a document below one heading, without its subsections; the root has no heading.

    ``path`` holds the headings that the section's chunks carry, outermost first. ``rank`` is the heading's level.
    """

    path: tuple[str, ...] = ()
    tokens: int = 0
    rank: int = 0
    parent: Section | None = None
    heading: Block | None = None
    title: str = ""
    body: list[Block] = field(default_factory=list)


def sections(
    text: str, blocks: Sequence[Block], *, count: Callable[[str], int], max_tokens: int
) -> list[tuple[Section, list[Block]]]:
    """The sections that hold something, in reading order, each with its blocks.

    A heading is left out of the blocks when some chunk below carries it in its path. One that nothing stands under,
    or that is too long for a path, becomes a block: in the section around it, or as the first of its own.
    ``max_tokens`` bounds the path, which loses its outermost headings first.
    """
    opened = _open(text, blocks)
    for section in opened:
        section.path, section.tokens = _path(section, count, max_tokens)
    carried = _carried(opened)
    runs: list[tuple[Section, list[Block]]] = []
    for section in opened:
        owner, body = section, section.body
        if section.heading is not None and section not in carried:
            body = [section.heading, *body]
            if not section.body and section.parent is not None:
                owner = section.parent
        if not body:
            continue
        if runs and runs[-1][0] is owner:
            runs[-1][1].extend(body)
        else:
            runs.append((owner, list(body)))
    return runs


def _open(text: str, blocks: Sequence[Block]) -> list[Section]:
    current = Section()
    opened = [current]
    for block in blocks:
        words = text[block.start : block.end].split()
        if not words:
            continue
        if block.level == 0:
            current.body.append(block)
            continue
        while current.parent is not None and current.rank >= block.level:
            current = current.parent
        current = Section(rank=block.level, parent=current, heading=block, title=" ".join(words))
        opened.append(current)
    return opened


def _path(section: Section, count: Callable[[str], int], max_tokens: int) -> tuple[tuple[str, ...], int]:
    """The path within ``max_tokens``, and its tokens."""
    path = tuple(_short(item.title, TITLE_CHARS) for item in _upwards(section))[::-1]
    tokens = count(SECTION_SEPARATOR.join(path)) if path else 0
    while tokens > max_tokens:
        # The nearest heading says most: the others go first, then its own last words.
        path = path[1:] if len(path) > 1 else (_short(path[0], len(path[0]) // 2),)
        if path == ("",):
            return (), 0
        tokens = count(SECTION_SEPARATOR.join(path))
    return path, tokens


def _upwards(section: Section) -> list[Section]:
    chain = []
    while section.parent is not None:
        chain.append(section)
        section = section.parent
    return chain


def _carried(opened: Sequence[Section]) -> set[Section]:
    """The sections whose whole heading stands in the path of a section that holds something."""
    carried = set()
    for section in opened:
        if section.body:
            near = _upwards(section)[: len(section.path)]
            carried |= {item for item, title in zip(near, reversed(section.path), strict=True) if item.title == title}
    return carried


def _short(title: str, limit: int) -> str:
    if len(title) <= limit:
        return title
    head, space, _ = title[:limit].rpartition(" ")
    return (head if space and len(head) > limit // 2 else title[:limit]).rstrip()
