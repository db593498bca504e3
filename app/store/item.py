"""The items of the store as rows; every statement names the tenant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import psycopg
from langgraph.store.base import GetOp, Item, ListNamespacesOp, Op, PutOp, Result, SearchItem, SearchOp
from numpy.typing import NDArray
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from app.store.filter import filter_condition
from app.store.meaning import literal, texts_of
from app.store.namespace import Condition, below, check_key, check_namespace, joined, matching
from core.database import Pool
from core.domain import TenantId
from core.errors import InvalidInput, Unavailable
from core.sections import StoreSettings
from models.embedder import Embedder
from models.embedders import stamp_of

Connection = psycopg.AsyncConnection[DictRow]

MOST = 1000
"""Items that one search gives at most."""
LONGEST_TTL = 60 * 24 * 366 * 100  # minutes
ALIVE = Condition("(expires_at IS NULL OR expires_at > now())", [])


class Items:
    """The rows of ``store_items`` and their vectors. What has expired is not there, swept or not.

    ``vectors`` says whether the database has the table of the vectors: without it items are stored all the same, and
    found by meaning when it is there one day.
    """

    def __init__(self, pool: Pool, embedder: Embedder, settings: StoreSettings, *, vectors: bool) -> None:
        self._pool = pool
        self._has_vectors = vectors
        self._embedder = embedder
        self._stamp = str(stamp_of(embedder))
        self._fields = [field.strip() for field in (settings.fields or "").split(",") if field.strip()]

    async def carry_out(self, tenant: TenantId, operations: Iterable[Op]) -> list[Result]:
        """The results of the operations, one after the other; of several, all take place or none.

        Raises:
            InvalidInput: an operation is not possible; the message says why.
        """
        operations = list(operations)
        vectors = [await self._vectors(operation) for operation in operations]
        single = len(operations) == 1 and not isinstance(operations[0], PutOp)
        async with self._pool.connection() as connection, nullcontext() if single else connection.transaction():
            return [
                await self._one(connection, tenant, operation, vector)
                for operation, vector in zip(operations, vectors, strict=True)
            ]

    async def _one(
        self, connection: Connection, tenant: TenantId, operation: Op, vectors: NDArray[np.float32] | None
    ) -> Result:
        if isinstance(operation, GetOp):
            return await self._get(connection, tenant, operation)
        if isinstance(operation, SearchOp):
            return await self._search(connection, tenant, operation, vectors)
        if isinstance(operation, ListNamespacesOp):
            return await self._namespaces(connection, tenant, operation)
        await self._put(connection, tenant, operation, vectors)
        return None

    async def _vectors(self, operation: Op) -> NDArray[np.float32] | None:
        """What has to be embedded, before a connection is taken for it: of shape (texts, dimension)."""
        if isinstance(operation, SearchOp) and operation.query:
            self._check_meaning()
            return (await self._embedder.embed_query(operation.query))[np.newaxis]
        if isinstance(operation, PutOp) and operation.value is not None:
            texts = texts_of(operation.value, self._wanted(operation)) if self._has_vectors else []
            return await self._embedder.embed_documents(texts) if texts else None
        return None

    def _check_meaning(self) -> None:
        if not self._fields:
            raise InvalidInput("This store does not search by meaning: leave 'query' out, or set STORE__FIELDS.")
        if not self._has_vectors:
            raise Unavailable(
                "To search the store by meaning, PostgreSQL needs the extension pgvector, 0.7 or later. Install it on "
                "the server, let the database's user run CREATE EXTENSION vector, and start Ragstone again; items "
                "that are there already are found then too. Without 'query' the store works as it is."
            )

    def _wanted(self, operation: PutOp) -> list[str]:
        """The paths of an item's value that it shall be found by."""
        if operation.index is False or not self._fields:
            return []
        return self._fields if operation.index is None else list(operation.index)

    async def _put(
        self, connection: Connection, tenant: TenantId, operation: PutOp, vectors: NDArray[np.float32] | None
    ) -> None:
        namespace, key = check_namespace(operation.namespace), check_key(operation.key)
        if operation.value is None:
            await connection.execute(
                "DELETE FROM store_items WHERE tenant_id = %s AND namespace = %s AND key = %s",
                (tenant, namespace, key),
            )
            return
        ttl = _ttl(operation.ttl)
        try:
            cursor = await connection.execute(
                "INSERT INTO store_items (tenant_id, namespace, key, value, fields, ttl_minutes, expires_at) "
                "VALUES (%(tenant)s, %(namespace)s, %(key)s, %(value)s, %(fields)s, %(ttl)s, "
                "now() + make_interval(secs => 60 * %(ttl)s::float)) "
                "ON CONFLICT (tenant_id, namespace, key) DO UPDATE SET value = EXCLUDED.value, "
                "fields = EXCLUDED.fields, ttl_minutes = EXCLUDED.ttl_minutes, expires_at = EXCLUDED.expires_at, "
                "updated_at = clock_timestamp(), created_at = CASE WHEN store_items.expires_at <= now() "
                "THEN now() ELSE store_items.created_at END RETURNING id",
                {
                    "tenant": tenant,
                    "namespace": namespace,
                    "key": key,
                    "value": Jsonb(dict(operation.value)),
                    "fields": self._wanted(operation) if texts_of(operation.value, self._wanted(operation)) else [],
                    "ttl": ttl,
                },
            )
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"The value of {key!r} cannot be stored: it holds what JSON does not have.") from error
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 (an upsert gives its row)
        if self._has_vectors:
            await self._set_vectors(connection, row["id"], vectors)

    async def _set_vectors(self, connection: Connection, item: int, vectors: NDArray[np.float32] | None) -> None:
        await connection.execute("DELETE FROM store_vectors WHERE item_id = %s", (item,))
        if vectors is not None:
            await connection.cursor().executemany(
                "INSERT INTO store_vectors (item_id, ordinal, embedder, embedding) VALUES (%s, %s, %s, %s::halfvec)",
                [(item, ordinal, self._stamp, literal(vector)) for ordinal, vector in enumerate(vectors)],
            )

    async def _get(self, connection: Connection, tenant: TenantId, operation: GetOp) -> Item | None:
        place = Condition("namespace = %s AND key = %s", [list(operation.namespace), operation.key])
        found = await self._read(connection, tenant, place, refresh=operation.refresh_ttl)
        return Item(**{name: value for name, value in found[0].items() if name != "id"}) if found else None

    async def _search(
        self, connection: Connection, tenant: TenantId, operation: SearchOp, vectors: NDArray[np.float32] | None
    ) -> list[SearchItem]:
        limit, offset = _bounds(operation.limit, operation.offset)
        where = joined([below(operation.namespace_prefix), filter_condition(operation.filter or {})])
        if vectors is None:
            order = "ORDER BY updated_at DESC, id DESC LIMIT %s OFFSET %s"
            rows = await self._read(
                connection, tenant, where, refresh=operation.refresh_ttl, order=order, bounds=[limit, offset]
            )
            return [_found(row) for row in rows]
        scores = await self._nearest(connection, tenant, where, vectors[0], [limit, offset])
        chosen = Condition("id = ANY(%s)", [list(scores)])
        rows = await self._read(connection, tenant, chosen, refresh=operation.refresh_ttl)
        by_id = {row["id"]: row for row in rows}
        return [_found(by_id[item], score) for item, score in scores.items() if item in by_id]

    async def _nearest(
        self,
        connection: Connection,
        tenant: TenantId,
        where: Condition,
        query: NDArray[np.float32],
        bounds: Sequence[int],
    ) -> dict[int, float]:
        """The items nearest to the query's vector, of shape (dimension,), best first: their ids and cosines."""
        condition = joined([Condition("tenant_id = %s", [tenant]), where, ALIVE])
        cursor = await connection.execute(
            "SELECT i.id, max(1 - (v.embedding <=> %s::halfvec)) AS score "  # noqa: S608
            "FROM store_items i JOIN store_vectors v ON v.item_id = i.id "
            f"WHERE {condition.sql} AND v.embedder = %s GROUP BY i.id "
            "ORDER BY score DESC, i.id LIMIT %s OFFSET %s".encode(),
            [literal(query), *condition.values, self._stamp, *bounds],
        )
        return {row["id"]: row["score"] for row in await cursor.fetchall()}

    async def _namespaces(
        self, connection: Connection, tenant: TenantId, operation: ListNamespacesOp
    ) -> list[tuple[str, ...]]:
        limit, offset = _bounds(operation.limit, operation.offset)
        conditions = [matching(condition) for condition in operation.match_conditions or ()]
        condition = joined([Condition("tenant_id = %s", [tenant]), *conditions, ALIVE])
        depth = operation.max_depth
        cursor = await connection.execute(
            f"SELECT DISTINCT namespace[:coalesce(%s::int, cardinality(namespace))] AS namespace "  # noqa: S608
            f"FROM store_items WHERE {condition.sql} ORDER BY 1 LIMIT %s OFFSET %s".encode(),
            [depth, *condition.values, limit, offset],
        )
        return [tuple(row["namespace"]) for row in await cursor.fetchall()]

    async def _read(
        self,
        connection: Connection,
        tenant: TenantId,
        where: Condition,
        *,
        refresh: bool,
        order: str = "",
        bounds: Sequence[int] = (),
    ) -> list[dict[str, Any]]:
        """The items that fit; with ``refresh`` the time that they live begins anew."""
        condition = joined([Condition("tenant_id = %s", [tenant]), where, ALIVE])
        cursor = await connection.execute(
            f"SELECT id, namespace, key, value, created_at, updated_at, ttl_minutes FROM store_items "  # noqa: S608
            f"WHERE {condition.sql} {order}".encode(),
            [*condition.values, *bounds],
        )
        rows = await cursor.fetchall()
        mortal = [row["id"] for row in rows if row["ttl_minutes"] is not None]
        if refresh and mortal:
            await connection.execute(
                "UPDATE store_items SET expires_at = now() + make_interval(secs => 60 * ttl_minutes) "
                "WHERE tenant_id = %s AND id = ANY(%s)",
                (tenant, mortal),
            )
        return [{name: value for name, value in row.items() if name != "ttl_minutes"} for row in rows]

    async def renew(self, limit: int) -> int:
        """Embed up to ``limit`` items that have no vectors of the running embedder; returns how many there were."""
        if not self._has_vectors:
            return 0
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, value, fields, updated_at FROM store_items i WHERE fields <> '{}' AND NOT EXISTS ("
                "  SELECT FROM store_vectors v WHERE v.item_id = i.id AND v.embedder = %s) ORDER BY id LIMIT %s",
                (self._stamp, limit),
            )
            rows = await cursor.fetchall()
        for row in rows:
            vectors = await self._embedder.embed_documents(texts_of(row["value"], row["fields"]))
            async with self._pool.connection() as connection, connection.transaction():
                cursor = await connection.execute(
                    "SELECT FROM store_items WHERE id = %s AND updated_at = %s FOR UPDATE",
                    (row["id"], row["updated_at"]),
                )
                if cursor.rowcount:
                    await self._set_vectors(connection, row["id"], vectors)
        return len(rows)


async def sweep_items(pool: Pool, limit: int = 10_000) -> int:
    """Remove up to ``limit`` items that have expired; returns how many there were."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "DELETE FROM store_items WHERE id IN (SELECT id FROM store_items WHERE expires_at <= now() "
            "LIMIT %s FOR UPDATE SKIP LOCKED)",
            (limit,),
        )
        return cursor.rowcount


def _found(row: Mapping[str, Any], score: float | None = None) -> SearchItem:
    values = {name: value for name, value in row.items() if name != "id"}
    return SearchItem(**{**values, "namespace": tuple(row["namespace"])}, score=score)


def _bounds(limit: int, offset: int) -> tuple[int, int]:
    if not 0 <= limit <= MOST or not 0 <= offset <= 1_000_000:
        raise InvalidInput(f"'limit' is from 0 to {MOST:,}, and 'offset' from 0 to 1,000,000.")
    return limit, offset


def _ttl(minutes: float | None) -> float | None:
    if minutes is not None and not (math.isfinite(minutes) and 0 < minutes <= LONGEST_TTL):
        raise InvalidInput("'ttl' is in minutes: more than 0, and at most a hundred years.")
    return minutes
