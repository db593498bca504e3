"""Assistants of the Agent Server protocol: one for each graph."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.agents import Agent
from app.auth import Caller, Using
from app.wire import plain

router = APIRouter(tags=["assistants"])

EPOCH = "2026-01-01T00:00:00+00:00"
"""The assistants of the graphs are part of the program and have no time of their own."""


class AssistantSearch(BaseModel):
    """Which assistants to list."""

    graph_id: str | None = None
    name: str | None = None
    metadata: dict[str, Any] | None = None
    limit: int = Field(10, ge=1, le=1000)
    offset: int = Field(0, ge=0)


def wire(agent: Agent) -> dict[str, Any]:
    """The protocol's Assistant."""
    return {
        "assistant_id": str(agent.assistant_id),
        "graph_id": agent.graph_id,
        "name": agent.name,
        "description": agent.description,
        "config": {},
        "context": {},
        "metadata": {"created_by": "system"},
        "version": 1,
        "created_at": EPOCH,
        "updated_at": EPOCH,
    }


def found(services: Using, search: AssistantSearch) -> list[dict[str, Any]]:
    """The assistants that fit."""
    assistants = [wire(agent) for agent in services.agents.all()]
    return [
        assistant
        for assistant in assistants
        if search.graph_id in (None, assistant["graph_id"])
        and (search.name or "").casefold() in assistant["name"].casefold()
        and (search.metadata or {}).items() <= assistant["metadata"].items()
    ]


@router.post("/assistants/search")
async def search_assistants(body: AssistantSearch, _: Caller, services: Using) -> list[dict[str, Any]]:
    """Assistants, by graph, name and metadata."""
    return found(services, body)[body.offset : body.offset + body.limit]


@router.post("/assistants/count")
async def count_assistants(body: AssistantSearch, _: Caller, services: Using) -> int:
    """How many assistants fit."""
    return len(found(services, body))


@router.get("/assistants/{assistant_id}")
async def get_assistant(assistant_id: str, _: Caller, services: Using) -> dict[str, Any]:
    """One assistant, by its id or its graph's name."""
    return wire(services.agents.get(assistant_id))


@router.get("/assistants/{assistant_id}/graph")
async def get_graph(
    assistant_id: str, _: Caller, services: Using, xray: Annotated[bool, Query()] = False
) -> dict[str, Any]:
    """The drawing of the assistant's graph: nodes and edges."""
    drawing = await services.agents.get(assistant_id).graph.aget_graph(xray=xray)
    return dict(plain(drawing.to_json()))


@router.get("/assistants/{assistant_id}/schemas")
async def get_schemas(assistant_id: str, _: Caller, services: Using) -> dict[str, Any]:
    """The JSON schemas of what the graph takes and gives."""
    agent = services.agents.get(assistant_id)
    return {
        "graph_id": agent.graph_id,
        "input_schema": agent.graph.get_input_jsonschema(),
        "output_schema": agent.graph.get_output_jsonschema(),
        "state_schema": agent.graph.get_output_jsonschema(),
        "config_schema": {},
        "context_schema": {
            "type": "object",
            "properties": {"collections": {"type": "array", "items": {"type": "string"}}},
        },
    }
