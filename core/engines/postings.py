"""Term weights in PostgreSQL, ranked by BM25: the lexical side of an engine that has none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg_pool import PoolTimeout

from core.database import PREPARE_LOCK, Pool, exclusive
from core.domain import ChunkId, DocumentId, Scope, TenantId
from core.errors import Unavailable
from core.index import Match, Point, SparseVector

TABLE = """
CREATE TABLE IF NOT EXISTS postings (
    index_name text NOT NULL,
    chunk_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    collection_id uuid NOT NULL,
    document_id uuid NOT NULL,
    terms bigint[] NOT NULL,
    weights real[] NOT NULL,
    PRIMARY KEY (index_name, chunk_id)
);
CREATE INDEX IF NOT EXISTS postings_by_document ON postings (index_name, tenant_id, document_id);
CREATE INDEX IF NOT EXISTS postings_by_term ON postings USING gin (terms);
"""
UPSERT = (
    "INSERT INTO postings (index_name, chunk_id, tenant_id, collection_id, document_id, terms, weights) "
    "VALUES (%s, %s, %s, %s, %s, %s::bigint[], %s::real[]) ON CONFLICT (index_name, chunk_id) DO UPDATE SET "
    "tenant_id = excluded.tenant_id, collection_id = excluded.collection_id, document_id = excluded.document_id, "
    "terms = excluded.terms, weights = excluded.weights"
)
DELETE = (
    "DELETE FROM postings WHERE index_name = %(index)s AND tenant_id = %(tenant)s AND document_id = %(document)s "
    "AND (%(only)s::uuid[] IS NULL OR chunk_id = ANY(%(only)s))"
)
# Statistics of the tenant alone, as a score must not tell what others have written.
RANK = """
WITH found AS MATERIALIZED (
    SELECT chunk_id, collection_id, document_id, entry.term, entry.weight
    FROM postings CROSS JOIN LATERAL unnest(terms, weights) AS entry (term, weight)
    WHERE index_name = %(index)s AND tenant_id = %(tenant)s
      AND terms && %(terms)s::bigint[] AND entry.term = ANY(%(terms)s::bigint[])
), corpus AS (
    SELECT count(*) AS size FROM postings WHERE index_name = %(index)s AND tenant_id = %(tenant)s
), rarity AS (
    SELECT term, ln((size - count(*) + 0.5) / (count(*) + 0.5) + 1) AS idf FROM found, corpus GROUP BY term, size
)
SELECT chunk_id, sum(found.weight * rarity.idf * asked.weight)::float8 AS score
FROM found
JOIN rarity USING (term)
JOIN unnest(%(terms)s::bigint[], %(weights)s::float8[]) AS asked (term, weight) USING (term)
WHERE (%(collections)s::uuid[] IS NULL OR collection_id = ANY(%(collections)s))
  AND (%(documents)s::uuid[] IS NULL OR document_id = ANY(%(documents)s))
GROUP BY chunk_id ORDER BY score DESC, chunk_id LIMIT %(limit)s
"""


class Postings:
    """The term weights of one index, named by ``index``; `prepare` makes the table.

    Every method raises `core.errors.Unavailable` when PostgreSQL does not answer.
    """

    def __init__(self, pool: Pool, index: str) -> None:
        self._pool = pool
        self._index = index

    async def prepare(self) -> None:
        """Make the table when it is missing."""
        with _translated():
            async with exclusive(self._pool, PREPARE_LOCK) as connection:
                await connection.execute(TABLE, prepare=False)

    async def exist(self) -> bool:
        """Whether anything was ever stored for this index."""
        with _translated():
            async with self._pool.connection() as connection:
                made = await connection.execute("SELECT FROM pg_class WHERE oid = to_regclass('postings')")
                if made.rowcount == 0:
                    return False
                cursor = await connection.execute("SELECT FROM postings WHERE index_name = %s LIMIT 1", (self._index,))
                return cursor.rowcount > 0

    async def clear(self) -> None:
        """Delete the term weights of all points."""
        await self.prepare()
        with _translated():
            async with self._pool.connection() as connection:
                await connection.execute("DELETE FROM postings WHERE index_name = %s", (self._index,))

    async def upsert(self, points: Sequence[Point]) -> None:
        """Store the points' term weights, replacing those of the same id."""
        rows = [
            (self._index, p.id, p.tenant, p.collection, p.document, list(p.lexical.indices), list(p.lexical.values))
            for p in points
        ]
        with _translated():
            async with self._pool.connection() as connection, connection.transaction(), connection.cursor() as cursor:
                await cursor.executemany(UPSERT, rows)

    async def delete(self, tenant: TenantId, document: DocumentId, only: Collection[ChunkId] | None) -> None:
        """Delete a document's term weights: all, or those of the named points."""
        which = None if only is None else list(only)
        values = {"index": self._index, "tenant": tenant, "document": document, "only": which}
        with _translated():
            async with self._pool.connection() as connection:
                await connection.execute(DELETE, values)

    async def rank(
        self, asked: SparseVector, *, scope: Scope, documents: Collection[DocumentId] | None, limit: int
    ) -> list[Match]:
        """The best points within the scope by ``sum(weight * idf * asked weight)`` over the terms that are asked for.

        ``idf = ln((N - n + 0.5) / (n + 0.5) + 1)``, of the tenant's N points n have the term: Qdrant's modifier, so
        that both engines give the same scores. A point with none of the terms is not found.
        """
        values = {
            "index": self._index,
            "tenant": scope.tenant,
            "terms": list(asked.indices),
            "weights": list(asked.values),
            "collections": None if scope.collections is None else list(scope.collections),
            "documents": None if documents is None else list(documents),
            "limit": limit,
        }
        with _translated():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(RANK, values)).fetchall()
        return [Match(ChunkId(row["chunk_id"]), row["score"]) for row in rows]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (psycopg.Error, PoolTimeout) as error:
        raise Unavailable(
            f"PostgreSQL, which holds the words of the vector index, failed: see its log. ({type(error).__name__})"
        ) from error
