"""Reciprocal rank fusion of the index's two lists."""

from __future__ import annotations

from core.domain import ChunkId, Scores
from core.index import Ranking

RRF_K = 60


def fuse(ranking: Ranking) -> list[tuple[ChunkId, Scores]]:
    """All matches of both lists, best first, by the sum of ``1 / (60 + rank)``.

    Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods",
    SIGIR 2009. Ties are broken by the dense score, then by id, so that the order never depends on chance.
    """
    fused: dict[ChunkId, float] = {}
    for matches in (ranking.dense, ranking.lexical):
        for rank, match in enumerate(matches, start=1):
            fused[match.id] = fused.get(match.id, 0.0) + 1.0 / (RRF_K + rank)
    dense = {match.id: match.score for match in ranking.dense}
    lexical = {match.id: match.score for match in ranking.lexical}
    order = sorted(fused, key=lambda chunk: (-fused[chunk], -dense.get(chunk, -1.0), chunk))
    return [(c, Scores(fused=fused[c], dense=dense.get(c), lexical=lexical.get(c))) for c in order]
