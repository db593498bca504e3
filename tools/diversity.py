"""Hits that say something new: near-duplicates left out, and maximal marginal relevance."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.domain import Chunk, ChunkId, Hit

# A character of a script without spaces counts as a word.
WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
SHINGLE = 4
"""Words of a shingle."""
CONTAINED = 0.8
"""The share of a passage's shingles from which on another passage says the same."""
OVERLAP = 0.5
"""The share of a passage's characters from which on another passage of the document holds it."""


def distinct(hits: Sequence[Hit]) -> Iterator[Hit]:
    """The hits without those that a better one says already, in their order.

    A hit goes when half of its characters lie in a better hit of the same document, or when a better hit of any
    document contains its text: containment of word shingles, as in Broder, "On the resemblance and containment of
    documents", SEQUENCES 1997. A better hit that is part of a worse one takes nothing away from that.
    """
    kept: list[tuple[Chunk, frozenset[int]]] = []
    for hit in hits:
        said = shingles(hit.chunk.text)
        if not any(repeats(hit.chunk, said, chunk, there) for chunk, there in kept):
            kept.append((hit.chunk, said))
            yield hit


def repeats(chunk: Chunk, said: frozenset[int], other: Chunk, there: frozenset[int]) -> bool:
    """Whether the chunk with these shingles says what the other one says."""
    return overlap(chunk, other) >= OVERLAP or containment(said, there) >= CONTAINED


def shingles(text: str) -> frozenset[int]:
    """Hashes of every four words in a row; a shorter text is one shingle."""
    words = WORD.findall(text.casefold())
    return frozenset(hash(tuple(words[start : start + SHINGLE])) for start in range(max(1, len(words) - SHINGLE + 1)))


def containment(part: frozenset[int], whole: frozenset[int]) -> float:
    """The share of ``part`` that is in ``whole``, 0 to 1."""
    return len(part & whole) / len(part)


def overlap(chunk: Chunk, other: Chunk) -> float:
    """The share of the chunk's characters that the other one of the same document holds too, 0 to 1."""
    if chunk.document != other.document or chunk.end <= chunk.start:
        return 0.0
    return max(0, min(chunk.end, other.end) - max(chunk.start, other.start)) / (chunk.end - chunk.start)


def diversified(
    hits: Sequence[Hit], vectors: Mapping[ChunkId, NDArray[np.float32]], *, weight: float, limit: int
) -> list[Hit]:
    """The ``limit`` hits that are best by maximal marginal relevance, in the order in which they are picked.

    Each time the hit with the greatest ``weight * relevance - (1 - weight) * similarity`` is picked: its relevance is
    its place in the ranking (1 for the first, falling evenly to 0 behind the last), its similarity the greatest cosine
    to those already picked. Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering
    documents and producing summaries", SIGIR 1998, with the place instead of a cosine to the question, so that what
    the other stages found out counts. A weight of 1 leaves the ranking as it is; a hit without a vector is similar to
    none.

    Args:
        hits: best first.
        vectors: unit vectors of shape (dimension,).
        weight: 0 to 1, the lambda of the paper.
        limit: how many to pick.
    """
    if not hits:
        return []
    blank = np.zeros_like(next(iter(vectors.values()))) if vectors else np.zeros(1, dtype=np.float32)
    matrix = np.stack([vectors.get(hit.chunk.id, blank) for hit in hits])
    relevance = 1.0 - np.arange(len(hits)) / len(hits)
    similarity = np.zeros(len(hits))
    free = np.ones(len(hits), dtype=bool)
    picked: list[Hit] = []
    while len(picked) < min(limit, len(hits)):
        value = np.where(free, weight * relevance - (1.0 - weight) * similarity, -np.inf)
        place = int(np.argmax(value))
        free[place] = False
        cosine = matrix @ matrix[place]
        similarity = cosine if not picked else np.maximum(similarity, cosine)
        picked.append(hits[place])
    return picked
