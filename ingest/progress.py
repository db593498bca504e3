"""A document's way along the write path, as the worker records it.

Every step asks whether the document is still wanted: a deletion raises its generation, and the step then answers no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.database import Pool
from core.domain import Chunk, ChunkId, Document, DocumentId, DocumentStatus, LoadedDocument
from ingest.document import SELECT, chunk_values, document_of


class Superseded(Exception):
    """The document was deleted or replaced while it was worked on."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt at one generation of a document."""

    document: DocumentId
    generation: int


class Progress:
    """Writes the worker's progress into ``documents``, ``document_texts`` and ``chunks``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, document: DocumentId) -> Document:
        """Start an attempt.

        Raises:
            Superseded: the document is gone, being deleted, or done already.
        """
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE documents SET status = 'loading', error = NULL, done = 0, total = 0, "
                "updated_at = clock_timestamp() WHERE id = %s AND status NOT IN ('indexed', 'failed', 'deleting')",
                (document,),
            )
            cursor = await connection.execute(f"{SELECT} WHERE d.id = %s AND d.status = 'loading'", (document,))
            row = await cursor.fetchone()
        if row is None:
            raise Superseded
        return document_of(row)

    async def advance(self, claim: Claim, status: DocumentStatus, *, done: int = 0, total: int = 0) -> None:
        """Record the stage, and how many of how many chunks are embedded.

        Raises:
            Superseded: the document is no longer wanted.
        """
        await self._update(claim, "status = %s, done = %s, total = %s", (status, done, total))

    async def save_text(self, claim: Claim, loaded: LoadedDocument) -> None:
        """Keep the text that the chunks' offsets point into."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO document_texts (document_id, text) SELECT id, %s FROM documents "
                "WHERE id = %s AND generation = %s "
                "ON CONFLICT (document_id) DO UPDATE SET text = EXCLUDED.text",
                (loaded.text, claim.document, claim.generation),
            )
        values = (len(loaded.pages) or None, list(loaded.warnings))
        await self._update(claim, "pages = %s, warnings = %s", values)

    async def stored(self, document: DocumentId) -> dict[ChunkId, bytes]:
        """The digest of every chunk whose point is in the index."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT id, digest FROM chunks WHERE document_id = %s", (document,))
            return {ChunkId(row["id"]): bytes(row["digest"]) for row in await cursor.fetchall()}

    async def save_chunks(self, chunks: Sequence[Chunk]) -> None:
        """Record chunks whose points are in the index."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.cursor().executemany(
                "INSERT INTO chunks (id, document_id, ordinal, digest, text, start_offset, end_offset, page, "
                "page_starts, section, context, parent_start, parent_end) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (id) DO UPDATE SET ordinal = EXCLUDED.ordinal, start_offset = EXCLUDED.start_offset, "
                "end_offset = EXCLUDED.end_offset, page = EXCLUDED.page, page_starts = EXCLUDED.page_starts, "
                "parent_start = EXCLUDED.parent_start, parent_end = EXCLUDED.parent_end",
                [chunk_values(chunk) for chunk in chunks],
            )

    async def forget_chunks(self, document: DocumentId, ids: Sequence[ChunkId]) -> None:
        """Drop the rows of chunks whose points are no longer in the index."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "DELETE FROM chunks WHERE document_id = %s AND id = ANY(%s)", (document, list(ids))
            )

    async def finish(self, claim: Claim, chunks: int) -> None:
        """Make the document visible to search.

        Raises:
            Superseded: the document is no longer wanted.
        """
        await self._update(claim, "status = 'indexed', chunks = %s, done = %s, total = %s", (chunks, chunks, chunks))

    async def fail(self, document: DocumentId, reason: str) -> None:
        """Record why the document could not be ingested; it stays, with its bytes, to be retried or deleted."""
        await self._end(document, "failed", reason)

    async def postpone(self, document: DocumentId, reason: str) -> None:
        """Record why the attempt ended; the job will be tried again."""
        await self._end(document, "queued", reason)

    async def erase(self, document: DocumentId) -> None:
        """Remove every row of a document that is being deleted."""
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM documents WHERE id = %s AND status = 'deleting'", (document,))

    async def deleting(self, document: DocumentId) -> Document | None:
        """The document, when it is being deleted."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(f"{SELECT} WHERE d.id = %s AND d.status = 'deleting'", (document,))
            row = await cursor.fetchone()
        return document_of(row) if row else None

    async def _end(self, document: DocumentId, status: str, reason: str) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE documents SET status = %s, error = %s, updated_at = clock_timestamp() "
                "WHERE id = %s AND status NOT IN ('indexed', 'deleting')",
                (status, reason, document),
            )

    async def _update(self, claim: Claim, assignments: str, values: tuple[object, ...]) -> None:
        query = (
            f"UPDATE documents SET {assignments}, updated_at = clock_timestamp() "  # noqa: S608 (constants)
            "WHERE id = %s AND generation = %s AND status <> 'deleting'"
        )
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), (*values, claim.document, claim.generation))
        if cursor.rowcount == 0:
            raise Superseded
