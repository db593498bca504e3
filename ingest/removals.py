"""Points and files that are to go: remembered with what made them superfluous, and carried out until done."""

from __future__ import annotations

import logging

from core.database import Pool
from core.domain import ChunkId, DocumentId, EmbedderStamp, TenantId
from core.errors import PlatformError
from ingest.blobs import BlobStore
from ingest.guarded import GuardedIndexes
from ingest.stamp import embedder_of

logger = logging.getLogger(__name__)

WANTED = (
    "EXISTS (SELECT FROM chunks c JOIN documents d ON d.id = c.document_id JOIN collections co "
    "  ON co.id = d.collection_id WHERE c.id = r.chunk_id "
    "  AND (co.embedder, co.embedder_revision, co.dimension) = (r.embedder, r.embedder_revision, r.dimension)) "
    "OR EXISTS (SELECT FROM chunk_drafts f JOIN document_drafts h USING (document_id, rebuild) "
    "  WHERE f.document_id = r.document_id AND f.id = r.chunk_id "
    "  AND (h.embedder, h.embedder_revision, h.dimension) = (r.embedder, r.embedder_revision, r.dimension))"
)
"""Whether the point of a removal ``r`` is a live one or may become one: the same passage has come back."""


class Removals:
    """Carries out the rows of ``point_removals`` and ``blob_removals``."""

    def __init__(self, pool: Pool, indexes: GuardedIndexes, blobs: BlobStore) -> None:
        self._pool = pool
        self._indexes = indexes
        self._blobs = blobs

    async def remember(
        self, tenant: TenantId, document: DocumentId, embedder: EmbedderStamp, chunks: list[ChunkId]
    ) -> None:
        """Have points removed that nobody may want."""
        async with self._pool.connection() as connection:
            await connection.cursor().executemany(
                "INSERT INTO point_removals (document_id, tenant_id, embedder, embedder_revision, dimension, chunk_id) "
                "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [(document, tenant, *embedder, chunk) for chunk in chunks],
            )

    async def try_sweep(self, document: DocumentId) -> None:
        """Carry out the removals of a document; what does not succeed now is left to the upkeep."""
        try:
            await self.sweep(document)
        except PlatformError as error:
            logger.warning("superfluous points of document %s stay for now: %s", document, type(error).__name__)

    async def sweep(self, document: DocumentId) -> None:
        """Carry out the removals of a document.

        Raises:
            Unavailable: a part does not answer; what is left stays remembered.
        """
        while await self._sweep_points(document):
            pass
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT key FROM blob_removals WHERE document_id = %s", (document,))
            keys = [str(row["key"]) for row in await cursor.fetchall()]
        for key in keys:
            await self._blobs.delete(key)
            async with self._pool.connection() as connection:
                await connection.execute("DELETE FROM blob_removals WHERE key = %s", (key,))

    async def sweep_all(self) -> int:
        """Carry out all removals; gives the number of documents that had some.

        Raises:
            Unavailable: a part does not answer; what is left stays remembered.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT document_id FROM point_removals UNION SELECT document_id FROM blob_removals"
            )
            documents = [DocumentId(row["document_id"]) for row in await cursor.fetchall()]
        for document in documents:
            await self.sweep(document)
        return len(documents)

    async def _sweep_points(self, document: DocumentId) -> bool:
        """One index at a time; whether there was one."""
        async with self._pool.connection() as connection, connection.transaction():
            # Who writes drafts holds the row too, so that no point comes back between the question and the removal.
            await connection.execute("SELECT FROM documents WHERE id = %s FOR UPDATE", (document,))
            await connection.execute(
                f"DELETE FROM point_removals r WHERE document_id = %s AND ({WANTED})",  # noqa: S608 (constants)
                (document,),
            )
            cursor = await connection.execute(
                "SELECT tenant_id, embedder, embedder_revision, dimension, array_agg(chunk_id) AS chunks "
                "FROM point_removals WHERE document_id = %s "
                "GROUP BY tenant_id, embedder, embedder_revision, dimension LIMIT 1",
                (document,),
            )
            row = await cursor.fetchone()
            if row is None:
                return False
            embedder = embedder_of(row)
            index = await self._indexes.find(embedder)
            if index is not None:
                await index.delete(TenantId(row["tenant_id"]), document, only=row["chunks"])
            await connection.execute(
                "DELETE FROM point_removals WHERE document_id = %s "
                "AND (embedder, embedder_revision, dimension) = (%s, %s, %s) AND chunk_id = ANY(%s)",
                (document, *embedder, row["chunks"]),
            )
        return True
