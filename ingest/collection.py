"""Collections: named sets of documents, stamped with what their chunks were made and embedded with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from core.database import Pool
from core.domain import CollectionId, EmbedderStamp, FieldKind, NamedSchema, Schema, Scope, TenantId
from core.errors import Conflict, InvalidInput, NotFound
from ingest.chunking.spec import ChunkerSpec, check_spec, read_spec
from ingest.metadata import check_metadata
from ingest.rebuild import REBUILD_JSON, Rebuild, rebuild_of
from ingest.stamp import COLUMNS, Making, Stamp, check_stamp
from models.embedder import Embedder
from models.embedders import stamp_of

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection's row, and how many documents it holds."""

    id: CollectionId
    name: str
    embedder: str
    embedder_revision: str
    dimension: int
    chunker: ChunkerSpec
    chunker_stamp: str
    lexical: str
    metadata_schema: Schema | None
    documents: int
    paused_at: datetime | None
    rebuild: Rebuild | None
    created_at: datetime

    @property
    def stamp(self) -> Stamp:
        """What its chunks and vectors were made with."""
        return Stamp(
            EmbedderStamp(self.embedder, self.embedder_revision, self.dimension), self.chunker_stamp, self.lexical
        )

    def check(self, running: EmbedderStamp) -> None:
        """Refuse to mix what two stamps have made; not while the collection is made anew.

        Raises:
            StampMismatch: with the command that makes the collection anew.
        """
        if self.rebuild is None or not self.rebuild.active:
            check_stamp(self.name, Making(self.stamp, self.chunker), running)


class Collections:
    """The rows of ``collections``."""

    def __init__(self, pool: Pool, embedder: Embedder, chunker: ChunkerSpec) -> None:
        self._pool = pool
        self._embedder = embedder
        self._chunker = chunker

    async def create(
        self, tenant: TenantId, name: str, chunker: ChunkerSpec | None = None, schema: Schema | None = None
    ) -> Collection:
        """Create a collection for the running embedder; without a ``chunker`` it is cut as the settings say.

        With a ``schema`` it takes documents whose metadata fits it, without one every metadata.

        Raises:
            Conflict: the name is taken.
            InvalidInput: the embedder cannot read chunks of that size.
        """
        if chunker is not None:
            check_spec(chunker, self._embedder)
        if not await self._insert(tenant, name, chunker, schema):
            raise Conflict(f"A collection named {name!r} exists already.")
        return await self.get(tenant, name)

    async def get(self, tenant: TenantId, name: str) -> Collection:
        """A collection by name; the default one is made when it is first asked for.

        Raises:
            NotFound: there is none of that name.
        """
        if name == DEFAULT:
            await self._insert(tenant, name)
        found = await self._select("name = %s", tenant, name, 1)
        if not found:
            raise NotFound(f"There is no collection {name!r}. Create it with POST /collections.")
        return found[0]

    async def page(self, tenant: TenantId, *, after: str, limit: int) -> list[Collection]:
        """The collections of a tenant whose names come after one, by name."""
        return await self._select("name > %s", tenant, after, limit)

    async def _select(self, condition: str, tenant: TenantId, name: str, limit: int) -> list[Collection]:
        query = (
            "SELECT c.*, (SELECT count(*) FROM documents d WHERE d.collection_id = c.id "  # noqa: S608 (constants)
            f"AND d.status <> 'deleting') AS documents, ({REBUILD_JSON}) AS rebuild "
            f"FROM collections c WHERE tenant_id = %s AND {condition} ORDER BY name LIMIT %s"
        )
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), (tenant, name, limit))
            return [_collection(row) for row in await cursor.fetchall()]

    async def ids(self, tenant: TenantId, names: Sequence[str]) -> frozenset[CollectionId]:
        """The ids of named collections.

        Raises:
            NotFound: one of them does not exist.
        """
        wanted = set(names)
        if DEFAULT in wanted:
            await self._insert(tenant, DEFAULT)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, name FROM collections WHERE tenant_id = %s AND name = ANY(%s)", (tenant, list(wanted))
            )
            found = {row["name"]: CollectionId(row["id"]) for row in await cursor.fetchall()}
        if missing := sorted(wanted - found.keys()):
            raise NotFound(f"There is no collection {missing[0]!r}. Create it with POST /collections.")
        return frozenset(found.values())

    async def schemas(self, scope: Scope) -> list[NamedSchema]:
        """The name and the metadata schema of each collection in the scope, by name."""
        collections = None if scope.collections is None else list(scope.collections)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT name, metadata_schema FROM collections WHERE tenant_id = %s "
                "AND (%s::uuid[] IS NULL OR id = ANY(%s)) ORDER BY name",
                (scope.tenant, collections, collections),
            )
            return [NamedSchema(row["name"], read_schema(row["metadata_schema"])) for row in await cursor.fetchall()]

    async def set_schema(self, tenant: TenantId, name: str, schema: Schema | None) -> Collection:
        """Change what the collection says of its documents' metadata.

        Raises:
            NotFound: there is none of that name.
            Conflict: a document that it holds does not fit.
        """
        collection = await self.get(tenant, name)
        async with self._pool.connection() as connection, connection.transaction():
            # Documents that are accepted meanwhile wait: a new one locks its collection's row.
            await connection.execute("SELECT FROM collections WHERE id = %s FOR UPDATE", (collection.id,))
            async with connection.cursor("metadata") as cursor:
                await cursor.execute(
                    "SELECT name, metadata FROM documents WHERE collection_id = %(id)s AND status <> 'deleting' "
                    "AND metadata <> '{}' UNION ALL "
                    "SELECT live_name, live_metadata FROM documents WHERE collection_id = %(id)s "
                    "AND status <> 'deleting' AND live_metadata <> metadata",
                    {"id": collection.id},
                )
                async for row in cursor:
                    _check_fits(row, schema, name)
            await connection.execute(
                "UPDATE collections SET metadata_schema = %s WHERE id = %s", (_stored(schema), collection.id)
            )
        return await self.get(tenant, name)

    async def delete(self, tenant: TenantId, name: str) -> None:
        """Delete an empty collection.

        Raises:
            NotFound: there is none of that name.
            Conflict: it still holds documents.
        """
        collection = await self.get(tenant, name)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM collections c WHERE id = %s "
                "AND NOT EXISTS (SELECT FROM documents d WHERE d.collection_id = c.id)",
                (collection.id,),
            )
        if cursor.rowcount == 0:
            raise Conflict(f"Collection {name!r} still holds documents. Delete them first, then the collection.")

    async def _insert(
        self, tenant: TenantId, name: str, chunker: ChunkerSpec | None = None, schema: Schema | None = None
    ) -> bool:
        spec = chunker or self._chunker
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"INSERT INTO collections (tenant_id, name, {COLUMNS}, chunker_options, metadata_schema) "  # noqa: S608 (constants)
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (tenant_id, name) DO NOTHING",
                (
                    tenant,
                    name,
                    *Stamp(stamp_of(self._embedder), spec.stamp).values,
                    Jsonb(spec.model_dump(mode="json")),
                    _stored(schema),
                ),
            )
        return cursor.rowcount == 1


def _check_fits(row: DictRow, schema: Schema | None, collection: str) -> None:
    try:
        check_metadata(row["metadata"], schema, collection)
    except InvalidInput as error:
        raise Conflict(f"The document {row['name']!r} does not fit the new schema: {error}") from error


def _stored(schema: Schema | None) -> Jsonb | None:
    return None if schema is None else Jsonb(dict(schema))


def read_schema(stored: Mapping[str, str] | None) -> Schema | None:
    """A metadata schema from its column."""
    return None if stored is None else {field: FieldKind(kind) for field, kind in stored.items()}


def _collection(row: DictRow) -> Collection:
    return Collection(
        id=row["id"],
        name=row["name"],
        embedder=row["embedder"],
        embedder_revision=row["embedder_revision"],
        dimension=row["dimension"],
        chunker=read_spec(row["chunker_options"]),
        chunker_stamp=row["chunker"],
        lexical=row["lexical"],
        metadata_schema=read_schema(row["metadata_schema"]),
        documents=row["documents"],
        paused_at=row["paused_at"],
        rebuild=None if row["rebuild"] is None else rebuild_of(row["rebuild"]),
        created_at=row["created_at"],
    )
