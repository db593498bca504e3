"""Other wordings of a question, searched beside it, and what they find put into one list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from core.domain import ChunkId, Scores

Mode = Literal["hybrid", "dense", "lexical"]

RRF_K = 60


class Variant(NamedTuple):
    """Another text to search with, and how: a passage that was made up is looked for by its meaning only."""

    text: str
    mode: Mode = "hybrid"


def merged(lists: Sequence[Sequence[tuple[ChunkId, Scores]]]) -> list[tuple[ChunkId, Scores]]:
    """All matches of all lists, best first, by the sum of ``1 / (60 + rank)``; the first list is the question's.

    Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods",
    SIGIR 2009: scores of different texts are not comparable, ranks are.
    What the sides say of a match is kept from the first list, because their scores belong to its text. Ties are broken
    by the order in which the lists name them.
    """
    sums: dict[ChunkId, float] = {}
    for matches in lists:
        for rank, (chunk, _) in enumerate(matches, start=1):
            sums[chunk] = sums.get(chunk, 0.0) + 1.0 / (RRF_K + rank)
    own = dict(lists[0]) if lists else {}
    blank = Scores(fused=0.0)
    order = sorted(sums, key=lambda chunk: -sums[chunk])
    return [
        (chunk, Scores(fused=sums[chunk], dense=own.get(chunk, blank).dense, lexical=own.get(chunk, blank).lexical))
        for chunk in order
    ]
