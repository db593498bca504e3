"""A document's way along the write path, as the worker records it.

Every step asks whether the attempt is still wanted: a deletion, a cancellation or a new version raises the document's
generation, and the step then answers no.
"""

from __future__ import annotations

from core.database import Pool
from core.domain import Document, DocumentId, DocumentStatus, EmbedderStamp
from ingest.document import SELECT, document_of
from ingest.drafts import Claim, Connection, Superseded
from ingest.stamp import COLUMNS, StampMismatch, check_stamp, making_of


class Progress:
    """Writes the worker's progress into ``documents``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, document: DocumentId, running: EmbedderStamp) -> Claim:
        """Start an attempt, with what the document's collection was made with.

        Raises:
            Superseded: the document is gone, being deleted, or done already.
            StampMismatch: Ragstone runs something else now, and the collection is not being made anew.
        """
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE documents SET status = 'loading', error = NULL, done = 0, total = 0, "
                "awaits_reembedding = false, updated_at = clock_timestamp() "
                "WHERE id = %s AND status NOT IN ('indexed', 'failed', 'deleting')",
                (document,),
            )
            cursor = await connection.execute(f"{SELECT} WHERE d.id = %s AND d.status = 'loading'", (document,))
            row = await cursor.fetchone()
            if row is None:
                raise Superseded
            return await self._claim(connection, document_of(row), running)

    async def _claim(self, connection: Connection, document: Document, running: EmbedderStamp) -> Claim:
        cursor = await connection.execute(
            f"SELECT {COLUMNS}, chunker_options, EXISTS (SELECT FROM rebuilds r "  # noqa: S608 (constants)
            "WHERE r.collection_id = c.id AND r.status = 'running') AS changing FROM collections c WHERE id = %s",
            (document.collection,),
        )
        row = await cursor.fetchone()
        if row is None:
            raise Superseded
        making = making_of(row)
        try:
            check_stamp(document.collection_name, making, running)
        except StampMismatch:
            # While the collection is made anew, what arrives goes the old way and is made anew with the others.
            if not row["changing"] or making.chunker.stamp != making.stamp.chunker:
                await self._await_reembedding(connection, document)
                raise
        return Claim(document, document.generation, making)

    async def advance(self, claim: Claim, status: DocumentStatus, *, done: int = 0, total: int = 0) -> None:
        """Record the stage, and how many of how many chunks are embedded.

        Raises:
            Superseded: the document is no longer wanted.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE documents SET status = %s, done = %s, total = %s, updated_at = clock_timestamp() "
                "WHERE id = %s AND generation = %s AND status NOT IN ('deleting', 'failed', 'indexed')",
                (status, done, total, claim.document.id, claim.generation),
            )
        if cursor.rowcount == 0:
            raise Superseded

    async def refuse(self, document: Document) -> None:
        """Have the document taken up again once its collection was made anew."""
        async with self._pool.connection() as connection:
            await self._await_reembedding(connection, document)

    async def fail(self, document: DocumentId, reason: str) -> None:
        """Record why the document could not be ingested; it stays, with its bytes, to be retried or deleted.

        A version before it stays what search sees.
        """
        await self._end(document, "failed", reason)

    async def postpone(self, document: DocumentId, reason: str) -> None:
        """Record why the attempt ended; the job will be tried again."""
        await self._end(document, "queued", reason)

    async def erase(self, document: DocumentId) -> None:
        """Remove the rows of a document that is being deleted, but for what is remembered of its points and bytes."""
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM documents WHERE id = %s AND status = 'deleting'", (document,))

    async def deleting(self, document: DocumentId) -> Document | None:
        """The document, when it is being deleted."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(f"{SELECT} WHERE d.id = %s AND d.status = 'deleting'", (document,))
            row = await cursor.fetchone()
        return document_of(row) if row else None

    async def places(self, document: DocumentId) -> tuple[set[EmbedderStamp], set[str]]:
        """Where something of a document may lie: the embedders in whose indexes, and the keys of its bytes."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT c.embedder, c.embedder_revision, c.dimension FROM documents d "
                "JOIN collections c ON c.id = d.collection_id WHERE d.id = %(id)s "
                "UNION SELECT embedder, embedder_revision, dimension FROM document_drafts WHERE document_id = %(id)s "
                "UNION SELECT embedder, embedder_revision, dimension FROM point_removals WHERE document_id = %(id)s",
                {"id": document},
            )
            embedders = {EmbedderStamp(*row.values()) for row in await cursor.fetchall()}
            cursor = await connection.execute(
                "SELECT unnest(array[blob, live_blob]) AS key FROM documents WHERE id = %(id)s "
                "UNION SELECT key FROM blob_removals WHERE document_id = %(id)s",
                {"id": document},
            )
            keys = {str(row["key"]) for row in await cursor.fetchall() if row["key"] is not None}
        return embedders, keys

    async def is_current(self, claim: Claim) -> bool:
        """Whether the attempt still counts."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT FROM documents WHERE id = %s AND generation = %s", (claim.document.id, claim.generation)
            )
            return cursor.rowcount > 0

    async def exists(self, document: DocumentId) -> bool:
        """Whether the document's row is there, in whatever state."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT FROM documents WHERE id = %s", (document,))
            return cursor.rowcount > 0

    async def _await_reembedding(self, connection: Connection, document: Document) -> None:
        await connection.execute(
            "UPDATE documents SET awaits_reembedding = true WHERE id = %s AND generation = %s",
            (document.id, document.generation),
        )

    async def _end(self, document: DocumentId, status: str, reason: str) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE documents SET status = %s, updated_at = clock_timestamp(), error = %s || "
                "CASE WHEN live_version IS NULL THEN '' ELSE ' Search finds version ' || live_version || "
                "' of it meanwhile.' END WHERE id = %s AND status NOT IN ('indexed', 'deleting')",
                (status, reason, document),
            )
