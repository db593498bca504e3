"""The write path of one document: from its bytes to what search sees; and the way back, erase."""

from __future__ import annotations

from dataclasses import dataclass

from core.domain import DocumentId, DocumentStatus, Scope
from core.errors import Unavailable
from ingest.builder import Builder
from ingest.drafts import Claim, StampChanged, Superseded
from ingest.stamp import StampMismatch, remedy
from models.embedders import StampGone


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Carries documents along the write path, and removes them."""

    builder: Builder

    async def ingest(self, document_id: DocumentId) -> None:
        """Bring a document, or a new version of it, from its bytes into what search sees, in one step at the end.

        Raises:
            Superseded: it was deleted or replaced meanwhile, or needs no work.
            StampMismatch: its collection was made with something else than runs now.
            UnreadableDocument: its bytes cannot be read.
            Unavailable: a part does not answer; to be tried again.
        """
        while True:
            claim = await self.builder.progress.claim(document_id, self.builder.embedders.running)
            try:
                await self._build(claim)
                await self.builder.drafts.publish(claim)
                break
            except StampChanged:
                continue
            except Exception as error:  # whatever went wrong with a replaced version is nothing against the new one
                if not await self.builder.progress.is_current(claim):
                    raise Superseded from error
                raise
        await self.builder.removals.try_sweep(document_id)

    async def _build(self, claim: Claim) -> None:
        async def report(status: DocumentStatus, done: int, total: int) -> None:
            await self.builder.progress.advance(claim, status, done=done, total=total)

        try:
            await self.builder.build(claim, report)
        except StampGone as error:
            await self.builder.progress.refuse(claim.document)
            raise StampMismatch(f"{error} {remedy(claim.document.collection_name)}") from error

    async def erase(self, document_id: DocumentId) -> None:
        """Remove a document that is being deleted: points, bytes, rows, in this order.

        Raises:
            Unavailable: a part does not answer, or points are left; to be tried again.
        """
        document = await self.builder.progress.deleting(document_id)
        if document is None:
            return
        embedders, keys = await self.builder.progress.places(document_id)
        for embedder in embedders:
            index = await self.builder.indexes.find(embedder)
            if index is None:
                continue
            await index.delete(document.tenant, document.id)
            if left := await index.count(Scope(tenant=document.tenant), document.id):
                raise Unavailable(f"{left} points of a deleted document are still in the index.")
        for key in sorted(keys):
            await self.builder.blobs.delete(key)
        await self.builder.progress.erase(document.id)
        # What a late attempt has stored since the count, and what was to go anyhow.
        await self.builder.removals.try_sweep(document.id)
