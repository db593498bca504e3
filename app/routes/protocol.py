"""The second protocol for threads: commands, and one stream of all that happens, filtered by channels."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, ValidationError

from app.auth import Caller, Using
from app.routes.runs import start
from app.runs.order import RunCreate
from app.runs.protocol import SUB_BITS, Event, Translator
from app.runs.thread_log import DONE, SEQ_BITS
from app.services import Services
from app.sse import event_stream, sse
from app.wire import to_json
from core.domain import Principal
from core.errors import Forbidden, InvalidInput, NotFound, PlatformError

router = APIRouter(tags=["threads"])

MODES = ["values", "updates", "messages-tuple", "custom", "tasks", "checkpoints", "tools"]
CODES: dict[type[PlatformError], str] = {
    InvalidInput: "invalid_argument",
    NotFound: "invalid_argument",
    Forbidden: "permission_denied",
}


class CommandIn(BaseModel):
    """A command of the protocol."""

    id: int = Field(ge=0)
    method: str
    params: dict[str, Any] = Field(default_factory=dict)


class EventsIn(BaseModel):
    """Which events to stream, and from where."""

    channels: list[str] = Field(max_length=100)
    namespaces: list[list[str]] | None = None
    depth: int | None = Field(None, ge=0)
    since: Annotated[int, Field(ge=0)] | None = None


@router.post("/threads/{thread_id}/commands")
async def command(thread_id: UUID, body: CommandIn, principal: Caller, services: Using) -> dict[str, Any]:
    """Carry out a command: ``run.start``, ``input.respond`` or ``state.get``; a failure is an answer too."""
    try:
        result = await carry_out(services, principal, thread_id, body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return failed(body.id, "invalid_argument", f"params.{place}: {first['msg']}")
    except PlatformError as error:
        code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), "unknown_error")
        return failed(body.id, code, str(error))
    if result is None:
        return failed(body.id, "unknown_command", f"There is no command {body.method!r} here.")
    return {"type": "success", "id": body.id, "result": result}


def failed(number: int, code: str, message: str) -> dict[str, Any]:
    """The answer to a command that was not carried out."""
    return {"type": "error", "id": number, "error": code, "message": message}


async def carry_out(
    services: Services, principal: Principal, thread_id: UUID, body: CommandIn
) -> dict[str, Any] | None:
    """The result of a command; None when there is no such command."""
    if body.method == "run.start":
        kept = {key: body.params.get(key) for key in ("input", "config", "metadata")}
        return await begin(services, principal, thread_id, {"assistant_id": body.params.get("assistant_id"), **kept})
    if body.method == "input.respond":
        thread = await services.threads.get(principal, thread_id, with_state=False)
        return await begin(services, principal, thread_id, answered(body.params, thread["metadata"]))
    if body.method == "state.get":
        thread = await services.threads.get(principal, thread_id)
        keys = body.params.get("keys")
        values = thread["values"] or {}
        return {"values": values if keys is None else {key: values[key] for key in keys if key in values}}
    return None


def answered(params: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The run that goes on with the answers to one interrupt or several."""
    answers = params.get("responses") or [params]
    try:
        resume = {answer["interrupt_id"]: answer["response"] for answer in answers}
    except (KeyError, TypeError) as error:
        raise InvalidInput("An answer needs interrupt_id and response.") from error
    if "assistant_id" not in metadata:
        raise InvalidInput("Nothing waits for an answer on this thread.")
    more = {key: params[key] for key in ("update", "goto") if params.get(key) is not None}
    kept = {key: params.get(key) for key in ("config", "metadata")}
    return {"assistant_id": metadata["assistant_id"], "command": {"resume": resume, **more}, **kept}


async def begin(services: Services, principal: Principal, thread_id: UUID, asked: dict[str, Any]) -> dict[str, Any]:
    """Start a run that streams all that the protocol has channels for."""
    asked |= {"stream_mode": MODES, "stream_subgraphs": True, "if_not_exists": "create", "on_disconnect": "continue"}
    body = RunCreate.model_validate({"multitask_strategy": "enqueue", **asked})
    return {"run_id": str((await start(body, principal, services, thread_id)).id)}


@router.post("/threads/{thread_id}/stream/events", response_class=StreamingResponse)
async def stream_events(
    thread_id: UUID, body: EventsIn, request: Request, principal: Caller, services: Using
) -> Response:
    """The thread's events of the channels, after ``since``, until the reader leaves.

    Without ``since`` they begin with the run that is active, or that ended a moment ago: a client may subscribe after
    it has started a run.
    """
    await services.threads.get(principal, thread_id, with_state=False)
    return event_stream(request, frames(services, thread_id, body))


async def frames(services: Services, thread_id: UUID, asked: EventsIn) -> AsyncGenerator[bytes]:
    """The events as frames."""
    from langgraph_sdk.stream.subscription import matches_subscription

    wanted: Any = asked.model_dump(exclude_none=True)
    since = asked.since if asked.since is not None else (await services.thread_log.latest(thread_id)) << SUB_BITS
    turn = since >> SUB_BITS >> SEQ_BITS
    # A run is translated from its beginning; a reader who stands at its end wants the next one.
    after = (turn << SEQ_BITS) | (DONE if since >> SUB_BITS & DONE == DONE else 0)
    translator = Translator("")
    yield b": open\n\n"
    async with aclosing(services.thread_log.follow(thread_id, after)) as pages:
        async for page in pages:
            made: list[Event] = []
            for item in page:
                if item.place is None or item.run_id is None:
                    continue
                if item.place & DONE == DONE:
                    made += translator.end(item.place, await status_of(services, item.run_id))
                    translator = Translator("")
                else:
                    made += translator.events(item.place, item.event, item.data)
            yield joined(found for found in made if found["seq"] > since and matches_subscription(found, wanted))  # type: ignore[arg-type]


def joined(events: Iterable[Mapping[str, Any]]) -> bytes:
    """The events as frames behind each other."""
    return b"".join([sse(str(found["method"]), to_json(found), found["seq"]) for found in events])


async def status_of(services: Services, run_id: UUID) -> str:
    """The status of a run; of one that was rolled back it is ``deleted``."""
    async with services.pool.connection() as connection:
        row = await (await connection.execute("SELECT status FROM runs WHERE id = %s", (run_id,))).fetchone()
    return "deleted" if row is None else str(row["status"])
