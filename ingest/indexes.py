"""The vector indexes of all embedders in use, by stamp; opened when they are first asked for.

Which engine holds them is decided here, by the settings: Qdrant at QDRANT__URL, Qdrant Edge in this process, or Chroma.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.database import Pool
from core.domain import EmbedderStamp
from core.index import VectorIndex
from core.settings import ChromaSettings, QdrantSettings, Settings

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient


class Engine(Protocol):
    """What keeps the indexes: a folder, or a server."""

    async def exists(self, embedder: EmbedderStamp) -> bool:
        """Whether there is an index of this embedder."""
        ...

    def open(self, embedder: EmbedderStamp) -> AbstractAsyncContextManager[VectorIndex]:
        """The index of an embedder, which is made when it is missing."""
        ...

    async def drop(self, embedder: EmbedderStamp) -> None:
        """Delete the index of an embedder, which is not open."""
        ...


class EdgeEngine:
    """Qdrant Edge: a folder for each embedder, so that vectors of two models never meet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def exists(self, embedder: EmbedderStamp) -> bool:
        """Whether there is an index of this embedder."""
        return await asyncio.to_thread(self._path(embedder).is_dir)

    def open(self, embedder: EmbedderStamp) -> AbstractAsyncContextManager[VectorIndex]:
        """The index of an embedder; raises `core.errors.Unavailable` when another process has it open."""
        from core.engines.edge.index import open_edge_index

        return open_edge_index(self._path(embedder), dimension=embedder.dimension)

    async def drop(self, embedder: EmbedderStamp) -> None:
        """Delete the folder."""
        await asyncio.to_thread(shutil.rmtree, self._path(embedder), ignore_errors=True)

    def _path(self, embedder: EmbedderStamp) -> Path:
        return self._folder / folder_name(embedder)


def folder_name(embedder: EmbedderStamp) -> str:
    """The folder of an embedder: its name and revision."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{embedder.name}-{embedder.revision}").strip("-").lower()


class QdrantEngine:
    """A Qdrant server: a collection for each embedder, behind an alias."""

    def __init__(self, client: AsyncQdrantClient, settings: QdrantSettings) -> None:
        self._client = client
        self._settings = settings

    async def exists(self, embedder: EmbedderStamp) -> bool:
        """Whether there is an index of this embedder."""
        from core.engines.qdrant import has_index

        name, revision, dimension = embedder
        return await has_index(self._client, embedder=name, revision=revision, dimension=dimension)

    @asynccontextmanager
    async def open(self, embedder: EmbedderStamp) -> AsyncIterator[VectorIndex]:
        """The index of an embedder; the connection belongs to the engine."""
        from core.engines.qdrant import prepare_index

        name, revision, dimension = embedder
        yield await prepare_index(self._client, self._settings, embedder=name, revision=revision, dimension=dimension)

    async def drop(self, embedder: EmbedderStamp) -> None:
        """Delete the collection."""
        from core.engines.qdrant import drop_index

        name, revision, dimension = embedder
        await drop_index(self._client, embedder=name, revision=revision, dimension=dimension)


class ChromaEngine:
    """Chroma in this process or on a server: a folder or a collection for each embedder, and words in PostgreSQL."""

    def __init__(self, settings: ChromaSettings, folder: Path, pool: Pool) -> None:
        self._settings = settings
        self._folder = folder
        self._pool = pool

    async def exists(self, embedder: EmbedderStamp) -> bool:
        """Whether there is an index of this embedder: each of its points has words in PostgreSQL."""
        from core.engines.postings import Postings
        from core.index import index_name

        return await Postings(self._pool, f"ragstone-{index_name(*embedder)}").exist()

    def open(self, embedder: EmbedderStamp) -> AbstractAsyncContextManager[VectorIndex]:
        """The index of an embedder; raises `core.errors.Unavailable` when another process has the folder open."""
        from core.engines.chroma import open_chroma_index

        name, revision, dimension = embedder
        return open_chroma_index(
            self._settings, self._path(embedder), self._pool, embedder=name, revision=revision, dimension=dimension
        )

    async def drop(self, embedder: EmbedderStamp) -> None:
        """Delete the folder or the collection, and the words."""
        from core.engines.chroma import drop_chroma_index

        name, revision, dimension = embedder
        await drop_chroma_index(
            self._settings, self._path(embedder), self._pool, embedder=name, revision=revision, dimension=dimension
        )

    def _path(self, embedder: EmbedderStamp) -> Path:
        return self._folder / folder_name(embedder)


class OpenIndexes:
    """`core.index.Indexes` over an engine; made by `open_indexes`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: dict[EmbedderStamp, tuple[VectorIndex, AsyncExitStack]] = {}
        self._gate = asyncio.Lock()

    async def open(self, embedder: EmbedderStamp) -> VectorIndex:
        """The index of an embedder, which is made when it is missing.

        Raises:
            Unavailable: the engine does not answer.
        """
        if embedder not in self._open:
            async with self._gate:
                if embedder not in self._open:
                    async with AsyncExitStack() as stack:
                        index = await stack.enter_async_context(self._engine.open(embedder))
                        self._open[embedder] = index, stack.pop_all()
        return self._open[embedder][0]

    async def find(self, embedder: EmbedderStamp) -> VectorIndex | None:
        """The index of an embedder; ``None`` when nothing was ever stored in it.

        Raises:
            Unavailable: the engine does not answer.
        """
        if embedder not in self._open and not await self._engine.exists(embedder):
            return None
        return await self.open(embedder)

    async def drop(self, embedder: EmbedderStamp) -> None:
        """Close the index of an embedder and delete it.

        Raises:
            Unavailable: the engine does not answer.
        """
        async with self._gate:
            if embedder in self._open:
                _, stack = self._open.pop(embedder)
                await stack.aclose()
            await self._engine.drop(embedder)

    async def close(self) -> None:
        """Close all that are open."""
        async with AsyncExitStack() as stack:
            for _, opened in self._open.values():
                stack.push_async_callback(opened.aclose)
            self._open.clear()


@asynccontextmanager
async def open_indexes(settings: Settings, pool: Pool) -> AsyncIterator[OpenIndexes]:
    """The indexes of the engine that the settings name; all are closed with the block."""
    async with AsyncExitStack() as stack:
        engine: Engine
        if settings.index.engine == "chroma":
            engine = ChromaEngine(settings.chroma, settings.data_dir / "chroma", pool)
        elif settings.qdrant.url is not None:
            from core.engines.qdrant import open_client

            engine = QdrantEngine(await stack.enter_async_context(open_client(settings.qdrant)), settings.qdrant)
        else:
            engine = EdgeEngine(settings.data_dir / "qdrant")
        indexes = OpenIndexes(engine)
        stack.push_async_callback(indexes.close)
        yield indexes
