"""Documents as rows: accepted, moved along the write path, listed and deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from core.database import Pool, chunk_of
from core.domain import Chunk, CollectionId, Document, DocumentId, DocumentStatus, TenantId
from core.errors import Conflict, NotFound

Connection = psycopg.AsyncConnection[DictRow]

COLUMNS = (
    "d.id, d.tenant_id AS tenant, d.collection_id AS collection, c.name AS collection_name, d.sha256, d.name, "
    "d.media_type, d.size, d.metadata, d.status, d.done, d.total, d.error, d.warnings, d.pages, d.chunks, "
    "d.generation, d.source_id, d.version, d.blob, d.live_generation, d.live_version, d.live_blob, d.live_media_type, "
    "d.live_name, d.live_metadata, d.job_id, d.created_at, d.updated_at"
)
SELECT = f"SELECT {COLUMNS} FROM documents d JOIN collections c ON c.id = d.collection_id"  # noqa: S608 (constants)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What is known of a file when it has been received."""

    name: str
    media_type: str
    size: int
    sha256: str
    metadata: Mapping[str, Any]
    source_id: str | None = None


def document_of(row: DictRow) -> Document:
    """A document from its row."""
    return Document(**{**row, "status": DocumentStatus(row["status"])})


def blob_key(tenant: TenantId, id: DocumentId) -> str:  # noqa: A002 (it is one)
    """Where the bytes lie that were stored under a new id: that of the document for its first version."""
    return f"{tenant}/{id}"


class Documents:
    """The rows of ``documents``, ``document_texts`` and ``chunks``; every read names its tenant."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def accept(
        self,
        connection: Connection,
        tenant: TenantId,
        collection: CollectionId,
        upload: Upload,
        id: DocumentId | None,  # noqa: A002 (it is one)
    ) -> tuple[Document, bool]:
        """Take the bytes in: as a new document, as a new version of one, or as those of one that is there already.

        The flag says whether there is something to ingest. The bytes lie under ``id``; without an id the document is
        only looked for. Runs in the caller's transaction, so that row and job come to be together.

        Raises:
            Conflict: there is none, and no id to insert it under; or another document of the collection has the bytes.
        """
        if upload.source_id is not None:
            known = await self._of_source(connection, tenant, collection, upload.source_id)
            if known is not None:
                if known.sha256 == upload.sha256:
                    return known, False
                if id is not None:
                    return await self._replace(connection, known, upload, id), True
        cursor = await connection.execute(
            "INSERT INTO documents (id, tenant_id, collection_id, sha256, name, media_type, size, metadata, "
            "source_id, blob) SELECT %s::uuid, %s, %s, %s, %s, %s, %s, %s, %s, %s WHERE %s "
            "ON CONFLICT DO NOTHING RETURNING id",
            (
                id,
                tenant,
                collection,
                upload.sha256,
                upload.name,
                upload.media_type,
                upload.size,
                Jsonb(upload.metadata),
                upload.source_id,
                "" if id is None else blob_key(tenant, id),
                id is not None,
            ),
        )
        created = await cursor.fetchone() is not None
        cursor = await connection.execute(
            f"{SELECT} WHERE d.tenant_id = %s AND d.collection_id = %s AND d.sha256 = %s AND d.status <> 'deleting'",
            (tenant, collection, upload.sha256),
        )
        row = await cursor.fetchone()
        if row is None:
            raise Conflict("The same document is being deleted or uploaded at this moment. Try again.")
        document = document_of(row)
        if upload.source_id is not None and document.source_id != upload.source_id:
            await self._adopt(connection, document, upload.source_id)
        return document, created

    async def _of_source(
        self, connection: Connection, tenant: TenantId, collection: CollectionId, source_id: str
    ) -> Document | None:
        """The document of a source, which nobody else changes until the transaction ends."""
        cursor = await connection.execute(
            f"{SELECT} WHERE d.tenant_id = %s AND d.collection_id = %s AND d.source_id = %s "
            "AND d.status <> 'deleting' FOR UPDATE OF d",
            (tenant, collection, source_id),
        )
        row = await cursor.fetchone()
        return document_of(row) if row else None

    async def _replace(
        self,
        connection: Connection,
        known: Document,
        upload: Upload,
        id: DocumentId,  # noqa: A002 (of the bytes)
    ) -> Document:
        """Make the bytes the newest version; search sees the one before, as it was, until they are ingested."""
        await connection.execute(
            "INSERT INTO blob_removals (key, document_id) SELECT blob, id FROM documents "
            "WHERE id = %s AND blob IS DISTINCT FROM live_blob ON CONFLICT DO NOTHING",
            (known.id,),
        )
        try:
            await connection.execute(
                "UPDATE documents SET sha256 = %s, name = %s, media_type = %s, size = %s, metadata = %s, blob = %s, "
                "version = version + 1, generation = generation + 1, status = 'queued', error = NULL, done = 0, "
                "total = 0, awaits_reembedding = false, updated_at = clock_timestamp() WHERE id = %s",
                (
                    upload.sha256,
                    upload.name,
                    upload.media_type,
                    upload.size,
                    Jsonb(upload.metadata),
                    blob_key(known.tenant, id),
                    known.id,
                ),
            )
        except psycopg.errors.UniqueViolation as error:
            raise Conflict(_taken(upload)) from error
        cursor = await connection.execute(f"{SELECT} WHERE d.id = %s", (known.id,))
        (row,) = await cursor.fetchall()
        return document_of(row)

    async def _adopt(self, connection: Connection, document: Document, source_id: str) -> None:
        """Let a document that has no source, or whose bytes come from several, be known by this one if it can."""
        cursor = await connection.execute(
            "SELECT FROM documents WHERE tenant_id = %s AND collection_id = %s AND source_id = %s "
            "AND status <> 'deleting'",
            (document.tenant, document.collection, source_id),
        )
        if cursor.rowcount:
            raise Conflict(_taken_by(document, source_id))
        if document.source_id is None:
            try:
                await connection.execute(
                    "UPDATE documents SET source_id = %s, updated_at = clock_timestamp() WHERE id = %s",
                    (source_id, document.id),
                )
            except psycopg.errors.UniqueViolation as error:
                raise Conflict("The same source is being uploaded at this moment. Try again.") from error

    async def known(
        self, connection: Connection, tenant: TenantId, collection: CollectionId, digests: Sequence[str]
    ) -> dict[str, tuple[str, DocumentStatus]]:
        """Those of the SHA-256 digests that the collection has a document of: the key of its bytes, and its status."""
        cursor = await connection.execute(
            "SELECT sha256, blob, status FROM documents WHERE tenant_id = %s AND collection_id = %s "
            "AND sha256 = ANY(%s) AND status <> 'deleting'",
            (tenant, collection, list(digests)),
        )
        return {row["sha256"]: (row["blob"], DocumentStatus(row["status"])) for row in await cursor.fetchall()}

    async def attach_job(self, connection: Connection, document: DocumentId, job_id: int) -> None:
        """Remember the job that works on the document."""
        await connection.execute("UPDATE documents SET job_id = %s WHERE id = %s", (job_id, document))

    async def get(self, tenant: TenantId, document: DocumentId) -> Document:
        """One document.

        Raises:
            NotFound: the tenant has none with this id, or it is being deleted.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"{SELECT} WHERE d.tenant_id = %s AND d.id = %s AND d.status <> 'deleting'",
                (tenant, document),
            )
            row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"There is no document {str(document)!r}. GET /documents lists those that you may read.")
        return document_of(row)

    async def select(
        self,
        tenant: TenantId,
        *,
        collection: str | None = None,
        status: str | None = None,
        name: str | None = None,
        source: str | None = None,
        after: tuple[datetime, DocumentId] | None = None,
        limit: int = 50,
    ) -> list[Document]:
        """Documents, newest first; ``after`` is the place where the previous page ended."""
        conditions, values = ["d.tenant_id = %s", "d.status <> 'deleting'"], [tenant]
        filters: list[tuple[str, Any]] = [
            ("c.name = %s", collection),
            ("d.status = %s", status),
            ("position(lower(%s) in lower(d.name)) > 0", name),
            ("starts_with(d.source_id, %s)", source),
            ("(d.created_at, d.id) < (%s, %s)", after),
        ]
        for condition, value in filters:
            if value is not None:
                conditions.append(condition)
                values.extend(value if isinstance(value, tuple) else [value])
        query = f"{SELECT} WHERE {' AND '.join(conditions)} ORDER BY d.created_at DESC, d.id DESC LIMIT %s"
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), [*values, limit])
            return [document_of(row) for row in await cursor.fetchall()]

    async def changed_since(self, tenant: TenantId, moment: datetime) -> list[Document]:
        """Documents that changed at ``moment`` or later, in the order of their changes."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"{SELECT} WHERE d.tenant_id = %s AND d.updated_at >= %s ORDER BY d.updated_at LIMIT 1000",
                (tenant, moment),
            )
            return [document_of(row) for row in await cursor.fetchall()]

    async def chunks(self, tenant: TenantId, document: DocumentId, *, first: int, limit: int) -> list[Chunk]:
        """The chunks from ordinal ``first`` on, in reading order."""
        await self.get(tenant, document)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM chunks WHERE document_id = %s AND ordinal >= %s ORDER BY ordinal LIMIT %s",
                (document, first, limit),
            )
            return [chunk_of(row) for row in await cursor.fetchall()]

    async def text(self, tenant: TenantId, document: DocumentId, start: int, end: int) -> tuple[str, int]:
        """Characters ``start:end`` of the document's text, and the length of the whole.

        Raises:
            NotFound: no such document, or it has not been read yet.
        """
        await self.get(tenant, document)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT substr(text, %s, %s) AS part, length(text) AS length FROM document_texts "
                "WHERE document_id = %s",
                (start + 1, max(0, end - start), document),
            )
            row = await cursor.fetchone()
        if row is None:
            raise NotFound("The document's text is not there yet. Wait until it has a 'live_version'.")
        return row["part"], row["length"]

    async def start_deletion(self, connection: Connection, tenant: TenantId, document: DocumentId) -> None:
        """Hide the document from every read, from this transaction on.

        Raises:
            NotFound: the tenant has none with this id.
        """
        cursor = await connection.execute(
            "UPDATE documents SET status = 'deleting', generation = generation + 1, updated_at = clock_timestamp() "
            "WHERE id = %s AND tenant_id = %s AND status <> 'deleting'",
            (document, tenant),
        )
        if cursor.rowcount == 0:
            raise NotFound(f"There is no document {str(document)!r}. GET /documents lists those that you may read.")

    async def requeue(self, connection: Connection, tenant: TenantId, document: DocumentId) -> None:
        """Put a failed document back to the start of the write path.

        Raises:
            Conflict: it has not failed.
        """
        cursor = await connection.execute(
            "UPDATE documents SET status = 'queued', error = NULL, done = 0, total = 0, "
            "updated_at = clock_timestamp() WHERE id = %s AND tenant_id = %s AND status = 'failed'",
            (document, tenant),
        )
        if cursor.rowcount == 0:
            raise Conflict("Only a failed document can be retried.")


def _taken(upload: Upload) -> str:
    return (
        f"{upload.name!r} has the bytes of another document of the collection, and the same bytes are one document. "
        "Delete one of the two, or use another collection."
    )


def _taken_by(document: Document, source_id: str) -> str:
    return (
        f"The new bytes of source {source_id!r} are those of the document {document.name!r} ({document.id}) of the "
        "collection, and the same bytes are one document. Delete one of the two, or use another collection."
    )


def chunk_values(chunk: Chunk) -> Sequence[Any]:
    """The row of a chunk, in the order that `ingest.drafts` inserts it in."""
    places = [chunk.start, chunk.end, chunk.page, list(chunk.page_starts)]
    around = [list(chunk.section), chunk.context, chunk.parent_start, chunk.parent_end]
    return [chunk.id, chunk.document, chunk.ordinal, chunk.digest, chunk.text, *places, *around]
