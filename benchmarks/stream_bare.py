"""The least that streams a graph over HTTP: FastAPI and `graph.astream`; nothing is stored, nobody is asked for a key.

    python -m benchmarks.stream_bare PORT

It runs in an environment of its own.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import Body, FastAPI
from fastapi.responses import StreamingResponse

from benchmarks.stream_graph import make_graph


def create_app() -> FastAPI:
    """The two routes of the protocol that a stream needs."""
    app = FastAPI()
    graph: Any = make_graph().compile()

    @app.get("/ok")
    async def ok() -> dict[str, bool]:
        return {"ok": True}

    @app.post("/threads")
    async def create_thread() -> dict[str, str]:
        return {"thread_id": str(uuid.uuid4())}

    @app.post("/threads/{thread_id}/runs/stream")
    async def stream(thread_id: str, body: dict[str, Any] = Body()) -> StreamingResponse:  # noqa: B008, ARG001 (FastAPI's way)
        async def frames() -> AsyncIterator[str]:
            async for message, metadata in graph.astream(body["input"], stream_mode="messages"):
                yield f"event: messages\ndata: {json.dumps([message.model_dump(), metadata], default=str)}\n\n"
            yield "event: end\ndata: null\n\n"

        return StreamingResponse(frames(), media_type="text/event-stream")

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
