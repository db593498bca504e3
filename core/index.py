"""The vector index's interface: points in, ranked matches out, never across a scope.

``EdgeIndex`` (``core.engines.edge.index``) runs Qdrant in this process, ``QdrantIndex`` (``core.engines.qdrant``) talks
to a Qdrant server, ``ChromaIndex`` (``core.engines.chroma``) runs Chroma or talks to its server.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from core.domain import ChunkId, CollectionId, DocumentId, EmbedderStamp, Scope, TenantId
from core.errors import InvalidInput

DENSE = "dense"
LEXICAL = "lexical"
SEARCH_WIDTH = 192
"""Candidates that a walk through the search graph keeps: at 100,000 chunks it finds 0.996 of the true nearest 50, and
0.958 with the engine's own choice (docs/benchmarks.md)."""
LONGEST_REVISION = 24


class SparseVector(NamedTuple):
    """Term weights: ``indices`` are token hashes (unsigned 32 bit), ``values`` their weights."""

    indices: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A chunk in the index. ``dense`` has shape (dimension,) and unit length."""

    id: ChunkId
    tenant: TenantId
    collection: CollectionId
    document: DocumentId
    generation: int
    dense: NDArray[np.float32]
    lexical: SparseVector


class PointKey(NamedTuple):
    """What a point says of itself beside its vectors."""

    id: ChunkId
    tenant: TenantId
    collection: CollectionId
    document: DocumentId
    generation: int


class Match(NamedTuple):
    """A point that was found. ``score`` is the cosine on the dense side, BM25 on the lexical one."""

    id: ChunkId
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexQuery:
    """What to look for; a side that is ``None`` is not searched. ``limit`` is the depth of each list.

    ``documents`` restricts it to the points of these documents: ``None`` is all of the scope, an empty set none. Term
    statistics stay those of the tenant, so that a score does not depend on it.
    """

    dense: NDArray[np.float32] | None = None
    lexical: SparseVector | None = None
    limit: int = 50
    documents: frozenset[DocumentId] | None = None

    def is_empty(self, scope: Scope) -> bool:
        """Whether nothing can be found, whatever the index holds."""
        sides = self.dense is not None or (self.lexical is not None and len(self.lexical.indices) > 0)
        return not sides or frozenset() in (self.documents, scope.collections)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The two lists of an `IndexQuery`, best first; empty where the side was not searched."""

    dense: Sequence[Match] = ()
    lexical: Sequence[Match] = ()


def index_name(embedder: str, revision: str | None, dimension: int) -> str:
    """A name for the vectors of an embedder, which never meet those of another: lower case, digits and dashes."""
    # A commit is known by its first digits; what is shorter may differ at its end.
    short = revision if revision is None or len(revision) <= LONGEST_REVISION else revision[:12]
    parts = [embedder, *([short] if short else [])]
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    return f"{slug}-{dimension}"


def check_dimension(vectors: Iterable[NDArray[np.float32]], dimension: int) -> None:
    """Refuse vectors whose shape is not (dimension,).

    Raises:
        InvalidInput: naming both lengths.
    """
    for vector in vectors:
        if vector.shape != (dimension,):
            raise InvalidInput(
                f"A vector of shape {vector.shape} does not fit the vector index, which holds {dimension} "
                "dimensions: embed with the model that the index was made with."
            )


class Indexes(Protocol):
    """The indexes of all embedders in use; each holds the points of one."""

    async def find(self, embedder: EmbedderStamp) -> VectorIndex | None:
        """The index of an embedder; ``None`` when nothing was ever stored in it.

        Raises:
            Unavailable: the engine does not answer.
        """
        ...


class VectorIndex(Protocol):
    """Points of chunks, searched by dense and by sparse vectors.

    Every method raises `core.errors.Unavailable` when the engine does not answer.
    """

    async def upsert(self, points: Sequence[Point]) -> None:
        """Store the points durably; a point whose id is there already is replaced."""
        ...

    async def delete(
        self,
        tenant: TenantId,
        document: DocumentId,
        *,
        only: Collection[ChunkId] | None = None,
    ) -> None:
        """Delete a document's points: all, or the named ones."""
        ...

    async def query(self, query: IndexQuery, *, scope: Scope) -> Ranking:
        """The best points within the scope, on each side that the query has."""
        ...

    async def vectors(self, chunks: Collection[ChunkId], *, scope: Scope) -> dict[ChunkId, NDArray[np.float32]]:
        """The dense vectors, each of shape (dimension,) and unit length, of those of the points within the scope."""
        ...

    async def count(self, scope: Scope, document: DocumentId | None = None) -> int:
        """How many points the scope holds, exactly; of one document when it is given."""
        ...

    def scan(self, scope: Scope | None, document: DocumentId | None = None) -> AsyncIterator[Sequence[PointKey]]:
        """Every point of the scope, of one document when it is given, page by page in any order.

        For upkeep alone, which compares the index with PostgreSQL: there ``None`` stands for the whole index.
        """
        ...
