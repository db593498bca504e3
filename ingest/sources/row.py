"""Sources as rows: where to look, what was found there the last time, and which documents came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict

from core.database import Pool
from core.domain import CollectionId, DocumentId, Schema, TenantId
from core.errors import NotFound
from ingest.collection import read_schema
from ingest.document import Connection

SourceId = NewType("SourceId", UUID)
MOST_FAILURES = 100


class SourceKind(StrEnum):
    """What an address is."""

    WEB = "web"
    SITEMAP = "sitemap"
    FOLDER = "folder"
    PREFIX = "prefix"


class SourceStatus(StrEnum):
    """What a source does; ``failed`` is how its last look ended."""

    IDLE = "idle"
    QUEUED = "queued"
    SYNCING = "syncing"
    FAILED = "failed"


class SourceOptions(BaseModel):
    """Which items are wanted, and whether those that are gone are removed."""

    model_config = ConfigDict(frozen=True)

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    mirror: bool = False
    other_hosts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWish:
    """A source as somebody asks for it."""

    kind: SourceKind
    address: str
    options: SourceOptions
    metadata: Mapping[str, Any]
    interval_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry(SourceWish):
    """A source's row; ``documents`` counts what came of it by status, ``counts`` what its last look did."""

    id: SourceId
    tenant: TenantId
    collection: CollectionId
    collection_name: str
    metadata_schema: Schema | None
    status: SourceStatus
    error: str | None
    counts: Mapping[str, int]
    documents: Mapping[str, int]
    synced_at: datetime | None
    tried_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An item that could not be taken, and why."""

    path: str
    error: str


SELECT = (
    "SELECT s.id, s.tenant_id AS tenant, s.collection_id AS collection, c.name AS collection_name, s.kind, s.address, "
    "c.metadata_schema, s.options, s.metadata, s.interval_s, s.status, s.error, s.counts, s.synced_at, "
    "s.tried_at, s.created_at, "
    "(SELECT coalesce(jsonb_object_agg(status, number), '{}') FROM (SELECT d.status, count(DISTINCT d.id) AS number "
    " FROM source_items i JOIN documents d ON d.id = i.document_id WHERE i.source_id = s.id AND d.status <> 'deleting' "
    " GROUP BY d.status) found) AS documents "
    "FROM sources s JOIN collections c ON c.id = s.collection_id"
)


def entry_of(row: DictRow) -> SourceEntry:
    """A source from its row."""
    read = {
        "kind": SourceKind(row["kind"]),
        "status": SourceStatus(row["status"]),
        "options": SourceOptions.model_validate(row["options"]),
        "metadata_schema": read_schema(row["metadata_schema"]),
    }
    return SourceEntry(**{**row, **read})


class Sources:
    """The rows of ``sources`` and ``source_items``; every read by a person names the tenant."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def put(
        self, connection: Connection, tenant: TenantId, collection: CollectionId, wish: SourceWish
    ) -> SourceId:
        """Insert a source, or change the one of the same address in the same collection."""
        cursor = await connection.execute(
            "INSERT INTO sources (tenant_id, collection_id, kind, address, options, metadata, interval_s) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant_id, collection_id, address) DO UPDATE SET "
            "kind = EXCLUDED.kind, options = EXCLUDED.options, metadata = EXCLUDED.metadata, "
            "interval_s = EXCLUDED.interval_s RETURNING id",
            (
                tenant,
                collection,
                wish.kind,
                wish.address,
                Jsonb(wish.options.model_dump(mode="json")),
                Jsonb(wish.metadata),
                wish.interval_s,
            ),
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 (the statement always returns one)
        return SourceId(row["id"])

    async def get(self, tenant: TenantId, source: SourceId) -> SourceEntry:
        """One source.

        Raises:
            NotFound: the tenant has none with this id.
        """
        found = await self._select("s.id = %s AND s.tenant_id = %s", source, tenant)
        if not found:
            raise NotFound(f"There is no source {str(source)!r}. GET /sources lists those that there are.")
        return found[0]

    async def page(self, tenant: TenantId, *, before: tuple[datetime, UUID] | None, limit: int) -> list[SourceEntry]:
        """The sources of a tenant, newest first, from the one behind ``before`` on."""
        moment, source = before or (None, None)
        return await self._select(
            "s.tenant_id = %s AND (%s::timestamptz IS NULL OR (s.created_at, s.id) < (%s, %s))",
            tenant,
            moment,
            moment,
            source,
            limit=limit,
        )

    async def stored(self, tenant: TenantId, collection: str, address: str) -> dict[str, str | None]:
        """The versions of the source at an address, when there is one."""
        found = await self._select("s.tenant_id = %s AND c.name = %s AND s.address = %s", tenant, collection, address)
        return await self.versions(found[0].id) if found else {}

    async def failures(self, tenant: TenantId, source: SourceId) -> list[Failure]:
        """The items that could not be taken the last time, at most 100 of them."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT i.path, i.error FROM source_items i JOIN sources s ON s.id = i.source_id "
                "WHERE s.id = %s AND s.tenant_id = %s AND i.error IS NOT NULL ORDER BY i.path LIMIT %s",
                (source, tenant, MOST_FAILURES),
            )
            return [Failure(**row) for row in await cursor.fetchall()]

    async def delete(self, connection: Connection, tenant: TenantId, source: SourceId) -> list[DocumentId]:
        """Delete a source; returns the documents that were there because of it and that no other source needs.

        Raises:
            NotFound: the tenant has none with this id.
        """
        cursor = await connection.execute(
            "SELECT DISTINCT i.document_id AS id FROM source_items i JOIN documents d ON d.id = i.document_id "
            "JOIN sources s ON s.id = i.source_id WHERE s.id = %s AND s.tenant_id = %s AND i.made "
            "AND d.status <> 'deleting' AND NOT EXISTS (SELECT FROM source_items o WHERE o.document_id = i.document_id "
            "AND o.source_id <> i.source_id)",
            (source, tenant),
        )
        orphans = [DocumentId(row["id"]) for row in await cursor.fetchall()]
        cursor = await connection.execute("DELETE FROM sources WHERE id = %s AND tenant_id = %s", (source, tenant))
        if cursor.rowcount == 0:
            raise NotFound(f"There is no source {str(source)!r}. GET /sources lists those that there are.")
        return orphans

    async def claim(self, source: SourceId) -> SourceEntry | None:
        """Begin a look; nothing when the source is gone."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE sources SET status = 'syncing', error = NULL, counts = '{}' WHERE id = %s", (source,)
            )
        found = await self._select("s.id = %s", source)
        return found[0] if found else None

    async def versions(self, source: SourceId) -> dict[str, str | None]:
        """The version of each item that was dealt with, by its id."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, version FROM source_items WHERE source_id = %s AND version IS NOT NULL", (source,)
            )
            return {row["id"]: row["version"] for row in await cursor.fetchall()}

    async def end(self, source: SourceId, counts: Mapping[str, int], error: str | None = None) -> None:
        """Record how a look ended."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE sources SET status = %s, error = %s, counts = %s, tried_at = now(), "
                "synced_at = CASE WHEN %s THEN now() ELSE synced_at END WHERE id = %s",
                ("failed" if error else "idle", error, Jsonb(counts), error is None, source),
            )

    async def postpone(self, source: SourceId, error: str) -> None:
        """Record why a look has not come to its end, and that it will be taken up again."""
        async with self._pool.connection() as connection:
            await connection.execute("UPDATE sources SET status = 'queued', error = %s WHERE id = %s", (error, source))

    async def _select(self, condition: str, *values: object, limit: int = 1) -> list[SourceEntry]:
        query = f"{SELECT} WHERE {condition} ORDER BY s.created_at DESC, s.id DESC LIMIT %s"
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), (*values, limit))
            return [entry_of(row) for row in await cursor.fetchall()]


async def link(
    connection: Connection,
    source: SourceId,
    item: tuple[str, str],
    version: str | None,
    document: DocumentId | None,
    *,
    made: bool = False,
    error: str | None = None,
) -> tuple[bool, DocumentId | None]:
    """Record what became of an item, given by its id and path.

    Returns:
        Whether the source is still there, and the document that the item had before, when it now has another one and
        is the reason why the old one is there.
    """
    id_, path = item
    cursor = await connection.execute(
        "SELECT document_id, made FROM source_items WHERE source_id = %s AND id = %s FOR UPDATE", (source, id_)
    )
    before = await cursor.fetchone()
    cursor = await connection.execute(
        "INSERT INTO source_items (source_id, id, path, version, document_id, made, error) "
        "SELECT s.id, %(id)s, %(path)s, %(version)s, %(document)s, %(made)s OR EXISTS ("
        "  SELECT FROM source_items o WHERE o.document_id = %(document)s AND o.made), %(error)s "
        "FROM sources s WHERE s.id = %(source)s "
        "ON CONFLICT (source_id, id) DO UPDATE SET path = EXCLUDED.path, version = EXCLUDED.version, "
        "document_id = EXCLUDED.document_id, made = EXCLUDED.made, error = EXCLUDED.error, checked_at = now()",
        {
            "source": source,
            "id": id_,
            "path": path,
            "version": version,
            "document": document,
            "made": made,
            "error": error,
        },
    )
    left = before is not None and before["made"] and before["document_id"] not in (None, document)
    return cursor.rowcount == 1, DocumentId(before["document_id"]) if before and left else None


async def still_needed(connection: Connection, document: DocumentId) -> bool:
    """Whether an item of any source stands for the document; it is locked until the transaction ends."""
    await connection.execute("SELECT FROM documents WHERE id = %s FOR UPDATE", (document,))
    cursor = await connection.execute("SELECT FROM source_items WHERE document_id = %s LIMIT 1", (document,))
    return cursor.rowcount > 0


async def unlink(connection: Connection, source: SourceId, ids: Sequence[str]) -> list[DocumentId]:
    """Forget items; returns the documents that were there because of them."""
    cursor = await connection.execute(
        "DELETE FROM source_items WHERE source_id = %s AND id = ANY(%s) RETURNING document_id, made",
        (source, list(ids)),
    )
    return [DocumentId(row["document_id"]) for row in await cursor.fetchall() if row["made"] and row["document_id"]]
