"""Threads of the Agent Server protocol: make, find, change, copy, prune and delete them."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field, field_validator

from app.auth import Caller, Using
from app.checkpoints import size_of
from app.extract import extracted, read_paths
from app.listing import Window, paged, selected
from app.retention import prune
from app.services import Services
from app.thread import SORTS, ThreadFilter, Ttl
from app.wire import plain
from core.domain import Principal
from core.errors import InvalidInput, NotFound

router = APIRouter(tags=["threads"])

Sort = Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"]
Status = Literal["idle", "busy", "interrupted", "error"]
INTERNAL = ("state_updated_at", "ttl_minutes", "ttl_strategy")


class TtlIn(BaseModel):
    """How long a thread stays after its last change, in minutes, and what happens then."""

    ttl: float = Field(gt=0, le=100 * 366 * 24 * 60)
    strategy: Literal["delete", "keep_latest"] = "delete"

    @property
    def value(self) -> Ttl:
        """The same as the rows have it."""
        return Ttl(minutes=self.ttl, strategy=self.strategy)


class Superstep(BaseModel):
    """Updates that the nodes of one superstep gave: each ``{values | command, as_node}``."""

    updates: list[dict[str, Any]] = Field(min_length=1, max_length=1000)


class ThreadCreate(BaseModel):
    """A new thread."""

    thread_id: UUID | None = None
    metadata: dict[str, Any] | None = None
    if_exists: Literal["raise", "do_nothing"] | None = "raise"
    supersteps: list[Superstep] | None = Field(None, max_length=1000)
    ttl: TtlIn | None = None

    @field_validator("ttl", mode="before")
    @classmethod
    def _minutes(cls, value: Any) -> Any:
        return as_ttl(value)


class ThreadPatch(BaseModel):
    """Metadata to merge into a thread's, and another ttl."""

    metadata: dict[str, Any] | None = None
    ttl: TtlIn | None = None

    @field_validator("ttl", mode="before")
    @classmethod
    def _minutes(cls, value: Any) -> Any:
        return as_ttl(value)


class ThreadCount(BaseModel):
    """Which threads fit."""

    metadata: dict[str, Any] | None = None
    values: dict[str, Any] | None = None
    status: Status | None = None

    @property
    def asked(self) -> ThreadFilter:
        """What fits, as the rows are asked for it."""
        return ThreadFilter(metadata=self.metadata or {}, values=self.values or {}, status=self.status)


class ThreadSearch(ThreadCount):
    """Which threads to list, and how."""

    ids: list[UUID] | None = Field(None, max_length=1000)
    limit: int = Field(10, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=1_000_000)
    sort_by: Sort | None = None
    sort_order: Literal["asc", "desc"] | None = None
    select: list[str] | None = None
    extract: dict[str, str] | None = None

    @property
    def asked(self) -> ThreadFilter:
        """What fits, as the rows are asked for it."""
        return ThreadFilter(metadata=self.metadata or {}, values=self.values or {}, status=self.status, ids=self.ids)

    @property
    def window(self) -> Window:
        """The page that is asked for; without an order the last changed are first."""
        return Window(
            limit=self.limit,
            offset=self.offset,
            sort_by=SORTS[self.sort_by or "updated_at"],
            descending=self.sort_order != "asc",
        )


class PruneRequest(BaseModel):
    """Which threads to make smaller, and how: remove them, or all of their checkpoints but the last."""

    thread_ids: list[UUID] = Field(max_length=1000)
    strategy: Literal["delete", "keep_latest"] = "delete"


def as_ttl(value: Any) -> Any:
    """A bare number is a number of minutes."""
    return {"ttl": value} if isinstance(value, int | float) else value


def wire(thread: dict[str, Any]) -> dict[str, Any]:
    """The protocol's Thread."""
    return dict(plain({key: value for key, value in thread.items() if key not in INTERNAL}))


async def with_state(services: Services, thread: dict[str, Any]) -> dict[str, Any]:
    """The thread with what its row shows of its state; a run that is under way is further than the row."""
    if thread["status"] != "busy" and thread["state_updated_at"] is not None:
        return thread
    return {**thread, **await services.states.current(thread)}


async def remove(services: Services, principal: Principal, thread_id: UUID) -> None:
    """Stop what runs on the thread and remove all of it.

    Raises:
        NotFound: the principal has no such thread.
    """
    await services.threads.get(principal, thread_id, with_state=False)
    for run in await services.runs.of_thread(principal, thread_id, status=None, limit=1000):
        if run.status in ("pending", "running"):
            await services.runner.cancel(run)
            await services.runner.wait(run)
    await services.threads.delete(principal, thread_id)


@router.post("/threads")
async def create_thread(body: ThreadCreate, principal: Caller, services: Using) -> dict[str, Any]:
    """Make a thread, with the states of ``supersteps``; with ``if_exists="do_nothing"`` an existing one is returned."""
    thread_id = body.thread_id or uuid.uuid4()
    ttl = body.ttl.value if body.ttl else None
    made = await services.threads.create(
        principal, thread_id, body.metadata or {}, if_exists=body.if_exists or "raise", ttl=ttl
    )
    if body.supersteps and made:
        thread = await services.threads.get(principal, thread_id)
        try:
            await services.states.play_supersteps(principal, thread, [step.updates for step in body.supersteps])
        except Exception:  # whatever it was: no half-made thread stays
            await services.threads.delete(principal, thread_id)
            raise
    return wire(await with_state(services, await services.threads.get(principal, thread_id)))


@router.post("/threads/search")
async def search_threads(
    body: ThreadSearch, response: Response, principal: Caller, services: Using
) -> list[dict[str, Any]]:
    """The caller's threads; the headers say how many there are, and where the next page starts."""
    paths = read_paths(body.extract or {})
    wanted = {"values", "interrupts"}
    state = body.select is None or bool(wanted & {*body.select, *(steps[0] for steps in paths.values())})
    paged(response, body.window, await services.threads.count(principal, body.asked))
    threads = await services.threads.search(principal, body.asked, body.window, with_state=state)
    found = []
    for thread in threads:
        known = not state or thread["state_updated_at"] is not None
        shown = wire(thread if known else await with_state(services, thread))
        found += selected([shown], body.select)
        if paths:
            found[-1]["extracted"] = extracted(shown, paths)
    return found


@router.post("/threads/count")
async def count_threads(body: ThreadCount, principal: Caller, services: Using) -> int:
    """How many of the caller's threads fit."""
    return await services.threads.count(principal, body.asked)


@router.post("/threads/prune")
async def prune_threads(body: PruneRequest, principal: Caller, services: Using) -> dict[str, int]:
    """Remove threads, or all of their checkpoints but the last; says how many of them there were."""
    pruned = 0
    for thread_id in dict.fromkeys(body.thread_ids):
        try:
            if body.strategy == "delete":
                await remove(services, principal, thread_id)
            else:
                await services.threads.get(principal, thread_id, with_state=False)
                await prune(services.pool, thread_id, keep=1)
        except NotFound:
            continue
        pruned += 1
    return {"pruned_count": pruned}


@router.get("/threads/{thread_id}")
async def get_thread(
    thread_id: UUID,
    principal: Caller,
    services: Using,
    include: Annotated[str, Query(description="`ttl`, `size`, or both with a comma between them")] = "",
) -> dict[str, Any]:
    """One thread with its values; ``include=size`` says how many checkpoints it has and how many bytes they take."""
    asked = {name for name in include.split(",") if name}
    if strange := asked - {"ttl", "size"}:
        raise InvalidInput(f"include: {min(strange)!r} is not known; there are 'ttl' and 'size'.")
    thread = await services.threads.get(principal, thread_id)
    shown = wire(await with_state(services, thread))
    if "ttl" in asked:
        minutes, strategy = thread["ttl_minutes"], thread["ttl_strategy"]
        shown["ttl"] = plain(Ttl(minutes=minutes, strategy=strategy).wire(thread["updated_at"])) if minutes else None
    if "size" in asked:
        shown["size"] = await size_of(services.pool, thread_id)
    return shown


@router.patch("/threads/{thread_id}", responses={204: {"description": "Changed (`Prefer: return=minimal`)"}})
async def update_thread(
    thread_id: UUID,
    body: ThreadPatch,
    principal: Caller,
    services: Using,
    prefer: Annotated[str | None, Header()] = None,
) -> Any:
    """Merge keys into the thread's metadata, or give it another ttl."""
    await services.threads.update(principal, thread_id, body.metadata or {}, body.ttl.value if body.ttl else None)
    if prefer == "return=minimal":
        return Response(status_code=204)
    return wire(await with_state(services, await services.threads.get(principal, thread_id)))


@router.post("/threads/{thread_id}/copy")
async def copy_thread(thread_id: UUID, principal: Caller, services: Using) -> dict[str, Any]:
    """Make a thread like this one: its metadata and all of its states, without its runs."""
    copied = uuid.uuid4()
    await services.threads.copy(principal, thread_id, copied)
    return wire(await with_state(services, await services.threads.get(principal, copied)))


@router.delete("/threads/{thread_id}", status_code=204)
async def delete_thread(thread_id: UUID, principal: Caller, services: Using) -> Response:
    """Stop what runs on the thread and remove all of it."""
    await remove(services, principal, thread_id)
    return Response(status_code=204)
