"""What the write path works with, opened in one place for the worker's process and for the API's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.database import Pool
from core.settings import Settings
from ingest.blobs import open_blobs
from ingest.builder import Builder
from ingest.drafts import Drafts
from ingest.guard import guard_blobs
from ingest.guarded import GuardedEmbedders, GuardedIndexes
from ingest.indexes import OpenIndexes
from ingest.load import open_loader
from ingest.options import read_options
from ingest.progress import Progress
from ingest.removals import Removals
from ingest.tasks import Work
from models.embedders import Embedders
from models.lexical import LexicalEncoder


@asynccontextmanager
async def open_work(settings: Settings, pool: Pool, embedders: Embedders, indexes: OpenIndexes) -> AsyncIterator[Work]:
    """The builder on the given parts, and what else the tasks need; ends the loader's children with the block."""
    limits = settings.ingest
    async with open_loader(
        timeout_s=limits.load_timeout_s, memory_mb=limits.load_memory_mb, options=read_options(limits)
    ) as loader:
        blobs = guard_blobs(open_blobs(settings), limits)
        guarded = GuardedIndexes(indexes, limits)
        builder = Builder(
            drafts=Drafts(pool),
            progress=Progress(pool),
            removals=Removals(pool, guarded, blobs),
            blobs=blobs,
            loader=loader,
            embedders=GuardedEmbedders(embedders, limits),
            indexes=guarded,
            lexical=LexicalEncoder(),
            chunk_timeout_s=limits.chunk_timeout_s,
        )
        yield Work(pool=pool, builder=builder, reconcile=limits.reconcile, sources=settings.sources)
