"""What a model reads of a hit: its chunk alone, or with its neighbours or its section, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal

from core.domain import Chunk, ChunkId, Hit

Expand = Literal["none", "neighbours", "parent"]
EXPAND_TOKENS = 480
"""The most tokens of a widened passage unless something else is asked for: three chunks of the default size."""
REACH = 16
"""The most chunks that are looked at before and after a hit."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A hit and the stretch ``start:end`` of its document's text that is read; ``chunks`` lie in it, in their order.

    Without chunks nothing is known of what lies around the hit.
    """

    hit: Hit
    chunks: Sequence[Chunk]
    start: int
    end: int


def spread(
    hits: Sequence[Hit],
    around: Mapping[ChunkId, Sequence[Chunk]],
    *,
    expand: Expand,
    budget: int,
    count: Callable[[str], int],
    limit: int,
) -> list[Spread]:
    """The best ``limit`` hits with what is read around each; no chunk is read twice.

    A hit whose chunk is read with a better one is left out. From the hit's chunk on, the next chunk and the one before
    are taken by turns while the chunks taken have at most ``budget`` tokens; for ``parent`` only those of its section,
    and the whole section when all of it was taken.

    Args:
        hits: best first.
        around: for a hit's chunk, the chunks near it in the order of the document, itself among them.
        expand: ``neighbours`` or ``parent``.
        budget: most tokens of a stretch that is longer than the hit's chunk.
        count: the tokens of a text.
        limit: how many stretches at most.
    """
    taken: set[ChunkId] = set()
    found: list[Spread] = []
    for hit in hits:
        if len(found) == limit:
            break
        if hit.chunk.id in taken:
            continue
        near = around.get(hit.chunk.id, ())
        # As it is now: the document may have been ingested anew since it was found.
        current = next((chunk for chunk in near if chunk.id == hit.chunk.id), None)
        if current is None:
            found.append(Spread(hit, (), 0, 0))
            continue
        family = near if expand == "neighbours" else _section_of(current, near)
        chunks = _grown(family, current.id, taken, budget, count)
        taken.update(chunk.id for chunk in chunks)
        start, end = min(chunk.start for chunk in chunks), max(chunk.end for chunk in chunks)
        if expand == "parent" and len(chunks) == len(family):
            start, end = _section(current, start, end)
        found.append(Spread(replace(hit, chunk=current), chunks, start, end))
    return found


def same_section(chunk: Chunk, other: Chunk) -> bool:
    """Whether both stand in one section, by its bounds where the chunker knows them, else by its headings."""
    bounds = (chunk.parent_start, chunk.parent_end)
    if bounds != (other.parent_start, other.parent_end):
        return False
    return bounds != (None, None) or tuple(chunk.section) == tuple(other.section)


def _section_of(chunk: Chunk, near: Sequence[Chunk]) -> Sequence[Chunk]:
    """The chunks of its section without a gap: the same headings may come again further on."""
    place = near.index(chunk)
    before = takewhile(lambda other: same_section(other, chunk), reversed(near[:place]))
    after = takewhile(lambda other: same_section(other, chunk), near[place:])
    return [*reversed([*before]), *after]


def _grown(
    family: Sequence[Chunk], chosen: ChunkId, taken: set[ChunkId], budget: int, count: Callable[[str], int]
) -> Sequence[Chunk]:
    place = next(number for number, chunk in enumerate(family) if chunk.id == chosen)
    first = last = place
    left = budget - count(family[place].text)
    grows = {1: True, -1: True}
    while any(grows.values()):
        for step in (1, -1):
            at = last + 1 if step == 1 else first - 1
            if not grows[step] or not 0 <= at < len(family) or family[at].id in taken:
                grows[step] = False
                continue
            left -= count(family[at].text)
            if left < 0:
                grows = {1: False, -1: False}
                break
            first, last = min(first, at), max(last, at)
    return family[first : last + 1]


def _section(chunk: Chunk, start: int, end: int) -> tuple[int, int]:
    if chunk.parent_start is None or chunk.parent_end is None:
        return start, end
    return min(start, chunk.parent_start), max(end, chunk.parent_end)
