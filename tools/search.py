"""Search over the documents that a scope may read: hybrid, dense or lexical."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from core.database import Pool, chunk_of
from core.domain import ChunkId, Hit, Scope, Scores
from core.index import IndexQuery, VectorIndex
from models.embedder import Embedder
from models.lexical import LexicalEncoder
from tools.fusion import fuse

Mode = Literal["hybrid", "dense", "lexical"]

SPARE = 20
"""Matches looked up beyond the limit when some of the best belong to documents that are not to be seen now."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits, best first, and the milliseconds of each stage: embed, index, fuse, fetch, total."""

    hits: Sequence[Hit]
    timings: Mapping[str, float]


class Search:
    """Finds chunks. The index ranks, PostgreSQL decides what exists: a deleted document is gone in the same moment."""

    def __init__(
        self, pool: Pool, index: VectorIndex, embedder: Embedder, lexical: LexicalEncoder, *, candidates: int
    ) -> None:
        self._pool = pool
        self._index = index
        self._embedder = embedder
        self._lexical = lexical
        self._candidates = candidates

    async def __call__(self, text: str, *, scope: Scope, limit: int, mode: Mode = "hybrid") -> SearchResult:
        """The ``limit`` best chunks within the scope.

        Raises:
            Unavailable: the index does not answer.
        """
        moments = [time.perf_counter()]
        query = IndexQuery(
            dense=None if mode == "lexical" else await self._embedder.embed_query(text),
            lexical=None if mode == "dense" else self._lexical.encode_query(text),
            limit=max(self._candidates, limit),
        )
        moments.append(time.perf_counter())
        ranking = await self._index.query(query, scope=scope)
        moments.append(time.perf_counter())
        matches = fuse(ranking)
        moments.append(time.perf_counter())
        hits = await self._fetch(matches[:limit], scope)
        if len(hits) < min(limit, len(matches)):
            hits += await self._fetch(matches[limit : limit + SPARE], scope)
        moments.append(time.perf_counter())
        spans = [round((end - start) * 1000, 2) for start, end in itertools.pairwise(moments)]
        timings = dict(zip(("embed", "index", "fuse", "fetch"), spans, strict=True)) | {"total": round(sum(spans), 2)}
        return SearchResult(hits[:limit], timings)

    async def _fetch(self, matches: Sequence[tuple[ChunkId, Scores]], scope: Scope) -> list[Hit]:
        if not matches:
            return []
        collections = None if scope.collections is None else list(scope.collections)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT ch.*, d.name AS document_name, d.collection_id FROM chunks ch "
                "JOIN documents d ON d.id = ch.document_id "
                "WHERE ch.id = ANY(%s) AND d.tenant_id = %s AND d.status = 'indexed' "
                "AND (%s::uuid[] IS NULL OR d.collection_id = ANY(%s))",
                ([chunk for chunk, _ in matches], scope.tenant, collections, collections),
            )
            rows = {row["id"]: row for row in await cursor.fetchall()}
        return [
            Hit(
                chunk=chunk_of(rows[chunk]),
                document_name=rows[chunk]["document_name"],
                collection=rows[chunk]["collection_id"],
                scores=scores,
            )
            for chunk, scores in matches
            if chunk in rows
        ]
