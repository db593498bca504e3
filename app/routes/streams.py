"""Streams of the Agent Server protocol that are about a whole thread."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Annotated, Any, get_args
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from langgraph_sdk.schema import ThreadStreamMode

from app.auth import Caller, Using
from app.runs.frames import read_modes
from app.runs.thread_log import ThreadEvent
from app.services import Services
from app.sse import event_stream, sse
from app.wire import to_json
from core.domain import Principal
from core.errors import InvalidInput, NotFound

router = APIRouter(tags=["threads"])

MODES: tuple[str, ...] = get_args(ThreadStreamMode)


@router.get("/threads/{thread_id}/stream", response_class=StreamingResponse)
async def join_thread(
    thread_id: UUID,
    request: Request,
    principal: Caller,
    services: Using,
    stream_mode: Annotated[list[str] | None, Query()] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """The events of all runs of a thread as they come, until the reader leaves.

    They begin after ``Last-Event-ID``; with ``-1`` at the first that is kept, without one at the run that is active.
    """
    await services.threads.get(principal, thread_id, with_state=False)
    modes = read_modes(stream_mode, MODES) or ["run_modes"]
    after = await services.thread_log.now(thread_id) if not last_event_id else read_place(last_event_id)
    parts = frames(services, principal, thread_id, after, modes)
    return event_stream(request, parts, {"Location": f"/threads/{thread_id}/stream?{request.url.query}".rstrip("?")})


def read_place(value: str) -> int:
    """The place that a ``Last-Event-ID`` names; ``-1`` is before the first event.

    Raises:
        InvalidInput: it is no number.
    """
    try:
        return max(0, int(value))
    except ValueError as error:
        raise InvalidInput("Last-Event-ID must be the id of an event of this stream, or -1.") from error


async def frames(
    services: Services, principal: Principal, thread_id: UUID, after: int, modes: Collection[str]
) -> AsyncGenerator[bytes]:
    """The thread's events that the modes want, as frames."""
    async with aclosing(services.thread_log.follow(thread_id, after)) as pages:
        async for page in pages:
            wanted = [event for event in page if is_wanted(event, modes)]
            if wanted and wanted[0].event == "state_update":
                yield sse("state_update", await state_of(services, principal, thread_id))
            elif wanted:
                yield b"".join([sse(event.event, event.data, event.place) for event in wanted])


def is_wanted(event: ThreadEvent, modes: Collection[str]) -> bool:
    """Whether one of the modes gives the event."""
    if event.event == "state_update":
        return "state_update" in modes
    return "run_modes" in modes or ("lifecycle" in modes and event.event == "metadata")


async def state_of(services: Services, principal: Principal, thread_id: UUID) -> str:
    """What a ``state_update`` says: the thread with its values; null when it was deleted meanwhile."""
    try:
        thread: dict[str, Any] = await services.threads.get(principal, thread_id)
    except NotFound:
        return "null"
    return to_json({key: thread.get(key) for key in ("thread_id", "status", "values", "interrupts", "updated_at")})
