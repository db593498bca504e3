"""The long-term store of the Agent Server protocol: put, get, delete and search items, and list their namespaces."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from langgraph.store.base import GetOp, Item, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from pydantic import BaseModel, Field

from app.auth import Caller, Using, Writer
from app.limits import check_text
from app.store.namespace import check_key, check_namespace

router = APIRouter(prefix="/store", tags=["store"])

Labels = Annotated[list[str], Field(max_length=20)]


class ItemIn(BaseModel):
    """An item; ``ttl`` is in minutes, ``index`` the paths of the value that it shall be found by."""

    namespace: Labels
    key: str
    value: dict[str, Any]
    index: Literal[False] | list[str] | None = None
    ttl: float | None = None


class ItemPlace(BaseModel):
    """Where an item is."""

    namespace: Labels
    key: str


class ItemSearch(BaseModel):
    """Which items to list; with ``query`` those nearest in meaning, best first."""

    namespace_prefix: Labels = []
    filter: dict[str, Any] | None = None
    limit: int = Field(10, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=1_000_000)
    query: str | None = None
    refresh_ttl: bool | None = None


class NamespaceSearch(BaseModel):
    """Which namespaces to list; a label ``*`` of a prefix or suffix is any one label."""

    prefix: Labels | None = None
    suffix: Labels | None = None
    max_depth: int | None = Field(None, ge=1, le=20)
    limit: int = Field(100, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=1_000_000)


@router.put("/items", status_code=204)
async def put_item(body: ItemIn, principal: Writer, services: Using) -> Response:
    """Store an item, or replace the one that is there."""
    ttl = body.ttl if "ttl" in body.model_fields_set else services.settings.store.ttl_minutes
    operation = PutOp(tuple(body.namespace), body.key, body.value, body.index, ttl)
    await services.items.carry_out(principal.tenant, [operation])
    return Response(status_code=204)


@router.get("/items")
async def get_item(
    principal: Caller,
    services: Using,
    key: str,
    namespace: Annotated[str, Query(description="its labels, with periods between them")],
    refresh_ttl: bool | None = None,
) -> dict[str, Any] | None:
    """One item; ``null`` when there is none."""
    place = tuple(check_namespace(namespace.split(".")))
    refresh = services.settings.store.refresh_on_read if refresh_ttl is None else refresh_ttl
    found = await services.items.carry_out(principal.tenant, [GetOp(place, check_key(key), refresh)])
    item = found[0]
    return item.dict() if isinstance(item, Item) else None


@router.delete("/items", status_code=204)
async def delete_item(body: ItemPlace, principal: Writer, services: Using) -> Response:
    """Remove an item; it is no error when there is none."""
    await services.items.carry_out(principal.tenant, [PutOp(tuple(body.namespace), body.key, None)])
    return Response(status_code=204)


@router.post("/items/search")
async def search_items(body: ItemSearch, principal: Caller, services: Using) -> dict[str, Any]:
    """The items below a namespace that fit a filter: the newest first, or those nearest to a query."""
    if body.query is not None:
        check_text(body.query, "The query", services.settings.api.max_question_chars)
    refresh = services.settings.store.refresh_on_read if body.refresh_ttl is None else body.refresh_ttl
    operation = SearchOp(
        tuple(body.namespace_prefix), body.filter, body.limit, body.offset, body.query, refresh_ttl=refresh
    )
    found: Any = (await services.items.carry_out(principal.tenant, [operation]))[0]
    return {"items": [item.dict() for item in found]}


@router.post("/namespaces")
async def list_namespaces(body: NamespaceSearch, principal: Caller, services: Using) -> dict[str, Any]:
    """The namespaces that hold items, in their order."""
    given = {"prefix": body.prefix, "suffix": body.suffix}
    conditions = tuple(
        MatchCondition("prefix" if kind == "prefix" else "suffix", tuple(path)) for kind, path in given.items() if path
    )
    operation = ListNamespacesOp(conditions, body.max_depth, body.limit, body.offset)
    found: Any = (await services.items.carry_out(principal.tenant, [operation]))[0]
    return {"namespaces": [list(namespace) for namespace in found]}
