"""The write path of one document: load, chunk, plan, embed, apply; and the way back, erase."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.domain import Chunk, Document, DocumentId, DocumentStatus, LoadedDocument, Scope
from core.errors import Unavailable, UnreadableDocument
from core.index import Point, VectorIndex
from ingest.blobs import BlobStore
from ingest.chunking.chunker import open_chunker
from ingest.collection import Collections
from ingest.document import blob_key
from ingest.load import Loader
from ingest.plan import batches, plan_update
from ingest.progress import Claim, Progress
from models.embedder import Embedder
from models.lexical import LexicalEncoder

BATCH = 32


class Pipeline:
    """Carries documents along the write path. An attempt goes on where the last one broke."""

    def __init__(
        self,
        *,
        progress: Progress,
        blobs: BlobStore,
        loader: Loader,
        embedder: Embedder,
        lexical: LexicalEncoder,
        index: VectorIndex,
        collections: Collections,
        chunk_timeout_s: float,
    ) -> None:
        self._progress = progress
        self._blobs = blobs
        self._loader = loader
        self._embedder = embedder
        self._lexical = lexical
        self._index = index
        self._collections = collections
        self._chunk_timeout_s = chunk_timeout_s

    async def ingest(self, document_id: DocumentId) -> None:
        """Bring a document from its bytes into the index.

        Raises:
            Superseded: it was deleted meanwhile, or needs no work.
            UnreadableDocument: its bytes cannot be read.
            Unavailable: a part does not answer; to be tried again.
        """
        document = await self._progress.claim(document_id)
        claim = Claim(document.id, document.generation)
        loaded = await self._load(document)
        await self._progress.advance(claim, DocumentStatus.CHUNKING)
        await self._progress.save_text(claim, loaded)
        chunks = await self._chunk(document, loaded)
        plan = plan_update(await self._progress.stored(document.id), chunks)
        await self._embed(document, claim, plan.embed, total=len(chunks))
        if plan.delete:
            await self._index.delete(document.tenant, document.id, only=plan.delete)
            await self._progress.forget_chunks(document.id, plan.delete)
        embedded = {chunk.id for chunk in plan.embed}
        await self._progress.save_chunks([chunk for chunk in chunks if chunk.id not in embedded])
        await self._progress.finish(claim, len(chunks))

    async def erase(self, document_id: DocumentId) -> None:
        """Remove a document that is being deleted: points, bytes, rows, in this order.

        Raises:
            Unavailable: a part does not answer, or points are left; to be tried again.
        """
        document = await self._progress.deleting(document_id)
        if document is None:
            return
        await self._index.delete(document.tenant, document.id)
        if left := await self._index.count(Scope(tenant=document.tenant), document.id):
            raise Unavailable(f"{left} points of a deleted document are still in the index.")
        await self._blobs.delete(blob_key(document.tenant, document.id))
        await self._progress.erase(document.id)

    async def _load(self, document: Document) -> LoadedDocument:
        with tempfile.TemporaryDirectory(prefix="ragstone-") as folder:
            path = Path(folder) / "original"
            await self._blobs.fetch(blob_key(document.tenant, document.id), path)
            return await self._loader.load(path, document.media_type)

    async def _chunk(self, document: Document, loaded: LoadedDocument) -> Sequence[Chunk]:
        chunker = open_chunker(await self._collections.chunker(document.collection), self._embedder)
        try:
            async with asyncio.timeout(self._chunk_timeout_s):
                return await chunker.chunk(loaded, document.id)
        except TimeoutError as error:
            raise UnreadableDocument(
                f"Dividing the document into passages took longer than {self._chunk_timeout_s:g} s. Split it into "
                "smaller files, or raise INGEST__CHUNK_TIMEOUT_S."
            ) from error

    async def _embed(self, document: Document, claim: Claim, chunks: Sequence[Chunk], *, total: int) -> None:
        """Embed batch by batch; while one is embedded, the one before is applied."""
        done = total - len(chunks)
        await self._progress.advance(claim, DocumentStatus.EMBEDDING, done=done, total=total)
        applying: asyncio.Task[None] | None = None
        try:
            for batch in batches(chunks, BATCH):
                vectors = await self._embedder.embed_documents([chunk.embedded_text for chunk in batch])
                if applying is not None:
                    await applying
                done += len(batch)
                applying = asyncio.create_task(self._apply(document, claim, batch, vectors, done, total))
            if applying is not None:
                await applying
        finally:
            if applying is not None and not applying.done():
                await asyncio.wait([applying])

    async def _apply(
        self,
        document: Document,
        claim: Claim,
        chunks: Sequence[Chunk],
        vectors: NDArray[np.float32],
        done: int,
        total: int,
    ) -> None:
        """Store the points, then the rows: a row says that the point is there."""
        await self._progress.advance(claim, DocumentStatus.EMBEDDING, done=done, total=total)
        lexical = await asyncio.to_thread(self._lexical.encode_documents, [chunk.embedded_text for chunk in chunks])
        await self._index.upsert(
            [
                Point(
                    id=chunk.id,
                    tenant=document.tenant,
                    collection=document.collection,
                    document=document.id,
                    generation=document.generation,
                    dense=vector,
                    lexical=terms,
                )
                for chunk, vector, terms in zip(chunks, vectors, lexical, strict=True)
            ]
        )
        await self._progress.save_chunks(chunks)
