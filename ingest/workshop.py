"""What the write path works with, opened in one place for the worker's process and for the API's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from core.database import Pool
from core.index import VectorIndex
from core.settings import Settings
from ingest.blobs import open_blobs
from ingest.collection import Collections
from ingest.guard import guard_blobs, guard_embedder, guard_index
from ingest.load import open_loader
from ingest.options import read_options
from ingest.pipeline import Pipeline
from ingest.progress import Progress
from ingest.tasks import Work
from models.embedder import Embedder
from models.lexical import LexicalEncoder


class Stamp(TypedDict):
    """What an index is made for."""

    embedder: str
    revision: str | None
    dimension: int


@asynccontextmanager
async def open_index(settings: Settings, embedder: Embedder, pool: Pool) -> AsyncIterator[VectorIndex]:
    """The index of the running embedder: Qdrant at QDRANT__URL, Qdrant Edge in this process, or Chroma.

    Raises:
        Unavailable: the index does not answer, or another process has the embedded one.
    """
    # Vectors of two models never meet: each has a folder of its own.
    model = re.sub(r"[^A-Za-z0-9.]+", "-", f"{embedder.name}-{embedder.revision}").strip("-").lower()
    stamp: Stamp = {"embedder": embedder.name, "revision": embedder.revision, "dimension": embedder.dimension}
    if settings.index.engine == "chroma":
        from core.engines.chroma import open_chroma_index

        async with open_chroma_index(settings.chroma, settings.data_dir / "chroma" / model, pool, **stamp) as chroma:
            yield chroma
        return
    if settings.qdrant.url is not None:
        from core.engines.qdrant import open_qdrant_index

        async with open_qdrant_index(settings.qdrant, **stamp) as index:
            yield index
        return
    from core.engines.edge.index import open_edge_index

    folder = settings.data_dir / "qdrant" / model
    async with open_edge_index(folder, dimension=embedder.dimension) as edge:
        yield edge


@asynccontextmanager
async def open_work(
    settings: Settings, pool: Pool, embedder: Embedder, index: VectorIndex, collections: Collections
) -> AsyncIterator[Work]:
    """The pipeline on the given parts, and what else the tasks need; ends the loader's children with the block."""
    limits = settings.ingest
    async with open_loader(
        timeout_s=limits.load_timeout_s, memory_mb=limits.load_memory_mb, options=read_options(limits)
    ) as loader:
        blobs, progress = guard_blobs(open_blobs(settings), limits), Progress(pool)
        pipeline = Pipeline(
            progress=progress,
            blobs=blobs,
            loader=loader,
            embedder=guard_embedder(embedder, limits),
            lexical=LexicalEncoder(),
            index=guard_index(index, limits),
            collections=collections,
            chunk_timeout_s=limits.chunk_timeout_s,
        )
        yield Work(
            pool=pool,
            progress=progress,
            pipeline=pipeline,
            blobs=blobs,
            sources=settings.sources,
        )
