"""Which embedder and which index answer for which collections: those that the collections were made with.

While a collection is changed to another embedder, search goes on with the one that it has.
"""

from __future__ import annotations

import shlex
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.database import Pool
from core.domain import ChunkId, CollectionId, EmbedderStamp, Scope
from core.index import Indexes, VectorIndex
from models.embedder import Embedder
from models.embedders import Embedders, StampGone, stamp_of
from tools.passages import MARK, visible

REMEMBERED = 1000
"""Scopes whose division is remembered, those that were read last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """The part of a scope that was made with one embedder."""

    stamp: EmbedderStamp
    embedder: Embedder
    index: VectorIndex
    scope: Scope


@dataclass(frozen=True, slots=True)
class Ground:
    """What a search goes over: a scope, and its shelves.

    ``mark`` is what PostgreSQL said of the scope's collections when they were divided (`MARK`); None where nobody asks.
    """

    shelves: Sequence[Shelf]
    scope: Scope
    mark: str | None = None

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

    async def divide(self, scope: Scope) -> Ground:
        """The shelves of a scope, in a fixed order; none where nothing was ever stored.

        They may be as they were some time ago: when what is fetched comes with another mark, `changed` is to be asked.

        Raises:
            StampGone: an embedder that a collection was made with cannot be loaded any more.
            Unavailable: an index does not answer.
        """
        ...

    async def changed(self, ground: Ground) -> bool:
        """Whether the scope is divided differently now; the next division is the new one."""
        ...


class OneShelf:
    """A single embedder with its index, whatever the scope."""

    def __init__(self, embedder: Embedder, index: VectorIndex) -> None:
        self._embedder = embedder
        self._index = index

    async def divide(self, scope: Scope) -> Ground:
        """The only shelf."""
        shelf = Shelf(stamp=stamp_of(self._embedder), embedder=self._embedder, index=self._index, scope=scope)
        return Ground([shelf], scope)

    async def changed(self, ground: Ground) -> bool:  # noqa: ARG002 (the protocol's)
        """Never."""
        return False


@dataclass(frozen=True, slots=True)
class Division:
    """How the collections of a scope are divided, by their stamps, and the mark that PostgreSQL gave with it."""

    parts: Mapping[EmbedderStamp, tuple[frozenset[CollectionId], Sequence[str]]]
    mark: str


class Shelves:
    """Divides scopes as PostgreSQL says that their collections were made.

    A division is remembered. What a search fetches at its end comes with the mark of the collections as they are at
    that moment, so that a change is noticed without a question of its own.
    """

    def __init__(self, pool: Pool, embedders: Embedders, indexes: Indexes) -> None:
        self._pool = pool
        self._embedders = embedders
        self._indexes = indexes
        self._known: OrderedDict[Scope, Division] = OrderedDict()

    async def divide(self, scope: Scope) -> Ground:
        """The shelves of a scope, in a fixed order; none where nothing was ever stored."""
        division = self._known.get(scope) or await self._read(scope)
        shelves = []
        for stamp, (collections, names) in sorted(division.parts.items()):
            index = await self._indexes.find(stamp)
            if index is None:
                continue
            try:
                embedder = await self._embedders.get(stamp)
            except StampGone as error:
                # It may have been remembered for long.
                self._known.pop(scope, None)
                raise _gone(error, names) from error
            part = scope if len(division.parts) == 1 else Scope(tenant=scope.tenant, collections=collections)
            shelves.append(Shelf(stamp=stamp, embedder=embedder, index=index, scope=part))
        return Ground(shelves, scope, division.mark)

    async def changed(self, ground: Ground) -> bool:
        """Whether the scope is divided differently now; the next division is the new one."""
        return (await self._read(ground.scope)).mark != ground.mark

    async def _read(self, scope: Scope) -> Division:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT embedder, embedder_revision, dimension, array_agg(id) AS ids, "  # noqa: S608 (constants)
                f"array_agg(name) AS names, ({MARK}) AS mark "
                "FROM collections WHERE tenant_id = %s AND (%s::uuid[] IS NULL OR id = ANY(%s)) "
                "GROUP BY embedder, embedder_revision, dimension",
                [*visible(scope), *visible(scope)],
            )
            rows = await cursor.fetchall()
        parts = {
            EmbedderStamp(row["embedder"], row["embedder_revision"], row["dimension"]): (
                frozenset(CollectionId(collection) for collection in row["ids"]),
                sorted(row["names"]),
            )
            for row in rows
        }
        division = Division(parts, rows[0]["mark"] if rows else "")
        self._known[scope] = division
        self._known.move_to_end(scope)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return division


def _gone(error: StampGone, names: Sequence[str]) -> StampGone:
    return StampGone(
        f"Collection {names[0]!r} cannot be searched: {error} Run `python -m ingest reembed {shlex.quote(names[0])}`, "
        "or install that embedder again."
    )
