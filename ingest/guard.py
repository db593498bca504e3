"""The parts of the write path under guard: every call is bounded in time and stands behind its source's breaker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.domain import ChunkId, DocumentId, Scope, TenantId
from core.errors import PlatformError, Unavailable
from core.index import IndexQuery, Point, PointKey, Ranking, VectorIndex
from core.settings import IngestSettings
from ingest.blobs import BlobStore
from ingest.breaker import Breaker
from models.embedder import Embedder


class Guard:
    """Bounds a call to ``timeout_s`` seconds; ``step`` and ``setting`` are what the message names."""

    def __init__(self, breaker: Breaker, *, step: str, timeout_s: float, setting: str) -> None:
        self._breaker = breaker
        self._step = step
        self._timeout_s = timeout_s
        self._setting = setting

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """One call.

        Raises:
            SourceDown: the source is left alone now.
            Unavailable: the call took too long.
        """
        self._breaker.enter()
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError as error:
            self._breaker.failed()
            raise Unavailable(
                f"{self._step} took longer than {self._timeout_s:g} s. See whether its server is overloaded, or raise "
                f"{self._setting}."
            ) from error
        except PlatformError as error:
            (self._breaker.failed if isinstance(error, Unavailable) else self._breaker.succeeded)()
            raise
        except Exception:  # what is not of ours was not foreseen, and counts as no answer
            self._breaker.failed()
            raise
        except BaseException:  # cancelled, which says nothing of the source
            self._breaker.left()
            raise
        else:
            self._breaker.succeeded()


class GuardedEmbedder:
    """An `Embedder` of which at most ``batches`` batches are under way at once; the time of a batch starts with it."""

    def __init__(self, embedder: Embedder, guard: Guard, *, batches: int) -> None:
        self._embedder = embedder
        self._guard = guard
        self._places = asyncio.Semaphore(batches)

    @property
    def name(self) -> str:
        """The model, as a collection is stamped with it."""
        return self._embedder.name

    @property
    def revision(self) -> str:
        """The model's version, as a collection is stamped with it."""
        return self._embedder.revision

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._embedder.dimension

    @property
    def max_tokens(self) -> int:
        """Longest text that is embedded whole, in tokens without the special ones."""
        return self._embedder.max_tokens

    def count_tokens(self, text: str) -> int:
        """Tokens of the text without the special ones; thread-safe."""
        return self._embedder.count_tokens(text)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each token without the special ones, in characters; thread-safe."""
        return self._embedder.token_spans(text)

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of passages, in their order."""
        async with self._places, self._guard():
            return await self._embedder.embed_documents(texts)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of a question, of shape (dimension,)."""
        return await self._embedder.embed_query(text)


class GuardedIndex:
    """A `VectorIndex` for the write path."""

    def __init__(self, index: VectorIndex, guard: Guard) -> None:
        self._index = index
        self._guard = guard

    async def upsert(self, points: Sequence[Point]) -> None:
        """Store the points durably; a point whose id is there already is replaced."""
        async with self._guard():
            await self._index.upsert(points)

    async def delete(self, tenant: TenantId, document: DocumentId, *, only: Collection[ChunkId] | None = None) -> None:
        """Delete a document's points: all, or the named ones."""
        async with self._guard():
            await self._index.delete(tenant, document, only=only)

    async def query(self, query: IndexQuery, *, scope: Scope) -> Ranking:
        """The best points within the scope, on each side that the query has."""
        async with self._guard():
            return await self._index.query(query, scope=scope)

    async def vectors(self, chunks: Collection[ChunkId], *, scope: Scope) -> dict[ChunkId, NDArray[np.float32]]:
        """The dense vectors of those of the points within the scope."""
        async with self._guard():
            return await self._index.vectors(chunks, scope=scope)

    async def count(self, scope: Scope, document: DocumentId | None = None) -> int:
        """How many points the scope holds, exactly; of one document when it is given."""
        async with self._guard():
            return await self._index.count(scope, document)

    def scan(self, scope: Scope | None, document: DocumentId | None = None) -> AsyncIterator[Sequence[PointKey]]:
        """Every point of the scope, page by page; not bounded in time."""
        return self._index.scan(scope, document)


class GuardedBlobs:
    """A `BlobStore` for the write path; a whole file counts as one call."""

    def __init__(self, blobs: BlobStore, guard: Guard) -> None:
        self._blobs = blobs
        self._guard = guard

    async def put(self, key: str, source: BinaryIO) -> None:
        """Store all of ``source``; a reader never sees half of it."""
        async with self._guard():
            await self._blobs.put(key, source)

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The bytes in pieces; not bounded in time, because the reader sets the pace."""
        return self._blobs.read(key)

    async def fetch(self, key: str, target: Path) -> None:
        """Copy the bytes into a local file."""
        async with self._guard():
            await self._blobs.fetch(key, target)

    async def delete(self, key: str) -> None:
        """Remove the bytes; an unknown key is no error."""
        async with self._guard():
            await self._blobs.delete(key)

    async def keys(self, *, before: datetime) -> list[str]:
        """The keys that were last written before a moment."""
        async with self._guard():
            return await self._blobs.keys(before=before)


def guard_embedder(embedder: Embedder, settings: IngestSettings) -> GuardedEmbedder:
    """The embedder with a bound on batches: the machine's cores when the settings name none."""
    batches = settings.embed_batches or len(os.sched_getaffinity(0))
    guard = Guard(
        Breaker("The embedding model"),
        step="Embedding a batch",
        timeout_s=settings.embed_timeout_s,
        setting="INGEST__EMBED_TIMEOUT_S",
    )
    return GuardedEmbedder(embedder, guard, batches=batches)


def guard_index(index: VectorIndex, settings: IngestSettings) -> GuardedIndex:
    """The index with the limits of the settings."""
    guard = Guard(
        Breaker("The vector index"),
        step="A call of the vector index",
        timeout_s=settings.index_timeout_s,
        setting="INGEST__INDEX_TIMEOUT_S",
    )
    return GuardedIndex(index, guard)


def guard_blobs(blobs: BlobStore, settings: IngestSettings) -> GuardedBlobs:
    """The store with the limits of the settings."""
    guard = Guard(
        Breaker("The store of the original files"),
        step="Moving a file to or from the store",
        timeout_s=settings.blob_timeout_s,
        setting="INGEST__BLOB_TIMEOUT_S",
    )
    return GuardedBlobs(blobs, guard)
