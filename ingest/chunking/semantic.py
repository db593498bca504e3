"""The strategy ``semantic``: neighbouring sentences that are alike stay together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.domain import Chunk, DocumentId, LoadedDocument
from ingest.chunking.passage import chunks_of
from ingest.chunking.ruler import Ruler, Stretch
from ingest.chunking.spec import SemanticSpec
from ingest.chunking.units import joined, units
from models.embedder import Embedder

BATCH = 64


class SemanticChunker:
    """Cuts where the text changes its subject, by the embeddings of small groups of sentences.

    The cut is the one that makes the sum of similarities within chunks greatest, where each similarity counts from
    the mean of all pairs of the document: the "ClusterSemanticChunker" of Smith and Troynikov, "Evaluating Chunking
    Strategies for Retrieval", Chroma 2024. Theirs bounds the number of groups in a chunk, this one their tokens.
    """

    def __init__(self, spec: SemanticSpec, embedder: Embedder) -> None:
        self._spec = spec
        self._embedder = embedder

    async def chunk(self, loaded: LoadedDocument, document: DocumentId) -> list[Chunk]:
        """The chunks in reading order; every group of sentences is embedded once.

        Raises:
            Unavailable: the embedder does not answer.
        """
        ruler, groups = await asyncio.to_thread(self._groups, loaded)
        texts = [loaded.text[start:end] for start, end in groups]
        vectors = [await self._embedder.embed_documents(texts[n : n + BATCH]) for n in range(0, len(texts), BATCH)]
        return await asyncio.to_thread(self._chunk, loaded, document, ruler, groups, vectors)

    def _groups(self, loaded: LoadedDocument) -> tuple[Ruler, list[Stretch]]:
        ruler = Ruler(loaded.text, self._embedder)
        found = list(units(loaded, ruler, self._spec.group_tokens))
        return ruler, list(joined(found, ruler, self._spec.group_tokens))

    def _chunk(
        self,
        loaded: LoadedDocument,
        document: DocumentId,
        ruler: Ruler,
        groups: Sequence[Stretch],
        vectors: Sequence[NDArray[np.float32]],
    ) -> list[Chunk]:
        if not groups:
            return []
        sizes = [ruler.tokens(start, end) for start, end in groups]
        cuts = best_cuts(np.concatenate(vectors), sizes, self._spec.tokens)
        stretches = [(groups[first][0], groups[last - 1][1]) for first, last in cuts]
        return chunks_of(loaded, document, ruler.passages(stretches))


def best_cuts(vectors: NDArray[np.float32], sizes: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Runs ``first:last`` of neighbours with at most ``most`` together, whose similarities within sum up to the most.

    Args:
        vectors: unit vectors of shape (groups, dimension), at least one.
        sizes: the size of each group; a single one may be more than ``most``.
        most: greatest size of a run of several.
    """
    count = len(vectors)
    total = vectors.sum(axis=0, dtype=np.float64)
    mean = (float(total @ total) - count) / max(1, count * (count - 1))  # of all pairs, as the vectors have length 1
    best = np.zeros(count + 1)
    start = np.zeros(count + 1, dtype=np.int64)
    within = np.zeros(1)  # of the runs that end here, by their length less one
    for last in range(1, count + 1):
        reach = _reach(sizes, last, most)
        alike = vectors[last - reach : last - 1] @ vectors[last - 1] - mean
        # A run that is one longer at its end has, more than the run before it, the new one with each of the others.
        longer = 2 * np.concatenate([[0.0], np.cumsum(alike[::-1], dtype=np.float64)])
        within = np.concatenate([[0.0], within])[:reach] + longer
        worth = within + best[last - reach : last][::-1]
        length = int(np.argmax(worth)) + 1
        best[last], start[last] = worth[length - 1], last - length
    cuts = []
    last = count
    while last > 0:
        cuts.append((int(start[last]), last))
        last = int(start[last])
    return cuts[::-1]


def _reach(sizes: Sequence[int], last: int, most: int) -> int:
    """How many groups before ``last`` fit together; at least one."""
    size, reach = sizes[last - 1], 1
    while reach < last and size + sizes[last - reach - 1] <= most:
        size += sizes[last - reach - 1]
        reach += 1
    return reach
