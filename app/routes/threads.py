"""Threads of the Agent Server protocol: make, find, change, delete, and read their state."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from app.auth import Caller, Using
from app.services import Services
from app.wire import plain, thread_state
from core.domain import Principal
from core.errors import NotFound

router = APIRouter(tags=["threads"])

Sort = Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"]


class ThreadCreate(BaseModel):
    """A new thread."""

    thread_id: UUID | None = None
    metadata: dict[str, Any] | None = None
    if_exists: Literal["raise", "do_nothing"] | None = "raise"


class ThreadPatch(BaseModel):
    """Metadata to merge into a thread's."""

    metadata: dict[str, Any] | None = None


class ThreadSearch(BaseModel):
    """Which threads to list."""

    metadata: dict[str, Any] | None = None
    status: Literal["idle", "busy", "interrupted", "error"] | None = None
    ids: list[UUID] | None = None
    limit: int = Field(10, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=1_000_000)
    sort_by: Sort | None = "updated_at"
    sort_order: Literal["asc", "desc"] | None = "desc"
    select: list[str] | None = None


class HistoryRequest(BaseModel):
    """How much of a thread's history to read, and from where."""

    limit: int = Field(10, ge=1, le=1000)
    before: str | dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    checkpoint: dict[str, Any] | None = None


async def graph_of(services: Services, thread: dict[str, Any]) -> Any:
    """The graph that the thread's last run used; before its first run any will do, for there is no state."""
    try:
        return services.agents.get(str(thread["metadata"].get("graph_id", "rag"))).graph
    except NotFound:
        return services.agents.all()[0].graph


async def with_values(services: Services, thread: dict[str, Any]) -> dict[str, Any]:
    """The thread with the values of its last checkpoint and its open interrupts."""
    graph = await graph_of(services, thread)
    snapshot = await graph.aget_state({"configurable": {"thread_id": str(thread["thread_id"])}})
    interrupts = {task.id: [{"value": i.value, "id": i.id} for i in task.interrupts] for task in snapshot.tasks}
    return {**thread, "values": plain(snapshot.values) or None, "interrupts": plain(interrupts), "config": {}}


async def full(services: Services, principal: Principal, thread_id: UUID) -> dict[str, Any]:
    """The protocol's Thread."""
    return await with_values(services, await services.threads.get(principal, thread_id))


@router.post("/threads")
async def create_thread(body: ThreadCreate, principal: Caller, services: Using) -> dict[str, Any]:
    """Make a thread; with ``if_exists="do_nothing"`` an existing one is returned."""
    thread_id = body.thread_id or uuid.uuid4()
    await services.threads.create(principal, thread_id, body.metadata or {}, if_exists=body.if_exists or "raise")
    return await full(services, principal, thread_id)


@router.post("/threads/search")
async def search_threads(
    body: ThreadSearch, response: Response, principal: Caller, services: Using
) -> list[dict[str, Any]]:
    """The caller's threads; ``X-Pagination-Next`` is the next offset when there are more."""
    threads = await services.threads.search(
        principal,
        metadata=body.metadata or {},
        status=body.status,
        ids=body.ids,
        sort_by=body.sort_by or "updated_at",
        descending=body.sort_order != "asc",
        limit=body.limit + 1,
        offset=body.offset,
    )
    if len(threads) > body.limit:
        response.headers["X-Pagination-Next"] = str(body.offset + body.limit)
    wanted = None if body.select is None else set(body.select)
    needs_state = wanted is None or wanted & {"values", "interrupts"}
    found = [await with_values(services, thread) if needs_state else thread for thread in threads[: body.limit]]
    return [thread if wanted is None else {k: v for k, v in thread.items() if k in wanted} for thread in found]


@router.get("/threads/{thread_id}")
async def get_thread(thread_id: UUID, principal: Caller, services: Using) -> dict[str, Any]:
    """One thread with its values."""
    return await full(services, principal, thread_id)


@router.patch("/threads/{thread_id}")
async def update_thread(thread_id: UUID, body: ThreadPatch, principal: Caller, services: Using) -> dict[str, Any]:
    """Merge keys into the thread's metadata."""
    await services.threads.update(principal, thread_id, body.metadata or {})
    return await full(services, principal, thread_id)


@router.delete("/threads/{thread_id}", status_code=204)
async def delete_thread(thread_id: UUID, principal: Caller, services: Using) -> Response:
    """Stop what runs on the thread and remove all of it."""
    await services.threads.get(principal, thread_id)
    for run in await services.runs.of_thread(principal, thread_id, status=None, limit=10):
        if run.status in ("pending", "running"):
            await services.runner.cancel(run)
            await services.runner.wait(run)
    await services.threads.delete(principal, thread_id)
    return Response(status_code=204)


@router.get("/threads/{thread_id}/state")
async def get_state(
    thread_id: UUID, principal: Caller, services: Using, subgraphs: Annotated[bool, Query()] = False
) -> dict[str, Any]:
    """The thread's state at its last checkpoint."""
    graph = await graph_of(services, await services.threads.get(principal, thread_id))
    config = {"configurable": {"thread_id": str(thread_id)}}
    return thread_state(await graph.aget_state(config, subgraphs=subgraphs))


@router.get("/threads/{thread_id}/state/{checkpoint_id}")
async def get_state_at(thread_id: UUID, checkpoint_id: str, principal: Caller, services: Using) -> dict[str, Any]:
    """The thread's state at one of its checkpoints."""
    graph = await graph_of(services, await services.threads.get(principal, thread_id))
    config = {"configurable": {"thread_id": str(thread_id), "checkpoint_id": checkpoint_id}}
    snapshot = await graph.aget_state(config)
    if snapshot.created_at is None:
        raise NotFound(f"There is no checkpoint {checkpoint_id!r} on this thread.")
    return thread_state(snapshot)


@router.post("/threads/{thread_id}/history")
async def get_history(
    thread_id: UUID, body: HistoryRequest, principal: Caller, services: Using
) -> list[dict[str, Any]]:
    """The thread's states, newest first."""
    graph = await graph_of(services, await services.threads.get(principal, thread_id))
    before = body.before if isinstance(body.before, str) else (body.before or {}).get("checkpoint_id")
    snapshots = graph.aget_state_history(
        {"configurable": {"thread_id": str(thread_id)}},
        filter=body.metadata,
        before={"configurable": {"thread_id": str(thread_id), "checkpoint_id": before}} if before else None,
        limit=body.limit,
    )
    return [thread_state(snapshot) async for snapshot in snapshots]
