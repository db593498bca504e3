"""Crons of the Agent Server protocol: make, find, change and delete runs that begin again and again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from app.auth import Caller, Using
from app.crons.cron import SORTS, CronContent, CronFilter
from app.crons.ticker import run_of
from app.listing import Window, paged, selected
from app.runs.order import RunCreate
from app.services import Services
from app.wire import plain
from core.domain import Principal

router = APIRouter(tags=["crons"])

Column = Literal[
    "cron_id",
    "assistant_id",
    "thread_id",
    "end_time",
    "schedule",
    "timezone",
    "created_at",
    "updated_at",
    "user_id",
    "payload",
    "next_run_date",
    "metadata",
    "now",
    "on_run_completed",
    "enabled",
]
SCHEDULE = {"schedule", "timezone", "end_time", "enabled", "on_run_completed", "metadata"}
"""What belongs to the cron and not to its runs."""


class CronCreate(RunCreate):
    """A new cron: a run, and when it begins."""

    schedule: str = Field(max_length=200)
    timezone: str | None = Field(None, max_length=100)
    end_time: datetime | None = None
    enabled: bool | None = None
    on_run_completed: Literal["delete", "keep"] | None = None


class CronPatch(BaseModel):
    """What a cron shall say otherwise; ``end_time`` of ``null`` takes its end away."""

    schedule: str | None = Field(None, max_length=200)
    timezone: str | None = Field(None, max_length=100)
    end_time: datetime | None = None
    enabled: bool | None = None
    on_run_completed: Literal["delete", "keep"] | None = None
    input: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    webhook: str | None = None
    interrupt_before: Literal["*"] | list[str] | None = None
    interrupt_after: Literal["*"] | list[str] | None = None
    stream_mode: str | list[str] | None = None
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    durability: str | None = None


class CronCount(BaseModel):
    """Which crons fit; the assistant by its id or its graph's name."""

    assistant_id: str | None = None
    thread_id: UUID | None = None
    enabled: bool | None = None
    metadata: dict[str, Any] | None = None


class CronSearch(CronCount):
    """Which crons to list, and how."""

    limit: int = Field(10, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=1_000_000)
    sort_by: Literal[tuple(SORTS)] | None = "created_at"  # type: ignore[valid-type]
    sort_order: Literal["asc", "desc"] | None = "desc"
    select: list[Column] | None = None


async def make(body: CronCreate, thread: UUID | None, principal: Principal, services: Services) -> dict[str, Any]:
    """Check what each run shall do, and store the cron."""
    assistant = await services.assistants.get(principal, body.assistant_id)
    content = CronContent(
        assistant=assistant.id,
        thread=thread,
        schedule=body.schedule,
        timezone=body.timezone,
        end_time=body.end_time,
        enabled=body.enabled is not False,
        on_run_completed=body.on_run_completed or "delete",
        payload=body.model_dump(mode="json", exclude_unset=True, exclude=SCHEDULE),
        metadata=body.metadata or {},
    )
    await check(content, principal, services)
    return wire(await services.crons.create(principal, content))


async def check(content: CronContent, principal: Principal, services: Services) -> None:
    """Refuse a cron whose runs would all be refused.

    Raises:
        InvalidInput: what it asks for is not possible.
        NotFound: what it names does not exist.
    """
    content.values()
    if content.thread is not None:
        await services.threads.get(principal, content.thread)
    body = run_of(content.payload, content.metadata, None, content.on_run_completed)
    order = await services.orders.read(principal, body, content.thread)
    if order.refusal and content.thread is None:
        raise order.refusal


def wire(row: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol's Cron."""
    return dict(plain(row))


@router.post("/runs/crons")
async def create_cron(body: CronCreate, principal: Caller, services: Using) -> dict[str, Any]:
    """Make a cron whose runs each have a thread of their own, removed at the end unless it shall be kept."""
    return await make(body, None, principal, services)


@router.post("/threads/{thread_id}/runs/crons")
async def create_cron_of_thread(
    thread_id: UUID, body: CronCreate, principal: Caller, services: Using
) -> dict[str, Any]:
    """Make a cron whose runs all are on one thread; it goes with the thread."""
    return await make(body, thread_id, principal, services)


@router.post("/runs/crons/search")
async def search_crons(
    body: CronSearch, response: Response, principal: Caller, services: Using
) -> list[dict[str, Any]]:
    """The caller's crons."""
    asked = await filter_of(body, principal, services)
    window = Window(
        limit=body.limit,
        offset=body.offset,
        sort_by=SORTS[body.sort_by or "created_at"],
        descending=body.sort_order != "asc",
    )
    paged(response, window, await services.crons.count(principal, asked))
    return selected([wire(row) for row in await services.crons.search(principal, asked, window)], body.select)


@router.post("/runs/crons/count")
async def count_crons(body: CronCount, principal: Caller, services: Using) -> int:
    """How many of the caller's crons fit."""
    return await services.crons.count(principal, await filter_of(body, principal, services))


@router.patch("/runs/crons/{cron_id}")
async def change_cron(cron_id: UUID, body: CronPatch, principal: Caller, services: Using) -> dict[str, Any]:
    """Change what a cron says; what is left out stays."""
    stored = await services.crons.get(principal, cron_id)
    said = body.model_dump(mode="python", exclude_unset=True)
    named = {name: value for name, value in said.items() if value is not None or name == "end_time"}
    of_cron = {name: named.pop(name) for name in SCHEDULE & named.keys()}
    content = CronContent(
        assistant=stored["assistant_id"],
        thread=stored["thread_id"],
        payload={**stored["payload"], **named},
        **{name: stored[name] for name in SCHEDULE - {"on_run_completed"}}
        | {"on_run_completed": stored["on_run_completed"] or "delete"}
        | of_cron,
    )
    await check(content, principal, services)
    return wire(await services.crons.change(principal, cron_id, content))


@router.delete("/runs/crons/{cron_id}", status_code=204)
async def delete_cron(cron_id: UUID, principal: Caller, services: Using) -> Response:
    """Remove a cron; what it began goes on."""
    await services.crons.delete(principal, cron_id)
    return Response(status_code=204)


async def filter_of(body: CronCount, principal: Principal, services: Services) -> CronFilter:
    """The filter that a body means."""
    assistant = None
    if body.assistant_id is not None:
        assistant = (await services.assistants.get(principal, body.assistant_id)).id
    return CronFilter(assistant=assistant, thread=body.thread_id, enabled=body.enabled, metadata=body.metadata or {})
