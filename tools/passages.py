"""What PostgreSQL knows of chunks and documents that a scope may see now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, LiteralString

import psycopg
from psycopg.rows import DictRow

from core.database import Pool, chunk_of
from core.domain import Chunk, ChunkId, DocumentId, Hit, Passage, Scope, Scores
from tools.expansion import REACH, Spread
from tools.filter import Filter
from tools.predicate import predicate

VISIBLE: LiteralString = (
    "d.tenant_id = %s AND d.live_generation IS NOT NULL AND d.status <> 'deleting' "
    "AND (%s::uuid[] IS NULL OR d.collection_id = ANY(%s))"
)
"""Which documents ``d`` may be found; its values are those of `visible`."""
MARK: LiteralString = (
    "SELECT md5(string_agg(concat_ws(' ', m.id, m.embedder, m.embedder_revision, m.dimension, m.chunker), ',' "
    "ORDER BY m.id)) FROM collections m WHERE m.tenant_id = %s AND (%s::uuid[] IS NULL OR m.id = ANY(%s))"
)
"""Changes whenever a collection of a scope gets another embedder or chunker; its values are those of `visible`."""
CHUNKS: LiteralString = "FROM chunks ch JOIN documents d ON d.id = ch.document_id"


def visible(scope: Scope) -> list[Any]:
    """The values of the placeholders of `VISIBLE` and of `MARK`."""
    collections = None if scope.collections is None else list(scope.collections)
    return [scope.tenant, collections, collections]


class Passages:
    """Reads chunks. A document that is deleted is gone in the same moment, whatever the index still holds."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def hits(self, matches: Sequence[tuple[ChunkId, Scores]], scope: Scope) -> list[Hit]:
        """The hits of the matches that may be seen, in their order."""
        hits, _ = await self.marked(matches, scope)
        return hits

    async def marked(self, matches: Sequence[tuple[ChunkId, Scores]], scope: Scope) -> tuple[list[Hit], str | None]:
        """The hits of the matches that may be seen, in their order, and the scope's `MARK`; None without any hit."""
        if not matches:
            return [], None
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"SELECT ch.*, d.live_name AS document_name, d.collection_id, ({MARK}) AS mark {CHUNKS} "
                f"WHERE ch.id = ANY(%s) AND {VISIBLE}",
                [*visible(scope), [chunk for chunk, _ in matches], *visible(scope)],
            )
            rows = {row["id"]: row for row in await cursor.fetchall()}
        hits = [
            Hit(
                chunk=chunk_of(rows[chunk]),
                document_name=rows[chunk]["document_name"],
                collection=rows[chunk]["collection_id"],
                scores=scores,
            )
            for chunk, scores in matches
            if chunk in rows
        ]
        return hits, next((str(row["mark"]) for row in rows.values()), None)

    async def documents(self, wanted: Filter, scope: Scope, *, most: int) -> frozenset[DocumentId] | None:
        """The documents that the filter lets through; ``None`` when there are more than ``most``."""
        condition, values = predicate(wanted)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"SELECT d.id FROM documents d WHERE {VISIBLE} AND {condition} LIMIT %s",  # noqa: S608 (constants)
                [*visible(scope), *values, most + 1],
            )
            rows = await cursor.fetchall()
        return None if len(rows) > most else frozenset(DocumentId(row["id"]) for row in rows)

    async def passing(self, chunks: Collection[ChunkId], wanted: Filter, scope: Scope) -> set[ChunkId]:
        """Those of the chunks whose documents the filter lets through."""
        condition, values = predicate(wanted)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"SELECT ch.id {CHUNKS} WHERE ch.id = ANY(%s) AND {VISIBLE} AND {condition}",
                [list(chunks), *visible(scope), *values],
            )
            return {ChunkId(row["id"]) for row in await cursor.fetchall()}

    async def widened(
        self, hits: Sequence[Hit], plan: Callable[[Mapping[ChunkId, Sequence[Chunk]]], Sequence[Spread]]
    ) -> list[Hit]:
        """The hits that the plan makes of what lies around them, each with its passage."""
        async with self._pool.connection() as connection, connection.transaction():
            # Chunks and text of one moment, also while the document is ingested anew.
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            around = await _around(connection, [hit.chunk for hit in hits])
            spreads = await asyncio.to_thread(plan, around)
            texts = await _texts(connection, spreads)
        return [
            replace(item.hit, passage=Passage(text=text, start=item.start, end=item.end, chunks=tuple(item.chunks)))
            if text is not None and item.chunks
            else item.hit
            for item, text in zip(spreads, texts, strict=True)
        ]


async def _around(connection: psycopg.AsyncConnection[DictRow], chunks: Sequence[Chunk]) -> dict[ChunkId, list[Chunk]]:
    """The chunks near each of these; nothing for one that has vanished meanwhile."""
    cursor = await connection.execute(
        "SELECT w.id AS near, ch.* FROM unnest(%s::uuid[]) w(id) JOIN chunks c ON c.id = w.id "
        "JOIN chunks ch ON ch.document_id = c.document_id AND ch.ordinal BETWEEN c.ordinal - %s AND c.ordinal + %s "
        "ORDER BY w.id, ch.ordinal",
        [[chunk.id for chunk in chunks], REACH, REACH],
    )
    around: dict[ChunkId, list[Chunk]] = {}
    for row in await cursor.fetchall():
        around.setdefault(ChunkId(row["near"]), []).append(chunk_of(row))
    return around


async def _texts(connection: psycopg.AsyncConnection[DictRow], spreads: Sequence[Spread]) -> list[str | None]:
    cursor = await connection.execute(
        "SELECT substr(t.text, w.first + 1, w.length) AS text FROM "
        "unnest(%s::uuid[], %s::int[], %s::int[]) WITH ORDINALITY w(document, first, length, place) "
        "LEFT JOIN document_texts t ON t.document_id = w.document ORDER BY w.place",
        [
            [item.hit.chunk.document for item in spreads],
            [item.start for item in spreads],
            [item.end - item.start for item in spreads],
        ],
    )
    return [row["text"] for row in await cursor.fetchall()]
