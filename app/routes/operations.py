"""Operations: whether the server lives, whether it is ready, and what it is."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Response

from app.auth import Using
from app.health import health
from app.schemas import Health

router = APIRouter(tags=["operations"])


@router.get("/ok")
async def ok() -> dict[str, bool]:
    """The server answers."""
    return {"ok": True}


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process lives; it says nothing of the parts behind it."""
    return {"status": "ready"}


@router.get("/health/ready", responses={503: {"model": Health}})
async def ready(response: Response, services: Using) -> Health:
    """The state of every part; 503 until all are ready."""
    state = await health(services)
    if state.status != "ready":
        response.status_code = 503
    return state


@router.get("/info")
async def info() -> dict[str, Any]:
    """What this server is; the user interfaces of others ask it before they sign in."""
    return {
        "version": "0.1.0",
        "langgraph_py_version": version("langgraph"),
        "flags": {
            "assistants": True,
            "crons": True,
            "langsmith": False,
            "strict_resume": True,
            "langsmith_tracing_replicas": False,
        },
        "metadata": {"name": "ragstone"},
    }
