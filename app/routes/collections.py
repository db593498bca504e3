"""Collections: list, create, change, make anew, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from app.auth import Caller, Using, Writer
from app.cursor import read_name, write_cursor
from app.schemas import SCHEMA_FIELD, CollectionList, CollectionName, CollectionOut, MetadataSchema, RebuildOut
from ingest.chunking.spec import ChunkerSpec
from ingest.collection import DEFAULT, Collection
from ingest.rebuild import Wanted, ask_for_rebuild

router = APIRouter(tags=["collections"])


class CollectionIn(BaseModel):
    """A new collection."""

    model_config = ConfigDict(extra="forbid")

    name: CollectionName
    chunker: ChunkerSpec | None = Field(None, description="how documents are cut; null: as the settings say")
    metadata_schema: MetadataSchema | None = SCHEMA_FIELD


class CollectionPatch(BaseModel):
    """A change of a collection; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    metadata_schema: MetadataSchema | None = SCHEMA_FIELD


@router.get("/collections")
async def list_collections(
    principal: Caller,
    services: Using,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    cursor: str | None = None,
) -> CollectionList:
    """The collections of the tenant, by name."""
    await services.collections.get(principal.tenant, DEFAULT)
    after = read_name(cursor) if cursor else ""
    found = await services.collections.page(principal.tenant, after=after, limit=limit + 1)
    return CollectionList(
        collections=[wire(collection) for collection in found[:limit]],
        next_cursor=write_cursor(found[limit - 1].name) if len(found) > limit else None,
    )


@router.post("/collections", status_code=201)
async def create_collection(body: CollectionIn, principal: Writer, services: Using) -> CollectionOut:
    """Make a collection for the running embedder."""
    collection = await services.collections.create(principal.tenant, body.name, body.chunker, body.metadata_schema)
    return wire(collection)


@router.patch("/collections/{name}")
async def change_collection(
    name: CollectionName, body: CollectionPatch, principal: Writer, services: Using
) -> CollectionOut:
    """Change a collection's metadata schema; refused when a document that it holds does not fit."""
    if "metadata_schema" not in body.model_fields_set:
        return wire(await services.collections.get(principal.tenant, name))
    return wire(await services.collections.set_schema(principal.tenant, name, body.metadata_schema))


@router.get("/collections/{name}")
async def get_collection(name: CollectionName, principal: Caller, services: Using) -> CollectionOut:
    """One collection, and how far a change of its embedder or chunker is."""
    return wire(await services.collections.get(principal.tenant, name))


@router.post("/collections/{name}/reembed", status_code=202)
async def reembed_collection(
    name: CollectionName, principal: Writer, services: Using, body: Wanted | None = None
) -> CollectionOut:
    """Make a collection anew for the running embedder, or another one, or another chunker; search goes on meanwhile."""
    collection = await services.collections.get(principal.tenant, name)
    async with services.pool.connection() as connection, connection.transaction():
        if await ask_for_rebuild(connection, collection.id, name, body or Wanted()):
            await services.jobs.reembed(connection, collection.id)
    return wire(await services.collections.get(principal.tenant, name))


@router.delete("/collections/{name}", status_code=204)
async def delete_collection(name: CollectionName, principal: Writer, services: Using) -> Response:
    """Delete an empty collection."""
    await services.collections.delete(principal.tenant, name)
    return Response(status_code=204)


def wire(collection: Collection) -> CollectionOut:
    """A collection as it goes over the wire."""
    values = {name: getattr(collection, name) for name in CollectionOut.model_fields if name != "rebuild"}
    rebuild = None if collection.rebuild is None else RebuildOut.model_validate(collection.rebuild)
    return CollectionOut(**values, rebuild=rebuild)
