"""The OpenAI-compatible surface: an assistant is a model."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.auth import Caller, Using
from app.runs.order import RunCreate
from app.runs.run import Run
from app.services import Services
from app.sse import event_stream
from app.wire import to_json
from core.domain import Principal
from core.errors import InvalidInput, PlatformError, Unavailable

router = APIRouter(prefix="/v1", tags=["openai"])


EmbeddedText = Annotated[str, Field(min_length=1, max_length=8000)]


class ChatMessage(BaseModel):
    """A message of the conversation; only its text counts."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]]


class StreamOptions(BaseModel):
    """What a stream should tell beside the answer."""

    include_usage: bool = False


class ChatCompletionRequest(BaseModel):
    """A question to an assistant; sampling options of the original API are accepted and have no effect."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None


class EmbeddingRequest(BaseModel):
    """Texts to embed."""

    model: str | None = None
    input: EmbeddedText | Annotated[list[EmbeddedText], Field(min_length=1, max_length=256)]
    encoding_format: Literal["float", "base64"] = "float"


@router.get("/models")
async def list_models(_: Caller, services: Using) -> dict[str, Any]:
    """The assistants."""
    return {"object": "list", "data": [model(agent.graph_id) for agent in services.agents.all()]}


@router.get("/models/{name}")
async def get_model(name: str, _: Caller, services: Using) -> dict[str, Any]:
    """One assistant."""
    return model(services.agents.get(name).graph_id)


def model(name: str) -> dict[str, Any]:
    """An assistant as the API lists models."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "ragstone"}


@router.post("/chat/completions", response_model=None)
async def complete(body: ChatCompletionRequest, request: Request, principal: Caller, services: Using) -> Response:
    """Answer the last message from the documents; ``citations`` stand beside the answer."""
    run = await start(body, principal, services)
    identity = {"id": f"chatcmpl-{run.id.hex}", "created": int(time.time()), "model": body.model}
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        return event_stream(request, stream(services, run, identity, usage=usage))
    text, citations, tokens = "", [], {}
    async for kind, value in parts(services, run):
        if kind == "text":
            text += value
        elif kind == "citations":
            citations = value
        elif kind == "usage":
            tokens = value
        else:
            raise value
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    completion = {**identity, "object": "chat.completion", "choices": [choice], "usage": tokens}
    return Response(orjson.dumps(completion | {"citations": citations}), media_type="application/json")


async def start(body: ChatCompletionRequest, principal: Principal, services: Services) -> Run:
    """Begin a run on a thread of its own."""
    conversation = [message.model_dump() for message in body.messages if message.role not in ("system", "developer")]
    wish = RunCreate(
        assistant_id=body.model,
        input={"messages": conversation},
        stream_mode=["custom", "values"],
        metadata={"source": "openai"},
    )
    order = await services.orders.read(principal, wish, None)
    return await services.runner.start(principal, order)


async def parts(services: Services, run: Run) -> AsyncIterator[tuple[str, Any]]:
    """The run as pieces of text, its citations and usage, or its error; its thread is removed at the end."""
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    citations: list[Any] = []
    try:
        async for event in services.events.follow(run.id):
            data = orjson.loads(event.data)
            if event.event == "custom" and data.get("type") == "answer":
                yield "text", data["text"]
            elif event.event == "custom" and data.get("type") == "usage":
                usage = {name: usage[name] + data.get(name, 0) for name in usage}
            elif event.event == "values":
                citations = data.get("citations") or []
            elif event.event == "error":
                yield "error", failure(data)
                return
        yield "citations", citations
        yield "usage", usage
    finally:
        await services.runner.cancel(run)
        await services.runner.wait(run)
        await services.threads.delete(run.principal, run.thread_id)


def failure(error: dict[str, Any]) -> PlatformError:
    """The error of a run as the exception that it came from."""
    kind = InvalidInput if error["error"] == InvalidInput.__name__ else Unavailable
    return kind(error["message"])


async def stream(services: Services, run: Run, identity: dict[str, Any], *, usage: bool) -> AsyncGenerator[bytes]:
    """The answer as chunks of the original API, sentence by sentence as each is verified."""

    def frame(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choices = [] if "usage" in more else [{"index": 0, "delta": delta, "finish_reason": finish}]
        chunk = {**identity, "object": "chat.completion.chunk", "choices": choices, **more}
        return f"data: {to_json(chunk)}\n\n".encode()

    yield frame({"role": "assistant", "content": ""})
    try:
        async for kind, value in parts(services, run):
            if kind == "text":
                yield frame({"content": value})
            elif kind == "citations":
                yield frame({}, "stop", citations=value)
            elif kind == "usage" and usage:
                yield frame({}, usage=value)
            elif kind == "error":
                raise value
    except PlatformError as error:
        yield f"data: {to_json({'error': {'message': str(error), 'type': 'server_error'}})}\n\n".encode()
        return
    yield b"data: [DONE]\n\n"


@router.post("/embeddings", response_model=None)
async def embed(body: EmbeddingRequest, _: Caller, services: Using) -> Response:
    """Vectors of texts by the platform's embedder."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    vectors = await services.embedder.embed_documents(texts)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.tobytes()).decode()
            if body.encoding_format == "base64"
            else vector.tolist(),
        }
        for index, vector in enumerate(vectors)
    ]
    tokens = await asyncio.to_thread(lambda: sum(services.embedder.count_tokens(text) for text in texts))
    answer = {
        "object": "list",
        "model": services.embedder.name,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Response(orjson.dumps(answer), media_type="application/json")
