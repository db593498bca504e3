"""Fusion of what the index and the reranker say of a chunk: weighted sums of scores, pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.domain import ChunkId, Scores
from core.index import Match, Ranking

DENSE_SHARE = 0.6
KNOWN = 1.5
"""Tokens per word up to which a question is in a language that the embedding model knows."""
STRANGE = 3.0
"""Tokens per word from which on it is in one that the model does not know."""
LEAST_TRUST = 0.1
RERANK_SHARE = 0.5

# Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana, Chinese characters.
UNSPACED = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
WORD = re.compile(rf"{UNSPACED}{{1,2}}|(?:(?!{UNSPACED})\w)+")

Matches = Sequence[tuple[ChunkId, Scores]]


def fuse(ranking: Ranking, *, dense_share: float = DENSE_SHARE) -> list[tuple[ChunkId, Scores]]:
    """All matches of both lists, best first, by ``share * cosine / best cosine + (1 - share) * BM25 / best BM25``.

    A convex combination of scores, each divided by the best of its list (Bruch, Gai and Ingber, "An Analysis of Fusion
    Functions for Hybrid Retrieval", ACM TOIS 2023); what a list does not hold scores 0 there, so that being found by
    both counts. Fused scores lie between 0 and 1. A list that is empty leaves the other one as it is. Ties are broken
    by the dense score, then by id, so that the order never depends on chance.
    """
    if not ranking.lexical:
        dense_share = 1.0
    elif not ranking.dense:
        dense_share = 0.0
    near, same = _relative(ranking.dense), _relative(ranking.lexical)
    chunks = near.keys() | same.keys()
    fused = {c: dense_share * near.get(c, 0.0) + (1 - dense_share) * same.get(c, 0.0) for c in chunks}
    dense = {match.id: match.score for match in ranking.dense}
    lexical = {match.id: match.score for match in ranking.lexical}
    order = sorted(fused, key=lambda chunk: (-fused[chunk], -dense.get(chunk, -1.0), chunk))
    return [(c, Scores(fused=fused[c], dense=dense.get(c), lexical=lexical.get(c))) for c in order]


def trust(text: str, tokens: int) -> float:
    """How far an embedding model may be believed about a question, from 0.1 to 1; ``tokens`` is its own count of them.

    A model that was not trained on a language, or on a kind of code, has no tokens for its words and cuts them into
    pieces. So the share of the model sinks with the tokens per word: 1 up to `KNOWN`, least from `STRANGE` on.
    """
    words = len(WORD.findall(text))
    if not words:
        return 1.0
    return min(1.0, max(LEAST_TRUST, (STRANGE - tokens / words) / (STRANGE - KNOWN)))


def scored(chunks: Sequence[ChunkId], scores: Sequence[float] | NDArray[np.float32]) -> dict[ChunkId, float]:
    """A reranker's score of each chunk; those that it had no time for (NaN) are left out."""
    return {chunk: float(score) for chunk, score in zip(chunks, scores, strict=True) if not math.isnan(score)}


def rerank(
    matches: Matches, scores: Mapping[ChunkId, float], *, share: float = RERANK_SHARE
) -> list[tuple[ChunkId, Scores]]:
    """The scored matches ordered anew, then the others in their order.

    The order is that of ``share * reranker + (1 - share) * fused``, each in standard deviations from its mean over the
    scored matches: reranker and index are both heard. ``fused`` is kept as it was.
    """
    read = [(chunk, replace(kept, rerank=scores[chunk])) for chunk, kept in matches if chunk in scores]
    if not read:
        return list(matches)
    both = share * _standard([scores[chunk] for chunk, _ in read])
    both += (1 - share) * _standard([kept.fused for _, kept in read])
    order = np.argsort(-both, kind="stable")
    return [read[place] for place in order] + [match for match in matches if match[0] not in scores]


def _relative(matches: Sequence[Match]) -> dict[ChunkId, float]:
    """Each score over the best one; below zero counts as zero."""
    best = max((match.score for match in matches), default=0.0)
    return {match.id: max(match.score, 0.0) / best if best > 0 else 0.0 for match in matches}


def _standard(values: Sequence[float]) -> NDArray[np.float64]:
    """The values in standard deviations from their mean; zeros when all are equal."""
    array = np.asarray(values, dtype=np.float64)
    spread = array.std()
    return (array - array.mean()) / spread if spread > 0 else np.zeros_like(array)
