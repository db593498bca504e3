"""The vector index on Chroma, in this process or on a server; the words are in PostgreSQL.

Chroma's single node has no sparse vectors (its schema refuses them), so `core.engines.postings` ranks by BM25. Each
tenant has a Chroma collection of its own: a search within a tenant then needs no filter, which Chroma is slow at.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.database import Pool
from core.domain import ChunkId, CollectionId, DocumentId, Scope, TenantId
from core.engines.edge.shard import owned
from core.engines.postings import Postings
from core.errors import InvalidInput, PlatformError, Unavailable
from core.index import SEARCH_WIDTH, IndexQuery, Match, Point, PointKey, Ranking, check_dimension, index_name
from core.settings import ChromaSettings

if TYPE_CHECKING:
    import chromadb
    from chromadb.api import ClientAPI
    from chromadb.config import Settings

SLICE = 1000
THREADS = 4
TIMEOUT_S = 60.0
EF_CONSTRUCTION = 128
T = TypeVar("T")


class ChromaIndex:
    """`core.index.VectorIndex` on Chroma; made by `open_chroma_index`."""

    def __init__(self, client: ClientAPI, postings: Postings, *, name: str, dimension: int) -> None:
        self._client = client
        self._postings = postings
        self._name = name
        self._dimension = dimension
        self._tenants: dict[TenantId, chromadb.Collection] = {}
        # The client blocks, on the engine or on the network.
        self._threads = ThreadPoolExecutor(THREADS, "chroma")

    async def upsert(self, points: Sequence[Point]) -> None:
        """Store the points durably; a point whose id is there already is replaced.

        Raises:
            InvalidInput: when a vector has another dimension than the index.
            Unavailable: when Chroma or PostgreSQL does not answer as it should.
        """
        check_dimension((point.dense for point in points), self._dimension)
        tenants: dict[TenantId, dict[ChunkId, Point]] = {}
        for point in points:
            tenants.setdefault(point.tenant, {})[point.id] = point
        for tenant, kept in tenants.items():
            latest = list(kept.values())
            for start in range(0, len(latest), SLICE):
                part = latest[start : start + SLICE]
                await self._postings.upsert(part)
                await self._run(partial(self._upsert, tenant, part))

    async def delete(self, tenant: TenantId, document: DocumentId, *, only: Collection[ChunkId] | None = None) -> None:
        """Delete a document's points: all, or the named ones."""
        await self._postings.delete(tenant, document, only)
        for ids in [None] if only is None else slices(only):
            await self._run(
                partial(self._on, tenant, partial(_delete, ids=ids, where={"document": str(document)}), None)
            )

    async def query(self, query: IndexQuery, *, scope: Scope) -> Ranking:
        """The best points within the scope, on each side that the query has.

        Raises:
            InvalidInput: when the dense vector has another dimension than the index.
            Unavailable: when Chroma or PostgreSQL does not answer as it should.
        """
        if query.dense is not None:
            check_dimension([query.dense], self._dimension)
        if query.is_empty(scope):
            return Ranking()
        dense, lexical = await asyncio.gather(self._nearest(query, scope), self._ranked(query, scope))
        return Ranking(dense=dense, lexical=lexical)

    async def vectors(self, chunks: Collection[ChunkId], *, scope: Scope) -> dict[ChunkId, NDArray[np.float32]]:
        """The dense vectors, each of shape (dimension,) and unit length, of those of the points within the scope."""
        found: dict[ChunkId, NDArray[np.float32]] = {}
        for ids in [] if scope.collections == frozenset() else slices(chunks):
            part = await self._get(scope.tenant, ["embeddings"], ids=ids, where=where_of(scope))
            vectors = np.asarray(part["embeddings"], dtype=np.float32)
            found |= {ChunkId(uuid.UUID(key)): vector for key, vector in zip(part["ids"], vectors, strict=True)}
        return found

    async def count(self, scope: Scope, document: DocumentId | None = None) -> int:
        """How many points the scope holds, exactly; of one document when it is given."""
        if scope.collections == frozenset():
            return 0
        where = where_of(scope, None if document is None else [document])
        if where is None:
            return await self._run(partial(self._on, scope.tenant, lambda kept: kept.count(), 0))
        return len((await self._get(scope.tenant, [], where=where))["ids"])

    async def scan(self, scope: Scope | None, document: DocumentId | None = None) -> AsyncIterator[Sequence[PointKey]]:
        """Every point of the scope, of one document when it is given, page by page in any order."""
        if scope is not None and scope.collections == frozenset():
            return
        for tenant in await self._run(self._all_tenants) if scope is None else [scope.tenant]:
            where = where_of(scope or Scope(tenant=tenant), None if document is None else [document])
            there = (await self._get(tenant, [], where=where))["ids"]
            for start in range(0, len(there), SLICE):
                page = await self._get(tenant, ["metadatas"], ids=there[start : start + SLICE])
                yield [key_of(tenant, *row) for row in zip(page["ids"], page["metadatas"], strict=True)]

    def close(self) -> None:
        """Finish what is being written and read."""
        self._threads.shutdown()

    async def _nearest(self, query: IndexQuery, scope: Scope) -> list[Match]:
        if query.dense is None:
            return []
        where = where_of(scope, query.documents)

        def ask(kept: chromadb.Collection) -> dict[str, Any]:
            vectors = np.asarray([query.dense], dtype=np.float32)
            return dict(kept.query(vectors, n_results=query.limit, where=where, include=["distances"]))

        nothing: dict[str, Any] = {"ids": [[]], "distances": [[]]}
        found = await self._run(partial(self._on, scope.tenant, ask, nothing))
        pairs = zip(found["ids"][0], found["distances"][0], strict=True)
        return [Match(ChunkId(uuid.UUID(key)), 1.0 - distance) for key, distance in pairs]

    async def _ranked(self, query: IndexQuery, scope: Scope) -> list[Match]:
        if query.lexical is None or not query.lexical.indices:
            return []
        return await self._postings.rank(query.lexical, scope=scope, documents=query.documents, limit=query.limit)

    async def _get(self, tenant: TenantId, include: list[str], **what: Any) -> Mapping[str, Any]:
        def get(kept: chromadb.Collection) -> dict[str, Any]:
            return dict(kept.get(include=include, **what))  # type: ignore[arg-type]

        nothing: dict[str, Any] = {"ids": [], "embeddings": [], "metadatas": []}
        return await self._run(partial(self._on, tenant, get, nothing))

    def _upsert(self, tenant: TenantId, points: Sequence[Point]) -> None:
        if tenant not in self._tenants:
            self._tenants[tenant] = self._client.get_or_create_collection(
                self._collection_name(tenant),
                embedding_function=None,
                configuration={
                    "hnsw": {"space": "cosine", "ef_construction": EF_CONSTRUCTION, "ef_search": SEARCH_WIDTH}
                },
            )
        self._tenants[tenant].upsert(
            ids=[str(point.id) for point in points],
            embeddings=np.stack([point.dense for point in points]),
            metadatas=[
                {
                    "collection": str(point.collection),
                    "document": str(point.document),
                    "generation": point.generation,
                }
                for point in points
            ],
        )

    def _on(self, tenant: TenantId, ask: Callable[[chromadb.Collection], T], nothing: T) -> T:
        """The answer of the tenant's collection; ``nothing`` when there is none yet."""
        from chromadb.errors import NotFoundError

        if tenant not in self._tenants:
            try:
                self._tenants[tenant] = self._client.get_collection(
                    self._collection_name(tenant), embedding_function=None
                )
            except NotFoundError:
                return nothing
        return ask(self._tenants[tenant])

    def _all_tenants(self) -> list[TenantId]:
        prefix = self._collection_name("")
        names = [kept.name for kept in self._client.list_collections()]
        return [TenantId(uuid.UUID(name.removeprefix(prefix))) for name in names if name.startswith(prefix)]

    def _collection_name(self, tenant: TenantId | str) -> str:
        return f"{self._name}.{tenant}"

    async def _run(self, work: Callable[[], T]) -> T:
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)


@asynccontextmanager
async def open_chroma_index(
    settings: ChromaSettings, path: Path, pool: Pool, *, embedder: str, revision: str | None, dimension: int
) -> AsyncIterator[ChromaIndex]:
    """Connect to the server of the settings, or open the folder in this process, and make the table of the words.

    Raises:
        InvalidInput: when the package chromadb is not installed.
        Unavailable: when Chroma does not answer, or another process has the folder open.
    """
    name = f"ragstone-{index_name(embedder, revision, dimension)}"
    postings = Postings(pool, name)
    await postings.prepare()
    with ExitStack() as stack:
        if settings.url is None:
            stack.enter_context(owned(path))
        client = await asyncio.to_thread(stack.enter_context, _connected(settings, path))
        index = ChromaIndex(client, postings, name=name, dimension=dimension)
        try:
            yield index
        finally:
            await asyncio.to_thread(index.close)


async def drop_chroma_index(
    settings: ChromaSettings, path: Path, pool: Pool, *, embedder: str, revision: str | None, dimension: int
) -> None:
    """Delete the points and the words of an embedder, whose index is not open in this process.

    Raises:
        Unavailable: when Chroma does not answer.
    """
    name = f"ragstone-{index_name(embedder, revision, dimension)}"
    await Postings(pool, name).clear()

    def remove() -> None:
        if settings.url is None:
            shutil.rmtree(path, ignore_errors=True)
            return
        with _connected(settings, path) as client, translated():
            for kept in client.list_collections():
                if kept.name.startswith(f"{name}."):
                    client.delete_collection(kept.name)

    await asyncio.to_thread(remove)


def _delete(kept: chromadb.Collection, *, ids: list[str] | None, where: dict[str, Any]) -> None:
    kept.delete(ids=ids, where=where)


@contextmanager
def _connected(settings: ChromaSettings, path: Path) -> Iterator[ClientAPI]:
    try:
        import chromadb
    except ImportError as error:
        raise InvalidInput("The package chromadb is missing: pip install 'ragstone[chroma]'.") from error
    if settings.url is None:
        with translated():
            embedded: Any = chromadb.PersistentClient(path, settings=_quiet())
        with closing(embedded):
            yield embedded
        return
    key = settings.api_key
    with translated():
        remote: Any = chromadb.HttpClient(
            host=str(settings.url.host),
            port=settings.url.port or 0,
            ssl=settings.url.scheme == "https",
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else None,
            settings=_quiet(),
        )
    # The client waits for ever for an answer, has no setting for that, and leaves its connections open.
    # It has two: one for itself, one for the look at its database.
    with ExitStack() as stack:
        stack.enter_context(closing(remote))
        for part in (remote, remote._admin_client):  # noqa: SLF001
            session = stack.enter_context(closing(part._server._session))  # noqa: SLF001
            session.timeout = TIMEOUT_S
        yield remote


def _quiet() -> Settings:
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False)


def where_of(scope: Scope, documents: Collection[DocumentId] | None = None) -> dict[str, Any] | None:
    """The conditions within the tenant's collection; ``None`` when there is none."""
    conditions: list[dict[str, Any]] = []
    for field, values in (("collection", scope.collections), ("document", documents)):
        if values is not None:
            conditions.append({field: {"$in": [str(value) for value in values]}})
    return {"$and": conditions} if len(conditions) > 1 else next(iter(conditions), None)


def key_of(tenant: TenantId, chunk: str, metadata: Mapping[str, Any]) -> PointKey:
    """What a point says of itself."""
    collection, document = (uuid.UUID(metadata[field]) for field in ("collection", "document"))
    return PointKey(
        ChunkId(uuid.UUID(chunk)), tenant, CollectionId(collection), DocumentId(document), int(metadata["generation"])
    )


def slices(chunks: Collection[ChunkId]) -> Iterator[list[str]]:
    """The ids as Chroma takes them, in parts that fit a statement."""
    names = [str(chunk) for chunk in chunks]
    return (names[start : start + SLICE] for start in range(0, len(names), SLICE))


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the client raises, which are bare exceptions too, into `Unavailable`."""
    try:
        yield
    except PlatformError:
        raise
    except Exception as error:  # the client raises bare exceptions
        raise Unavailable(
            f"Chroma does not answer as it should: start it, or check CHROMA__URL. ({type(error).__name__})"
        ) from error
