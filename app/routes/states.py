"""States of threads in the Agent Server protocol: read them at any checkpoint, list them, change them by hand."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.auth import Caller, Using
from app.services import Services
from app.state import wire_state
from app.wire import checkpoint_of
from core.domain import Principal
from core.errors import InvalidInput

router = APIRouter(tags=["threads"])

FIELDS = ("values", "next", "tasks", "checkpoint", "metadata", "created_at", "parent_checkpoint", "interrupts")
Select = Annotated[list[str] | None, Query(description="fields of the state; `values.KEY` is one of its values")]


class CheckpointIn(BaseModel):
    """A checkpoint of a thread or of a subgraph on it."""

    thread_id: str | None = None
    checkpoint_id: str | None = None
    checkpoint_ns: str | None = None
    checkpoint_map: dict[str, str] | None = None


class StateAt(BaseModel):
    """Which state to read."""

    checkpoint: CheckpointIn
    subgraphs: bool = False
    select: list[str] | None = None


class StateUpdateIn(BaseModel):
    """What a node is said to have given."""

    values: dict[str, Any] | list[dict[str, Any]] | None = None
    as_node: str | None = None
    checkpoint: CheckpointIn | None = None
    checkpoint_id: str | None = None


class HistoryRequest(BaseModel):
    """How much of a thread's history to read, and from where."""

    limit: int = Field(10, ge=1, le=1000)
    before: str | CheckpointIn | None = None
    metadata: dict[str, Any] | None = None
    checkpoint: CheckpointIn | None = None
    select: list[str] | None = None


def checked(select: list[str] | None) -> list[str] | None:
    """The fields that were asked for.

    Raises:
        InvalidInput: one is no field of a state.
    """
    for name in select or ():
        if name not in FIELDS and not (name.startswith("values.") and len(name) > len("values.")):
            raise InvalidInput(f"select: {name!r} is no field of a state. There are {', '.join(FIELDS)}, values.KEY.")
    return select or None


async def state_of(
    services: Services,
    principal: Principal,
    thread_id: UUID,
    checkpoint: CheckpointIn | None,
    *,
    subgraphs: bool,
    select: list[str] | None,
) -> dict[str, Any]:
    """The protocol's ThreadState."""
    fields = checked(select)
    thread = await services.threads.get(principal, thread_id, with_state=False)
    said = checkpoint.model_dump() if checkpoint else None
    snapshot = await services.states.read(thread, checkpoint=said, subgraphs=subgraphs)
    return wire_state(thread_id, snapshot, fields)


@router.get("/threads/{thread_id}/state")
async def get_state(
    thread_id: UUID, principal: Caller, services: Using, subgraphs: bool = False, select: Select = None
) -> dict[str, Any]:
    """The thread's state at its last checkpoint."""
    return await state_of(services, principal, thread_id, None, subgraphs=subgraphs, select=select)


@router.get("/threads/{thread_id}/state/{checkpoint_id}")
async def get_state_at(
    thread_id: UUID,
    checkpoint_id: str,
    principal: Caller,
    services: Using,
    subgraphs: bool = False,
    select: Select = None,
) -> dict[str, Any]:
    """The thread's state at one of its checkpoints."""
    checkpoint = CheckpointIn(checkpoint_id=checkpoint_id)
    return await state_of(services, principal, thread_id, checkpoint, subgraphs=subgraphs, select=select)


@router.post("/threads/{thread_id}/state/checkpoint")
async def read_state(thread_id: UUID, body: StateAt, principal: Caller, services: Using) -> dict[str, Any]:
    """The thread's state at a checkpoint, also of a subgraph."""
    return await state_of(services, principal, thread_id, body.checkpoint, subgraphs=body.subgraphs, select=body.select)


@router.post("/threads/{thread_id}/state")
async def update_state(thread_id: UUID, body: StateUpdateIn, principal: Caller, services: Using) -> dict[str, Any]:
    """Change the state as if a node had given the values; as node ``__end__`` without values, give up what waits."""
    checkpoint = body.checkpoint.model_dump() if body.checkpoint else {"checkpoint_id": body.checkpoint_id}
    thread = await services.threads.get(principal, thread_id, with_state=False)
    made = await services.states.update(principal, thread, body.values, as_node=body.as_node, checkpoint=checkpoint)
    return {"checkpoint": checkpoint_of(made), **made}


@router.post("/threads/{thread_id}/history")
async def get_history(
    thread_id: UUID, body: HistoryRequest, principal: Caller, services: Using
) -> list[dict[str, Any]]:
    """The thread's states, newest first."""
    fields = checked(body.select)
    thread = await services.threads.get(principal, thread_id, with_state=False)
    history = services.states.history(
        thread,
        limit=body.limit,
        before=body.before.checkpoint_id if isinstance(body.before, CheckpointIn) else body.before,
        metadata=body.metadata,
        checkpoint=body.checkpoint.model_dump() if body.checkpoint else None,
    )
    return [wire_state(thread_id, snapshot, fields) async for snapshot in history]
