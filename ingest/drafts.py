"""What a document will be when all of its points are there; it becomes what search sees in one transaction.

Rows come before points: a draft is written, then its point is stored, then the draft says so. So a killed attempt is
continued with the drafts whose points are there, and no point is ever unknown to PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import DictRow

from core.database import Pool
from core.domain import Chunk, ChunkId, Document, DocumentId, LoadedDocument
from ingest.document import chunk_values
from ingest.stamp import COLUMNS, Making, stamp_of

Connection = psycopg.AsyncConnection[DictRow]

INSERT_DRAFT = (
    "INSERT INTO chunk_drafts (id, document_id, ordinal, digest, text, start_offset, end_offset, page, page_starts, "
    "section, context, parent_start, parent_end, generation, rebuild, stored) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, false) "
    "ON CONFLICT (document_id, rebuild, id) DO UPDATE SET ordinal = EXCLUDED.ordinal, "
    "start_offset = EXCLUDED.start_offset, end_offset = EXCLUDED.end_offset, page = EXCLUDED.page, "
    "page_starts = EXCLUDED.page_starts, parent_start = EXCLUDED.parent_start, parent_end = EXCLUDED.parent_end"
)
"""`ingest.document.chunk_values`, generation and rebuild; only what may change of a chunk that stays is changed."""

PUBLISH = (
    # The points of chunks that vanish; all, where the drafts are of another embedder.
    (
        "INSERT INTO point_removals (document_id, tenant_id, embedder, embedder_revision, dimension, chunk_id) "
        "SELECT d.id, d.tenant_id, co.embedder, co.embedder_revision, co.dimension, c.id FROM document_drafts h "
        "JOIN documents d ON d.id = h.document_id JOIN collections co ON co.id = d.collection_id "
        "JOIN chunks c ON c.document_id = d.id WHERE h.document_id = ANY(%(documents)s) AND h.rebuild = %(rebuild)s "
        "AND (NOT EXISTS "
        "  (SELECT FROM chunk_drafts f WHERE f.document_id = d.id AND f.rebuild = h.rebuild AND f.id = c.id) "
        "  OR (co.embedder, co.embedder_revision, co.dimension) <> (h.embedder, h.embedder_revision, h.dimension)"
        ") ON CONFLICT DO NOTHING"
    ),
    (
        "DELETE FROM chunks c USING document_drafts h WHERE h.document_id = c.document_id "
        "AND h.document_id = ANY(%(documents)s) AND h.rebuild = %(rebuild)s AND NOT EXISTS "
        "(SELECT FROM chunk_drafts f WHERE f.document_id = c.document_id AND f.rebuild = h.rebuild AND f.id = c.id)"
    ),
    (
        "INSERT INTO chunks (id, document_id, ordinal, digest, text, start_offset, end_offset, page, page_starts, "
        "section, context, parent_start, parent_end, generation) "
        "SELECT id, document_id, ordinal, digest, text, start_offset, end_offset, page, page_starts, "
        "section, context, parent_start, parent_end, generation FROM chunk_drafts "
        "WHERE document_id = ANY(%(documents)s) AND rebuild = %(rebuild)s "
        "ON CONFLICT (id) DO UPDATE SET ordinal = EXCLUDED.ordinal, start_offset = EXCLUDED.start_offset, "
        "end_offset = EXCLUDED.end_offset, page = EXCLUDED.page, page_starts = EXCLUDED.page_starts, "
        "parent_start = EXCLUDED.parent_start, parent_end = EXCLUDED.parent_end, generation = EXCLUDED.generation"
    ),
    (
        "INSERT INTO document_texts (document_id, text) SELECT document_id, text FROM document_drafts "
        "WHERE document_id = ANY(%(documents)s) AND rebuild = %(rebuild)s "
        "ON CONFLICT (document_id) DO UPDATE SET text = EXCLUDED.text"
    ),
    (
        "UPDATE documents d SET pages = h.pages, warnings = h.warnings, chunks = (SELECT count(*) FROM chunk_drafts f "
        "WHERE f.document_id = h.document_id AND f.rebuild = h.rebuild) FROM document_drafts h "
        "WHERE h.document_id = d.id AND d.id = ANY(%(documents)s) AND h.rebuild = %(rebuild)s"
    ),
    "DELETE FROM document_drafts WHERE document_id = ANY(%(documents)s) AND rebuild = %(rebuild)s",
)
DISCARD = (
    (
        "INSERT INTO point_removals (document_id, tenant_id, embedder, embedder_revision, dimension, chunk_id) "
        "SELECT d.id, d.tenant_id, h.embedder, h.embedder_revision, h.dimension, f.id FROM document_drafts h "
        "JOIN documents d ON d.id = h.document_id "
        "JOIN chunk_drafts f ON f.document_id = h.document_id AND f.rebuild = h.rebuild "
        "WHERE h.document_id = ANY(%(documents)s) AND h.rebuild = %(rebuild)s ON CONFLICT DO NOTHING"
    ),
    "DELETE FROM document_drafts WHERE document_id = ANY(%(documents)s) AND rebuild = %(rebuild)s",
)


class Superseded(Exception):
    """The document was deleted or replaced while it was worked on."""


class StampChanged(Exception):
    """The collection was changed to another stamp while the document was worked on."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt to make one generation of a document with one making.

    ``rebuild``: for the stamp that the collection is being changed to, from the bytes that search answers from.
    """

    document: Document
    generation: int
    making: Making
    rebuild: bool = False


class Drafts:
    """The rows of ``document_drafts`` and ``chunk_drafts``.

    Every method raises `Superseded` or `StampChanged` when the claim is no longer wanted.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(self, claim: Claim, loaded: LoadedDocument, chunks: Sequence[Chunk]) -> set[ChunkId]:
        """Write down what the document will be; gives the chunks whose points are there already."""
        async with self._pool.connection() as connection, connection.transaction():
            await hold(connection, claim)
            await self._discard_foreign(connection, claim)
            await connection.execute(
                f"INSERT INTO document_drafts (document_id, rebuild, generation, {COLUMNS}, text, pages, warnings) "  # noqa: S608 (constants)
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (document_id, rebuild) DO UPDATE SET generation = EXCLUDED.generation, "
                "chunker = EXCLUDED.chunker, text = EXCLUDED.text, pages = EXCLUDED.pages, "
                "warnings = EXCLUDED.warnings",
                (
                    claim.document.id,
                    claim.rebuild,
                    claim.generation,
                    *claim.making.stamp.values,
                    loaded.text,
                    len(loaded.pages) or None,
                    list(loaded.warnings),
                ),
            )
            await self._discard(connection, claim, keep=[chunk.id for chunk in chunks])
            await connection.cursor().executemany(
                INSERT_DRAFT,
                [(*chunk_values(chunk), claim.generation, claim.rebuild) for chunk in chunks],
            )
            return await self._adopt(connection, claim)

    async def store(self, claim: Claim, chunks: Collection[ChunkId]) -> None:
        """Record that the points of these drafts are there."""
        async with self._pool.connection() as connection, connection.transaction():
            await hold(connection, claim)
            cursor = await connection.execute(
                "UPDATE chunk_drafts SET stored = true, generation = %s "
                "WHERE document_id = %s AND rebuild = %s AND id = ANY(%s)",
                (claim.generation, claim.document.id, claim.rebuild, list(chunks)),
            )
            if cursor.rowcount != len(chunks):
                raise Superseded

    async def publish(self, claim: Claim) -> None:
        """Make the drafts what search sees, with the text; what vanished is gone for search in the same moment."""
        async with self._pool.connection() as connection, connection.transaction():
            await hold(connection, claim)
            await publish(connection, [claim.document.id], rebuild=False)
            await connection.execute(
                "INSERT INTO blob_removals (key, document_id) SELECT live_blob, id FROM documents "
                "WHERE id = %s AND live_blob <> blob ON CONFLICT DO NOTHING",
                (claim.document.id,),
            )
            await connection.execute(
                "UPDATE documents SET status = 'indexed', done = chunks, total = chunks, error = NULL, "
                "live_generation = generation, live_version = version, live_blob = blob, "
                "live_media_type = media_type, live_name = name, live_size = size, live_metadata = metadata, "
                "updated_at = clock_timestamp() WHERE id = %s",
                (claim.document.id,),
            )

    async def _discard_foreign(self, connection: Connection, claim: Claim) -> None:
        """Drafts whose points lie in another embedder's index or are encoded otherwise, of a change given up."""
        stamp = claim.making.stamp
        cursor = await connection.execute(
            "SELECT FROM document_drafts WHERE document_id = %s AND rebuild = %s "
            "AND (embedder, embedder_revision, dimension, lexical) <> (%s, %s, %s, %s)",
            (claim.document.id, claim.rebuild, *stamp.embedder, stamp.lexical),
        )
        if cursor.rowcount:
            await discard(connection, [claim.document.id], rebuild=claim.rebuild)

    async def _discard(self, connection: Connection, claim: Claim, *, keep: list[ChunkId]) -> None:
        """Drafts of an earlier attempt that this one does not want; their points may be there."""
        await connection.execute(
            "WITH gone AS (DELETE FROM chunk_drafts WHERE document_id = %s AND rebuild = %s AND id <> ALL(%s) "
            "RETURNING id) INSERT INTO point_removals "
            "(document_id, tenant_id, embedder, embedder_revision, dimension, chunk_id) "
            "SELECT %s, %s, %s, %s, %s, id FROM gone ON CONFLICT DO NOTHING",
            (
                claim.document.id,
                claim.rebuild,
                keep,
                claim.document.id,
                claim.document.tenant,
                *claim.making.stamp.embedder,
            ),
        )

    async def _adopt(self, connection: Connection, claim: Claim) -> set[ChunkId]:
        """Take over the points of chunks that search sees already, where they are embedded and encoded the same."""
        stamp = claim.making.stamp
        await connection.execute(
            "UPDATE chunk_drafts f SET stored = true, generation = c.generation "
            "FROM chunks c JOIN documents d ON d.id = c.document_id JOIN collections co ON co.id = d.collection_id "
            "WHERE c.id = f.id AND f.document_id = %s AND f.rebuild = %s AND NOT f.stored AND c.digest = f.digest "
            "AND (co.embedder, co.embedder_revision, co.dimension, co.lexical) = (%s, %s, %s, %s)",
            (claim.document.id, claim.rebuild, *stamp.embedder, stamp.lexical),
        )
        cursor = await connection.execute(
            "SELECT id FROM chunk_drafts WHERE document_id = %s AND rebuild = %s AND stored",
            (claim.document.id, claim.rebuild),
        )
        return {ChunkId(row["id"]) for row in await cursor.fetchall()}


async def hold(connection: Connection, claim: Claim) -> None:
    """Keep the collection's stamp and the document's row as they are until the transaction ends.

    Raises:
        Superseded: the document is no longer wanted in this generation.
        StampChanged: the stamp is no longer wanted.
    """
    stamp = (
        f"SELECT {COLUMNS} FROM rebuilds "  # noqa: S608 (constants)
        "WHERE collection_id = %s AND status = 'running' AND chunker IS NOT NULL FOR SHARE"
        if claim.rebuild
        else f"SELECT {COLUMNS} FROM collections WHERE id = %s FOR SHARE"  # noqa: S608 (constants)
    )
    cursor = await connection.execute(stamp, (claim.document.collection,))
    row = await cursor.fetchone()
    if row is None or stamp_of(row) != claim.making.stamp:
        raise StampChanged
    row_lock = (
        "SELECT FROM documents WHERE id = %s AND live_generation = %s AND status <> 'deleting' FOR UPDATE"
        if claim.rebuild
        else "SELECT FROM documents WHERE id = %s AND generation = %s AND status <> 'deleting' FOR UPDATE"
    )
    cursor = await connection.execute(row_lock, (claim.document.id, claim.generation))
    if cursor.rowcount == 0:
        raise Superseded


async def publish(connection: Connection, documents: Sequence[DocumentId], *, rebuild: bool) -> None:
    """Replace text and chunks of documents by their drafts, and remember the points that are to go.

    Runs in the caller's transaction, which holds the rows. When the embedder changes, those are all that were live.
    """
    values = {"documents": list(documents), "rebuild": rebuild}
    for statement in PUBLISH:
        await connection.execute(statement, values)


async def discard(connection: Connection, documents: Sequence[DocumentId], *, rebuild: bool) -> None:
    """Drop the drafts of documents, and remember the points that they may have; in the caller's transaction."""
    values = {"documents": list(documents), "rebuild": rebuild}
    for statement in DISCARD:
        await connection.execute(statement, values)
