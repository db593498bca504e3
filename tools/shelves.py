"""Which embedder and which index answer for which collections: those that the collections were made with.

While a collection is changed to another embedder, search goes on with the one that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.database import Pool
from core.domain import ChunkId, CollectionId, EmbedderStamp, Scope
from core.errors import Conflict
from core.index import Indexes, VectorIndex
from models.embedder import Embedder
from models.embedders import Embedders, StampGone, stamp_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """The part of a scope that was made with one embedder."""

    stamp: EmbedderStamp
    embedder: Embedder
    index: VectorIndex
    scope: Scope


@dataclass(frozen=True, slots=True)
class Ground:
    """What a search goes over: a scope, and its shelves."""

    shelves: Sequence[Shelf]
    scope: Scope

    async def vectors(self, chunks: Sequence[ChunkId]) -> dict[ChunkId, NDArray[np.float32]]:
        """Dense vectors of chunks; those of different embedders are at right angles to each other."""
        if len(self.shelves) == 1:
            return await self.shelves[0].index.vectors(chunks, scope=self.scope)
        width = sum(shelf.stamp.dimension for shelf in self.shelves)
        found: dict[ChunkId, NDArray[np.float32]] = {}
        start = 0
        for shelf in self.shelves:
            for chunk, vector in (await shelf.index.vectors(chunks, scope=shelf.scope)).items():
                found[chunk] = np.zeros(width, dtype=np.float32)
                found[chunk][start : start + len(vector)] = vector
            start += shelf.stamp.dimension
        return found


class Shelving(Protocol):
    """Divides scopes among embedders."""

    async def of(self, scope: Scope) -> Sequence[Shelf]:
        """The shelves of a scope, in a fixed order; none where nothing was ever stored.

        Raises:
            StampGone: an embedder that a collection was made with cannot be loaded any more.
            Unavailable: an index does not answer.
        """
        ...

    async def changed(self, shelves: Sequence[Shelf], scope: Scope) -> bool:
        """Whether the scope is divided differently now."""
        ...


class OneShelf:
    """A single embedder with its index, whatever the scope."""

    def __init__(self, embedder: Embedder, index: VectorIndex) -> None:
        self._embedder = embedder
        self._index = index

    async def of(self, scope: Scope) -> Sequence[Shelf]:
        """The only shelf."""
        return [Shelf(stamp=stamp_of(self._embedder), embedder=self._embedder, index=self._index, scope=scope)]

    async def changed(self, shelves: Sequence[Shelf], scope: Scope) -> bool:  # noqa: ARG002 (the protocol's)
        """Never."""
        return False


class Shelves:
    """Divides scopes as PostgreSQL says that their collections were made."""

    def __init__(self, pool: Pool, embedders: Embedders, indexes: Indexes) -> None:
        self._pool = pool
        self._embedders = embedders
        self._indexes = indexes

    async def of(self, scope: Scope) -> Sequence[Shelf]:
        """The shelves of a scope, in a fixed order; none where nothing was ever stored."""
        shelves = []
        parts = await self._read(scope)
        for stamp, (collections, names) in sorted(parts.items()):
            index = await self._indexes.find(stamp)
            if index is None:
                continue
            try:
                embedder = await self._embedders.get(stamp)
            except StampGone as error:
                raise _gone(error, names) from error
            part = scope if len(parts) == 1 else Scope(tenant=scope.tenant, collections=collections)
            shelves.append(Shelf(stamp=stamp, embedder=embedder, index=index, scope=part))
        return shelves

    async def changed(self, shelves: Sequence[Shelf], scope: Scope) -> bool:
        """Whether the scope is divided differently now."""
        return {shelf.stamp for shelf in shelves} != set(await self._read(scope))

    async def _read(self, scope: Scope) -> dict[EmbedderStamp, tuple[frozenset[CollectionId], list[str]]]:
        collections = None if scope.collections is None else list(scope.collections)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT embedder, embedder_revision, dimension, array_agg(id) AS ids, array_agg(name) AS names "
                "FROM collections c WHERE tenant_id = %s AND (%s::uuid[] IS NULL OR id = ANY(%s)) "
                "GROUP BY embedder, embedder_revision, dimension",
                (scope.tenant, collections, collections),
            )
            rows = await cursor.fetchall()
        return {
            EmbedderStamp(row["embedder"], row["embedder_revision"], row["dimension"]): (
                frozenset(CollectionId(collection) for collection in row["ids"]),
                sorted(row["names"]),
            )
            for row in rows
        }


def _gone(error: StampGone, names: Sequence[str]) -> Conflict:
    import shlex

    first = names[0]
    return StampGone(
        f"Collection {first!r} cannot be searched: {error} Run `python -m ingest reembed {shlex.quote(first)}`, or "
        "install that embedder again."
    )
