"""The embedders and indexes of the write path: each is opened when it is first needed, and stands under guard."""

from __future__ import annotations

from core.domain import EmbedderStamp
from core.index import VectorIndex
from core.settings import IngestSettings
from ingest.guard import GuardedEmbedder, GuardedIndex, guard_embedder, guard_index
from ingest.indexes import OpenIndexes
from models.embedder import Embedder
from models.embedders import Embedders, stamp_of


class GuardedEmbedders:
    """`models.embedders.Embedders` for the write path."""

    def __init__(self, embedders: Embedders, settings: IngestSettings) -> None:
        self._embedders = embedders
        self._settings = settings
        self._guarded: dict[EmbedderStamp, GuardedEmbedder] = {}

    @property
    def running(self) -> EmbedderStamp:
        """What new collections are stamped with."""
        return stamp_of(self._embedders.running)

    async def get(self, stamp: EmbedderStamp) -> Embedder:
        """The embedder of a stamp; raises `models.embedders.StampGone` when it cannot be loaded any more."""
        return self._guard(stamp, await self._embedders.get(stamp))

    async def open(self, name: str | None, revision: str | None) -> Embedder:
        """The embedder of a name, without one the running one; raises `core.errors.InvalidInput`."""
        embedder = await self._embedders.open(name, revision) if name else self._embedders.running
        return self._guard(stamp_of(embedder), embedder)

    def _guard(self, stamp: EmbedderStamp, embedder: Embedder) -> GuardedEmbedder:
        if stamp not in self._guarded:
            self._guarded[stamp] = guard_embedder(embedder, self._settings)
        return self._guarded[stamp]


class GuardedIndexes:
    """`ingest.indexes.OpenIndexes` for the write path."""

    def __init__(self, indexes: OpenIndexes, settings: IngestSettings) -> None:
        self._indexes = indexes
        self._settings = settings
        self._guarded: dict[EmbedderStamp, tuple[VectorIndex, GuardedIndex]] = {}

    async def open(self, embedder: EmbedderStamp) -> VectorIndex:
        """The index of an embedder, which is made when it is missing."""
        return self._guard(embedder, await self._indexes.open(embedder))

    async def find(self, embedder: EmbedderStamp) -> VectorIndex | None:
        """The index of an embedder; ``None`` when nothing was ever stored in it."""
        index = await self._indexes.find(embedder)
        return None if index is None else self._guard(embedder, index)

    async def drop(self, embedder: EmbedderStamp) -> None:
        """Close the index of an embedder and delete it."""
        await self._indexes.drop(embedder)

    def _guard(self, embedder: EmbedderStamp, index: VectorIndex) -> GuardedIndex:
        known = self._guarded.get(embedder)
        if known is None or known[0] is not index:
            known = self._guarded[embedder] = index, guard_index(index, self._settings)
        return known[1]
