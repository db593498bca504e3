"""Runs of the Agent Server protocol: start, stream, wait, rejoin, cancel."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.auth import Caller, Using
from app.runs.frames import frames, read_modes
from app.runs.playing import StreamMode
from app.runs.run import Run
from app.services import Services
from app.sse import event_stream
from app.wire import plain
from core.domain import Principal
from core.errors import InvalidInput

router = APIRouter(tags=["runs"])


class RunCreate(BaseModel):
    """A run as the SDK asks for it; an option that would change what the run does, and that is not here, is refused."""

    assistant_id: str
    input: dict[str, Any] | None = None
    stream_mode: StreamMode | list[StreamMode] = "values"
    metadata: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    multitask_strategy: Literal["reject"] | None = None
    if_not_exists: Literal["create", "reject"] | None = None
    on_disconnect: Literal["cancel", "continue"] | None = None
    command: None = None
    checkpoint: None = None
    checkpoint_id: None = None
    interrupt_before: None = None
    interrupt_after: None = None
    webhook: None = None
    after_seconds: None = None
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    feedback_keys: None = None
    on_completion: Literal["delete", "keep"] | None = None
    durability: Literal["sync", "async", "exit"] | None = None


async def start(
    body: RunCreate, principal: Principal, services: Services, thread_id: UUID, stream_mode: list[str]
) -> Run:
    """Check what was asked for and begin to execute it."""
    agent = services.agents.get(body.assistant_id)
    given = body.context or {}
    await agent.open_context(principal, given)
    limit = (body.config or {}).get("recursion_limit", 25)
    if not isinstance(limit, int) or not 1 <= limit <= 1000:
        raise InvalidInput("config.recursion_limit must be a whole number from 1 to 1000.")
    kwargs = {
        "input": agent.read_input(body.input),
        "stream_mode": stream_mode,
        "context": given,
        "recursion_limit": limit,
        "stream_subgraphs": bool(body.stream_subgraphs),
    }
    if body.if_not_exists == "create":
        await services.threads.create(principal, thread_id, {}, if_exists="do_nothing")
    return await services.runner.start(principal, thread_id, agent, kwargs, body.metadata or {})


def modes(body: RunCreate) -> list[str]:
    """The stream modes as a list."""
    return [body.stream_mode] if isinstance(body.stream_mode, str) else list(body.stream_mode)


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
            await services.runner.wait(run)
            await services.threads.delete(run.principal, run.thread_id)


async def outcome(services: Services, run: Run) -> Any:
    """What a run that was waited for gives: its final values, or its error."""
    run = await services.runner.wait(run)
    if run.error:
        return {"__error__": dict(run.error)}
    graph = services.agents.get(str(run.assistant_id)).graph
    snapshot = await graph.aget_state({"configurable": {"thread_id": str(run.thread_id)}})
    return plain(snapshot.values)


def answer(run: Run, value: Any) -> Response:
    """The values of a run, with the place of the run."""
    return Response(orjson.dumps(value), media_type="application/json", headers=locations(run))


@router.post("/threads/{thread_id}/runs/stream", response_class=StreamingResponse)
async def stream_run(
    thread_id: UUID, body: RunCreate, request: Request, principal: Caller, services: Using
) -> Response:
    """Start a run and stream its events."""
    run = await start(body, principal, services, thread_id, modes(body))
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
    run = await start(body, principal, services, thread_id, modes(body))
    response.headers.update(locations(run))
    return dict(plain(run.wire()))


@router.post("/runs/stream", response_class=StreamingResponse)
async def stream_alone(body: RunCreate, request: Request, principal: Caller, services: Using) -> Response:
    """Stream a run on a thread of its own, which is removed at its end."""
    thread_id = uuid.uuid4()
    body.if_not_exists = "create"
    run = await start(body, principal, services, thread_id, modes(body))
    return event_stream(request, streamed(services, run, drop=body.on_completion != "keep"), locations(run))


@router.post("/runs/wait")
async def wait_alone(body: RunCreate, principal: Caller, services: Using) -> Response:
    """Wait for a run on a thread of its own, which is removed at its end."""
    thread_id = uuid.uuid4()
    body.if_not_exists = "create"
    run = await start(body, principal, services, thread_id, ["values"])
    try:
        return answer(run, await outcome(services, run))
    finally:
        if body.on_completion != "keep":
            await services.threads.delete(principal, thread_id)


@router.get("/threads/{thread_id}/runs")
async def list_runs(
    thread_id: UUID,
    principal: Caller,
    services: Using,
    status: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
) -> list[dict[str, Any]]:
    """The thread's runs, newest first."""
    await services.threads.get(principal, thread_id)
    runs = await services.runs.of_thread(principal, thread_id, status=status, limit=limit)
    return [plain(run.wire()) for run in runs]


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
    action: str = "interrupt",
) -> Response:
    """Stop a run; what it has written of its answer stays in the thread."""
    if action != "interrupt":
        raise InvalidInput(f"The action {action!r} is not possible; 'interrupt' keeps what was written.")
    run = await services.runs.get(principal, thread_id, run_id)
    await services.runner.cancel(run)
    if wait:
        await services.runner.wait(run)
        return Response(status_code=204)
    return Response(status_code=202)
