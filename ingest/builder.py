"""Makes the drafts of a document, and stores their points: load, chunk, plan, embed, apply."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.domain import Chunk, DocumentStatus, LoadedDocument
from core.errors import NotFound, UnreadableDocument
from core.index import Point, VectorIndex
from ingest.blobs import BlobStore
from ingest.chunking.chunker import open_chunker
from ingest.drafts import Claim, Drafts, StampChanged, Superseded
from ingest.guarded import GuardedEmbedders, GuardedIndexes
from ingest.load import Loader
from ingest.plan import batches, chunks_to_embed
from ingest.progress import Progress
from ingest.removals import Removals
from models.embedder import Embedder
from models.lexical import LexicalEncoder

BATCH = 32

Report: TypeAlias = Callable[[DocumentStatus, int, int], Awaitable[None]]
"""Is told the stage, and how many of how many chunks are embedded; may raise `Superseded`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """Makes documents anew beside what search sees. An attempt goes on where the last one broke."""

    drafts: Drafts
    progress: Progress
    removals: Removals
    blobs: BlobStore
    loader: Loader
    embedders: GuardedEmbedders
    indexes: GuardedIndexes
    lexical: LexicalEncoder
    chunk_timeout_s: float

    async def build(self, claim: Claim, report: Report) -> None:
        """Make the drafts of a claim, to the last point.

        Raises:
            Superseded: the document is no longer wanted in this generation.
            StampChanged: the collection was changed to another stamp.
            StampGone: the embedder cannot be loaded any more.
            UnreadableDocument: its bytes cannot be read.
            Unavailable: a part does not answer; to be tried again.
        """
        embedder = await self.embedders.get(claim.making.stamp.embedder)
        loaded = await self._load(claim)
        await report(DocumentStatus.CHUNKING, 0, 0)
        chunks = await self._chunk(claim, loaded, embedder)
        # Before the stamp is looked at again: an index that is dropped from now on is not made anew.
        index = await self.indexes.open(claim.making.stamp.embedder)
        stored = await self.drafts.begin(claim, loaded, chunks)
        await self._embed(claim, chunks_to_embed(stored, chunks), len(chunks), embedder, index, report)

    async def _load(self, claim: Claim) -> LoadedDocument:
        document = claim.document
        blob = document.live_blob if claim.rebuild else document.blob
        media_type = document.live_media_type if claim.rebuild else document.media_type
        if blob is None or media_type is None:
            raise NotFound("The original file is no longer there; upload the document again.")
        with tempfile.TemporaryDirectory(prefix="ragstone-") as folder:
            path = Path(folder) / "original"
            await self.blobs.fetch(blob, path)
            return await self.loader.load(path, media_type)

    async def _chunk(self, claim: Claim, loaded: LoadedDocument, embedder: Embedder) -> Sequence[Chunk]:
        chunker = open_chunker(claim.making.chunker, embedder)
        try:
            async with asyncio.timeout(self.chunk_timeout_s):
                return await chunker.chunk(loaded, claim.document.id)
        except TimeoutError as error:
            raise UnreadableDocument(
                f"Dividing the document into passages took longer than {self.chunk_timeout_s:g} s. Split it into "
                "smaller files, or raise INGEST__CHUNK_TIMEOUT_S."
            ) from error

    async def _embed(
        self, claim: Claim, chunks: Sequence[Chunk], total: int, embedder: Embedder, index: VectorIndex, report: Report
    ) -> None:
        """Embed batch by batch; while one is embedded, the one before is applied."""
        done = total - len(chunks)
        await report(DocumentStatus.EMBEDDING, done, total)
        applying: asyncio.Task[None] | None = None
        try:
            for batch in batches(chunks, BATCH):
                vectors = await embedder.embed_documents([chunk.embedded_text for chunk in batch])
                if applying is not None:
                    await applying
                done += len(batch)
                await report(DocumentStatus.EMBEDDING, done, total)
                applying = asyncio.create_task(self._apply(claim, batch, vectors, index))
            if applying is not None:
                await applying
        finally:
            if applying is not None and not applying.done():
                await asyncio.wait([applying])

    async def _apply(
        self, claim: Claim, chunks: Sequence[Chunk], vectors: NDArray[np.float32], index: VectorIndex
    ) -> None:
        """Store the points, then say so in the drafts."""
        document = claim.document
        lexical = await asyncio.to_thread(self.lexical.encode_documents, [chunk.embedded_text for chunk in chunks])
        await index.upsert(
            [
                Point(
                    id=chunk.id,
                    tenant=document.tenant,
                    collection=document.collection,
                    document=document.id,
                    generation=claim.generation,
                    dense=vector,
                    lexical=terms,
                )
                for chunk, vector, terms in zip(chunks, vectors, lexical, strict=True)
            ]
        )
        ids = [chunk.id for chunk in chunks]
        try:
            await self.drafts.store(claim, ids)
        except (Superseded, StampChanged):
            if await self.progress.exists(document.id):
                await self.removals.remember(document.tenant, document.id, claim.making.stamp.embedder, ids)
            else:
                # Whoever erased it has counted its points before these came; its id never comes back.
                await index.delete(document.tenant, document.id, only=ids)
            raise
