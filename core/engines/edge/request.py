"""Our points, filters and queries in the words of the engine."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray

from core.domain import ChunkId, CollectionId, DocumentId, Scope, TenantId
from core.index import DENSE, LEXICAL, SEARCH_WIDTH, IndexQuery, Match, Point, PointKey, SparseVector

PAGE = 1000
"""Points that a scan reads at once."""


def upsertion(points: Sequence[Point]) -> engine.UpdateOperation:
    """Store the points, replacing those of the same id."""
    return engine.UpdateOperation.upsert_points([_to_engine(point) for point in points])


def _to_engine(point: Point) -> engine.Point:
    return engine.Point(
        point.id,
        {DENSE: point.dense.tolist(), LEXICAL: _sparse(point.lexical)},
        {
            "tenant": str(point.tenant),
            "collection": str(point.collection),
            "document": str(point.document),
            "generation": point.generation,
        },
    )


def _sparse(vector: SparseVector) -> engine.SparseVector:
    return engine.SparseVector(list(vector.indices), list(vector.values))


def _equals(field: str, value: uuid.UUID) -> engine.FieldCondition:
    return engine.FieldCondition(field, match=engine.MatchValue(str(value)))


def _among(field: str, values: Collection[uuid.UUID]) -> engine.FieldCondition:
    return engine.FieldCondition(field, match=engine.MatchAny([str(value) for value in values]))


def within(scope: Scope, documents: Collection[DocumentId] | None = None) -> engine.Filter:
    """The points that the scope may see; of these documents when they are given."""
    conditions: list[engine.ConditionType] = [_equals("tenant", scope.tenant)]
    if scope.collections is not None:
        conditions.append(_among("collection", scope.collections))
    if documents is not None:
        conditions.append(_among("document", documents))
    return engine.Filter(must=conditions)


def chosen(tenant: TenantId, document: DocumentId, *, only: Collection[ChunkId] | None) -> engine.Filter:
    """The points of a document: all, or the named ones."""
    conditions: list[engine.ConditionType] = [_equals("tenant", tenant), _equals("document", document)]
    if only is not None:
        conditions.append(engine.HasIdCondition(set(only)))
    return engine.Filter(must=conditions)


def requests(query: IndexQuery, scope: Scope) -> dict[str, engine.QueryRequest]:
    """One request for each side that the query has."""
    bounds = within(scope, query.documents)
    sides = {}
    if query.dense is not None:
        nearest = engine.Query.Nearest(query.dense.tolist(), using=DENSE)
        sides[DENSE] = engine.QueryRequest(
            query.limit, query=nearest, filter=bounds, params=engine.SearchParams(hnsw_ef=SEARCH_WIDTH)
        )
    if query.lexical is not None and query.lexical.indices:
        # Term statistics of the tenant alone: a score must not tell what others have written.
        corpus = engine.IdfParams(within(Scope(tenant=scope.tenant)))
        sides[LEXICAL] = engine.QueryRequest(
            query.limit,
            query=engine.Query.Nearest(_sparse(query.lexical), using=LEXICAL),
            filter=bounds,
            params=engine.SearchParams(idf=corpus),
        )
    return sides


def matches(points: Sequence[engine.ScoredPoint]) -> list[Match]:
    """What the engine found, in its order."""
    return [Match(ChunkId(_uuid(point.id)), point.score) for point in points]


def vectors_request(chunks: Collection[ChunkId], scope: Scope) -> engine.ScrollRequest:
    """The points of these ids that the scope may see, with their dense vectors."""
    bounds = engine.Filter(must=[within(scope), engine.HasIdCondition(set(chunks))])
    return engine.ScrollRequest(limit=len(chunks), filter=bounds, with_payload=False, with_vector=[DENSE])


def dense_vectors(records: Sequence[engine.Record]) -> dict[ChunkId, NDArray[np.float32]]:
    """The dense vector of each point."""
    found = {}
    for record in records:
        vector = record.vector
        if isinstance(vector, dict):
            found[ChunkId(_uuid(record.id))] = np.asarray(vector[DENSE], dtype=np.float32)
    return found


def key_of(record: engine.Record) -> PointKey:
    """What a point says of itself."""
    payload = record.payload or {}
    return PointKey(
        ChunkId(_uuid(record.id)),
        TenantId(uuid.UUID(payload["tenant"])),
        CollectionId(uuid.UUID(payload["collection"])),
        DocumentId(uuid.UUID(payload["document"])),
        int(payload["generation"]),
    )


def _uuid(point: engine.PointId) -> uuid.UUID:
    return point if isinstance(point, uuid.UUID) else uuid.UUID(str(point))
