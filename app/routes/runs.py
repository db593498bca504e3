"""Runs of the Agent Server protocol: start, stream, wait, rejoin, cancel."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from app.auth import Caller, Using
from app.runs.frames import frames, read_modes
from app.runs.life import Action, Status
from app.runs.order import RunCreate
from app.runs.run import Run
from app.services import Services
from app.sse import event_stream
from app.wire import plain
from core.domain import Principal
from core.errors import InvalidInput, NotFound

router = APIRouter(tags=["runs"])


async def start(
    body: RunCreate, principal: Principal, services: Services, thread_id: UUID | None, modes: list[str] | None = None
) -> Run:
    """Check what was asked for, and admit it."""
    order = await services.orders.read(principal, body, thread_id, modes=modes)
    return await services.runner.start(principal, order)


class BatchRun(RunCreate):
    """One of several runs; without a thread it gets one of its own."""

    thread_id: UUID | None = None


class RunsCancel(BaseModel):
    """Which runs to stop."""

    thread_id: UUID | None = None
    run_ids: list[UUID] | None = Field(None, max_length=1000)
    status: Literal["pending", "running", "all"] | None = None


def locations(run: Run, query: str = "") -> dict[str, str]:
    """Where the run and its stream are, as the SDK reads them for rejoining: it keeps no query of its own."""
    place = f"/threads/{run.thread_id}/runs/{run.id}"
    return {"Content-Location": place, "Location": f"{place}/stream" + (f"?{query}" if query else "")}


async def streamed(
    services: Services,
    run: Run,
    *,
    after: int = 0,
    modes: list[str] | None = None,
    cancel: bool = False,
    drop: bool = False,
) -> AsyncGenerator[bytes]:
    """The run's events as frames; a reader who goes away stops the run only if it asked for that."""
    ended = False
    try:
        async with aclosing(frames(services.events, run.id, after=after, modes=modes)) as parts:
            async for part in parts:
                yield part
        ended = True
    finally:
        if cancel and not ended:
            await services.runner.cancel(run)
        if drop:
            with suppress(NotFound):
                await services.runner.wait(run)
            await services.threads.delete(run.principal, run.thread_id)


async def outcome(services: Services, run: Run) -> Any:
    """What a run that was waited for gives: its final values, or its error."""
    try:
        run = await services.runner.wait(run)
    except NotFound:
        return {"__error__": {"error": "RolledBack", "message": "The run was rolled back."}}
    if run.error:
        return {"__error__": dict(run.error)}
    graph = services.agents.get(run.metadata["graph_id"]).graph
    place = {"thread_id": str(run.thread_id), "checkpoint_ns": "", "checkpoint_id": run.checkpoint_id}
    snapshot = await graph.aget_state({"configurable": place})
    if run.checkpoint_id and snapshot.created_at is None:
        raise NotFound(
            f"The values of run {str(run.id)!r} are not kept any more (THREADS__KEEP_CHECKPOINTS); the state of the "
            "thread is."
        )
    return plain(snapshot.values)


def answer(run: Run, value: Any) -> Response:
    """The values of a run, with the place of the run."""
    return Response(orjson.dumps(value), media_type="application/json", headers=locations(run))


@router.post("/threads/{thread_id}/runs/stream", response_class=StreamingResponse)
async def stream_run(
    thread_id: UUID, body: RunCreate, request: Request, principal: Caller, services: Using
) -> Response:
    """Start a run and stream its events."""
    run = await start(body, principal, services, thread_id)
    cancel = body.on_disconnect == "cancel"
    return event_stream(request, streamed(services, run, cancel=cancel), locations(run))


@router.post("/threads/{thread_id}/runs/wait")
async def wait_for_run(thread_id: UUID, body: RunCreate, principal: Caller, services: Using) -> Response:
    """Start a run and answer with its final values."""
    run = await start(body, principal, services, thread_id, ["values"])
    return answer(run, await outcome(services, run))


@router.post("/threads/{thread_id}/runs")
async def create_run(
    thread_id: UUID, body: RunCreate, response: Response, principal: Caller, services: Using
) -> dict[str, Any]:
    """Start a run in the background."""
    run = await start(body, principal, services, thread_id)
    response.headers.update(locations(run))
    return dict(plain(run.wire()))


@router.post("/runs/stream", response_class=StreamingResponse)
async def stream_alone(body: RunCreate, request: Request, principal: Caller, services: Using) -> Response:
    """Stream a run on a thread of its own, which is removed at its end."""
    run = await start(body, principal, services, None)
    return event_stream(request, streamed(services, run, drop=run.alone and not body.webhook), locations(run))


@router.post("/runs/wait")
async def wait_alone(body: RunCreate, principal: Caller, services: Using) -> Response:
    """Wait for a run on a thread of its own, which is removed at its end."""
    run = await start(body, principal, services, None, ["values"])
    try:
        return answer(run, await outcome(services, run))
    finally:
        if run.alone and not body.webhook:
            await services.threads.delete(principal, run.thread_id)


@router.post("/runs")
async def create_alone(body: RunCreate, response: Response, principal: Caller, services: Using) -> dict[str, Any]:
    """Start a run in the background on a thread of its own, which is removed some time after its end."""
    run = await start(body, principal, services, None)
    response.headers.update(locations(run))
    return dict(plain(run.wire()))


@router.post("/runs/batch")
async def create_batch(
    bodies: Annotated[list[BatchRun], Body(min_length=1, max_length=100)], principal: Caller, services: Using
) -> list[dict[str, Any]]:
    """Start several runs in the background; all are checked before the first starts.

    Those that name no thread get one of their own.
    """
    orders = [await services.orders.read(principal, body, body.thread_id) for body in bodies]
    return [plain((await services.runner.start(principal, order)).wire()) for order in orders]


@router.get("/threads/{thread_id}/runs")
async def list_runs(
    thread_id: UUID,
    principal: Caller,
    services: Using,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    offset: Annotated[int, Query(ge=0)] = 0,
    select: Annotated[list[str] | None, Query()] = None,
) -> list[dict[str, Any]]:
    """The thread's runs, newest first; ``select`` names the fields that are wanted."""
    await services.threads.get(principal, thread_id)
    runs = await services.runs.of_thread(principal, thread_id, status=status, limit=limit, offset=offset)
    found = [plain(run.wire()) for run in runs]
    return found if select is None else [{k: v for k, v in run.items() if k in select} for run in found]


@router.get("/threads/{thread_id}/runs/{run_id}")
async def get_run(thread_id: UUID, run_id: UUID, principal: Caller, services: Using) -> dict[str, Any]:
    """One run."""
    return dict(plain((await services.runs.get(principal, thread_id, run_id)).wire()))


@router.get("/threads/{thread_id}/runs/{run_id}/join")
async def join_run(thread_id: UUID, run_id: UUID, principal: Caller, services: Using) -> Response:
    """Wait for a run that was started before."""
    run = await services.runs.get(principal, thread_id, run_id)
    return answer(run, await outcome(services, run))


@router.get("/threads/{thread_id}/runs/{run_id}/stream", response_class=StreamingResponse)
async def rejoin_run(
    thread_id: UUID,
    run_id: UUID,
    request: Request,
    principal: Caller,
    services: Using,
    last_event_id: Annotated[str | None, Header()] = None,
    cancel_on_disconnect: bool = False,
    stream_mode: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """The events of a run from the one after ``Last-Event-ID`` on, or from its first; of some modes, or all."""
    run = await services.runs.get(principal, thread_id, run_id)
    try:
        after = max(0, int(last_event_id)) if last_event_id else 0
    except ValueError as error:
        raise InvalidInput("Last-Event-ID must be the id of an event of this run, or -1.") from error
    parts = streamed(services, run, after=after, modes=read_modes(stream_mode), cancel=cancel_on_disconnect)
    return event_stream(request, parts, locations(run, request.url.query))


@router.post("/threads/{thread_id}/runs/{run_id}/cancel", status_code=202)
async def cancel_run(
    thread_id: UUID,
    run_id: UUID,
    principal: Caller,
    services: Using,
    wait: bool = False,
    action: Action = "interrupt",
) -> Response:
    """Stop a run: what it has written stays in the thread, or goes with the run (``action=rollback``)."""
    run = await services.runs.get(principal, thread_id, run_id)
    await services.runner.cancel(run, action)
    if wait:
        with suppress(NotFound):
            await services.runner.wait(run)
        return Response(status_code=204)
    return Response(status_code=202)


@router.post("/runs/cancel", status_code=204)
async def cancel_runs(body: RunsCancel, principal: Caller, services: Using, action: Action = "interrupt") -> Response:
    """Stop several runs: those of a list, or all of the caller's in a status."""
    if body.run_ids is None and body.status is None:
        raise InvalidInput("Say which runs: run_ids, or a status (pending, running, all).")
    status = None if body.status in (None, "all") else body.status
    for run in await services.runs.active(principal, thread=body.thread_id, runs=body.run_ids, status=status):
        await services.runner.cancel(run, action)
    return Response(status_code=204)


@router.delete("/threads/{thread_id}/runs/{run_id}", status_code=204)
async def delete_run(thread_id: UUID, run_id: UUID, principal: Caller, services: Using) -> Response:
    """Forget a run that has ended, with its events; the thread's state stays."""
    await services.runs.delete(await services.runs.get(principal, thread_id, run_id))
    return Response(status_code=204)
