"""The vector index on a Qdrant server or cluster: one collection for each embedder, behind an alias."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from core.domain import ChunkId, CollectionId, DocumentId, Scope, TenantId
from core.errors import InvalidInput, PlatformError, Unavailable
from core.index import (
    DENSE,
    LEXICAL,
    SEARCH_WIDTH,
    IndexQuery,
    Match,
    Point,
    PointKey,
    Ranking,
    SparseVector,
    check_dimension,
    index_name,
)
from core.settings import QdrantSettings

ALIAS = "ragstone"
FIRST = 1
REFUSALS = (400, 413, 422)
"""What the server answers to a request that it will never take; sending it again is no use."""
SLICE = 256
PAGE = 1000
# A document's writes go through one replica, so that what is stored and then deleted is deleted on each of them.
ORDERING = models.WriteOrdering.MEDIUM
WIDE = models.SearchParams(hnsw_ef=SEARCH_WIDTH)
# Of twice as many candidates as are wanted.
RESCORED = models.SearchParams(
    hnsw_ef=SEARCH_WIDTH, quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0)
)
PAYLOAD_INDEXES: dict[str, models.PayloadSchemaParams] = {
    "tenant": models.UuidIndexParams(type=models.UuidIndexType.UUID, is_tenant=True),
    "collection": models.UuidIndexParams(type=models.UuidIndexType.UUID),
    "document": models.UuidIndexParams(type=models.UuidIndexType.UUID, enable_hnsw=False),
}


class QdrantIndex:
    """`core.index.VectorIndex` on a Qdrant server; made by `prepare_index`."""

    def __init__(self, client: AsyncQdrantClient, *, alias: str, dimension: int, quantised: bool) -> None:
        self._client = client
        self._params = RESCORED if quantised else WIDE
        self._alias = alias
        self._dimension = dimension

    async def upsert(self, points: Sequence[Point]) -> None:
        """Store the points durably; a point whose id is there already is replaced.

        Raises:
            InvalidInput: when a vector has another dimension than the index.
            Unavailable: when the server does not answer as it should.
        """
        check_dimension((point.dense for point in points), self._dimension)
        for start in range(0, len(points), SLICE):
            part = [_to_server(point) for point in points[start : start + SLICE]]
            with translated():
                await self._client.upsert(self._alias, part, wait=True, ordering=ORDERING)

    async def delete(
        self,
        tenant: TenantId,
        document: DocumentId,
        *,
        only: Collection[ChunkId] | None = None,
    ) -> None:
        """Delete a document's points: all, or the named ones."""
        conditions: list[models.Condition] = [_equals("tenant", tenant), _equals("document", document)]
        if only is not None:
            conditions.append(models.HasIdCondition(has_id=[str(chunk) for chunk in only]))
        doomed = models.FilterSelector(filter=models.Filter(must=conditions))
        with translated():
            await self._client.delete(self._alias, doomed, wait=True, ordering=ORDERING)

    async def query(self, query: IndexQuery, *, scope: Scope) -> Ranking:
        """The best points within the scope, on each side that the query has.

        Raises:
            InvalidInput: when the dense vector has another dimension than the index.
            Unavailable: when the server does not answer as it should.
        """
        if query.dense is not None:
            check_dimension([query.dense], self._dimension)
        if query.is_empty(scope):
            return Ranking()
        sides = _requests(query, scope, self._params)
        with translated():
            answers = await self._client.query_batch_points(self._alias, list(sides.values()))
        found = {side: _matches(answer.points) for side, answer in zip(sides, answers, strict=True)}
        return Ranking(dense=found.get(DENSE, ()), lexical=found.get(LEXICAL, ()))

    async def vectors(self, chunks: Collection[ChunkId], *, scope: Scope) -> dict[ChunkId, NDArray[np.float32]]:
        """The dense vectors, each of shape (dimension,) and unit length, of those of the points within the scope.

        Raises:
            Unavailable: when the server does not answer as it should.
        """
        if not chunks or scope.collections == frozenset():
            return {}
        named = models.HasIdCondition(has_id=[str(chunk) for chunk in chunks])
        bounds = models.Filter(must=[_within(scope), named])
        with translated():
            records, _ = await self._client.scroll(
                self._alias, bounds, limit=len(chunks), with_payload=False, with_vectors=[DENSE]
            )
        return {
            ChunkId(uuid.UUID(str(record.id))): np.asarray(record.vector[DENSE], dtype=np.float32)
            for record in records
            if isinstance(record.vector, dict)
        }

    async def count(self, scope: Scope, document: DocumentId | None = None) -> int:
        """How many points the scope holds, exactly; of one document when it is given."""
        if scope.collections == frozenset():
            return 0
        with translated():
            answer = await self._client.count(
                self._alias, _within(scope, None if document is None else [document]), exact=True
            )
        return answer.count

    async def scan(self, scope: Scope | None, document: DocumentId | None = None) -> AsyncIterator[Sequence[PointKey]]:
        """Every point of the scope, of one document when it is given, page by page; ``None``: of the whole index."""
        if scope is not None and scope.collections == frozenset():
            return
        bounds = None if scope is None else _within(scope, None if document is None else [document])
        start: models.ExtendedPointId | None = None
        while True:
            with translated():
                records, start = await self._client.scroll(
                    self._alias, bounds, limit=PAGE, offset=start, with_payload=True, with_vectors=False
                )
            yield [_key_of(record) for record in records]
            if start is None:
                return


@asynccontextmanager
async def open_client(settings: QdrantSettings) -> AsyncIterator[AsyncQdrantClient]:
    """A client of the server of the settings; nothing is asked of it yet."""
    client = AsyncQdrantClient(
        url=str(settings.url),
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        timeout=settings.timeout_s,
        # The check runs in a thread of its own and only warns; `prepare_index` says clearly what is wrong.
        check_compatibility=False,
    )
    try:
        yield client
    finally:
        await client.close()


async def prepare_index(
    client: AsyncQdrantClient, settings: QdrantSettings, *, embedder: str, revision: str | None, dimension: int
) -> QdrantIndex:
    """The index of an embedder; collection, payload indexes and alias are made when they are missing.

    Each embedder has an alias of its own, so that the vectors of two are served side by side while documents are
    embedded anew, and the collection behind an alias can be replaced by one with other settings.

    Raises:
        Unavailable: when the server does not answer as it should.
    """
    alias = alias_name(embedder, revision, dimension)
    name = await _target(client, alias)
    with translated():
        if name is None:
            name = f"{alias}.{FIRST}"
            if not await client.collection_exists(name):
                await _create(client, name, creation(settings, dimension))
            naming = models.CreateAlias(collection_name=name, alias_name=alias)
            await client.update_collection_aliases([models.CreateAliasOperation(create_alias=naming)])
        for field, schema in PAYLOAD_INDEXES.items():
            await client.create_payload_index(name, field, schema, wait=True)
    return QdrantIndex(client, alias=alias, dimension=dimension, quantised=settings.quantisation != "none")


async def has_index(client: AsyncQdrantClient, *, embedder: str, revision: str | None, dimension: int) -> bool:
    """Whether the server has an index of an embedder.

    Raises:
        Unavailable: when the server does not answer as it should.
    """
    return await _target(client, alias_name(embedder, revision, dimension)) is not None


async def drop_index(client: AsyncQdrantClient, *, embedder: str, revision: str | None, dimension: int) -> None:
    """Delete the collection of an embedder, and with it the alias.

    Raises:
        Unavailable: when the server does not answer as it should.
    """
    name = await _target(client, alias_name(embedder, revision, dimension))
    if name is not None:
        with translated():
            await client.delete_collection(name)


async def _target(client: AsyncQdrantClient, alias: str) -> str | None:
    with translated():
        aliases = await client.get_aliases()
    return next((item.collection_name for item in aliases.aliases if item.alias_name == alias), None)


def alias_name(embedder: str, revision: str | None, dimension: int) -> str:
    """The alias of the collection that holds the vectors of an embedder."""
    return f"{ALIAS}-{index_name(embedder, revision, dimension)}"


def creation(settings: QdrantSettings, dimension: int) -> dict[str, Any]:
    """What a new collection is made with; docs/how-to/scale-qdrant.md says what each setting is for."""
    quantisation = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    return {
        "vectors_config": {
            DENSE: models.VectorParams(
                size=dimension, distance=models.Distance.COSINE, on_disk=settings.vectors_on_disk
            )
        },
        "sparse_vectors_config": {LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        "shard_number": settings.shards,
        "replication_factor": settings.replicas,
        "write_consistency_factor": settings.write_consistency,
        # The payload is four ids, and their indexes are in memory.
        "on_disk_payload": True,
        "hnsw_config": models.HnswConfigDiff(m=settings.hnsw_m, ef_construct=settings.hnsw_ef_construct),
        "quantization_config": models.ScalarQuantization(scalar=quantisation)
        if settings.quantisation == "int8"
        else None,
    }


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the client raises into our errors; the server's own words stay in the cause."""
    try:
        yield
    except PlatformError:
        raise
    except UnexpectedResponse as error:
        if error.status_code in (401, 403):
            raise Unavailable("The Qdrant server refuses the key: set QDRANT__API_KEY.") from error
        if error.status_code in REFUSALS:
            raise InvalidInput(
                f"The Qdrant server refuses what was sent (status {error.status_code}): see its log, and whether its "
                "version fits the client's."
            ) from error
        raise Unavailable(
            f"The Qdrant server answered with status {error.status_code}: see its log, and whether its version "
            "fits the client's."
        ) from error
    except (ApiException, QdrantException, OSError, RuntimeError, ValueError) as error:
        raise Unavailable(
            f"The Qdrant server does not answer: start it, or check QDRANT__URL. ({type(error).__name__}: {error})"
        ) from error


async def _create(client: AsyncQdrantClient, name: str, what: Mapping[str, Any]) -> None:
    try:
        await client.create_collection(name, **what)
    except UnexpectedResponse:
        # Another process that starts at the same moment may have been first.
        if not await client.collection_exists(name):
            raise


def _to_server(point: Point) -> models.PointStruct:
    return models.PointStruct(
        id=str(point.id),
        vector={DENSE: point.dense.tolist(), LEXICAL: _sparse(point.lexical)},
        payload={
            "tenant": str(point.tenant),
            "collection": str(point.collection),
            "document": str(point.document),
            "generation": point.generation,
        },
    )


def _key_of(record: models.Record) -> PointKey:
    payload = record.payload or {}
    return PointKey(
        ChunkId(uuid.UUID(str(record.id))),
        TenantId(uuid.UUID(payload["tenant"])),
        CollectionId(uuid.UUID(payload["collection"])),
        DocumentId(uuid.UUID(payload["document"])),
        int(payload["generation"]),
    )


def _sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=list(vector.indices), values=list(vector.values))


def _equals(field: str, value: uuid.UUID) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=str(value)))


def _among(field: str, values: Collection[uuid.UUID]) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchAny(any=[str(value) for value in values]))


def _within(scope: Scope, documents: Collection[DocumentId] | None = None) -> models.Filter:
    conditions: list[models.Condition] = [_equals("tenant", scope.tenant)]
    if scope.collections is not None:
        conditions.append(_among("collection", scope.collections))
    if documents is not None:
        conditions.append(_among("document", documents))
    return models.Filter(must=conditions)


def _requests(query: IndexQuery, scope: Scope, params: models.SearchParams) -> dict[str, models.QueryRequest]:
    bounds = _within(scope, query.documents)
    sides = {}
    if query.dense is not None:
        sides[DENSE] = models.QueryRequest(
            query=query.dense.tolist(),
            using=DENSE,
            filter=bounds,
            limit=query.limit,
            with_payload=False,
            params=params,
        )
    if query.lexical is not None and query.lexical.indices:
        # Term statistics of the tenant alone: a score must not tell what others have written.
        corpus = models.IdfCorpusParams(corpus=_within(Scope(tenant=scope.tenant)))
        sides[LEXICAL] = models.QueryRequest(
            query=_sparse(query.lexical),
            using=LEXICAL,
            filter=bounds,
            limit=query.limit,
            with_payload=False,
            params=models.SearchParams(idf=corpus),
        )
    return sides


def _matches(points: Sequence[models.ScoredPoint]) -> list[Match]:
    return [Match(ChunkId(uuid.UUID(str(point.id))), point.score) for point in points]
