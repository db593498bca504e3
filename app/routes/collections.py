"""Collections: list, create, change, delete."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.auth import Caller, Using, Writer
from app.schemas import CollectionIn, CollectionList, CollectionName, CollectionOut, CollectionPatch
from ingest.collection import DEFAULT, Collection

router = APIRouter(tags=["collections"])


@router.get("/collections")
async def list_collections(principal: Caller, services: Using) -> CollectionList:
    """All collections of the tenant."""
    await services.collections.get(principal.tenant, DEFAULT)
    collections = await services.collections.all(principal.tenant)
    return CollectionList(collections=[wire(collection) for collection in collections])


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


@router.delete("/collections/{name}", status_code=204)
async def delete_collection(name: CollectionName, principal: Writer, services: Using) -> Response:
    """Delete an empty collection."""
    await services.collections.delete(principal.tenant, name)
    return Response(status_code=204)


def wire(collection: Collection) -> CollectionOut:
    """A collection as it goes over the wire."""
    return CollectionOut(**{name: getattr(collection, name) for name in CollectionOut.model_fields})
