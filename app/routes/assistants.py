"""Assistants of the Agent Server protocol: one for each graph, and those that a tenant makes of them, with versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, ValidationError
from pydantic.errors import PydanticUserError

from app.agents import Agent
from app.assistant import SORTS, AssistantContent, AssistantFilter
from app.auth import Caller, Using, Writer
from app.listing import Window, paged, selected
from app.routes.threads import remove
from app.runs.order import ConfigIn
from app.services import Services
from app.wire import plain
from core.domain import Principal
from core.errors import InvalidInput, NotFound

router = APIRouter(tags=["assistants"])

Name = Annotated[str, Field(min_length=1, max_length=200)]
Column = Literal[
    "assistant_id",
    "graph_id",
    "name",
    "description",
    "config",
    "context",
    "created_at",
    "updated_at",
    "metadata",
    "version",
]


class AssistantCreate(BaseModel):
    """A new assistant of a graph."""

    graph_id: str
    assistant_id: UUID | None = None
    name: Name | None = None
    description: str | None = Field(None, max_length=4000)
    config: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    if_exists: Literal["raise", "do_nothing"] | None = "raise"


class AssistantPatch(BaseModel):
    """What the next version says otherwise; metadata is merged, the rest replaced."""

    graph_id: str | None = None
    name: Name | None = None
    description: str | None = Field(None, max_length=4000)
    config: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class AssistantCount(BaseModel):
    """Which assistants fit."""

    graph_id: str | None = None
    name: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def asked(self) -> AssistantFilter:
        """What fits, as the rows are asked for it."""
        return AssistantFilter(graph_id=self.graph_id, name=self.name, metadata=self.metadata or {})


class AssistantSearch(AssistantCount):
    """Which assistants to list, and how."""

    limit: int = Field(10, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=1_000_000)
    sort_by: Literal["assistant_id", "graph_id", "name", "created_at", "updated_at"] | None = None
    sort_order: Literal["asc", "desc"] | None = None
    select: list[Column] | None = None

    @property
    def window(self) -> Window:
        """The page that is asked for; without an order the newest are first."""
        return Window(
            limit=self.limit,
            offset=self.offset,
            sort_by=SORTS[self.sort_by or "created_at"],
            descending=self.sort_order != "asc",
        )


class VersionSearch(BaseModel):
    """Which versions to list."""

    metadata: dict[str, Any] | None = None
    limit: int = Field(10, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=1_000_000)


class VersionChoice(BaseModel):
    """The version to use from now on."""

    version: int = Field(ge=1, le=2**31 - 1)


async def agent_of(services: Services, principal: Principal, assistant_id: str) -> Agent:
    """The agent of an assistant's graph."""
    return services.agents.get((await services.assistants.get(principal, assistant_id)).graph_id)


def schemas(graph_id: str, graph: Any) -> dict[str, Any]:
    """The protocol's GraphSchema; a schema that has no JSON form is null."""
    return {
        "graph_id": graph_id,
        "input_schema": _json_schema(graph.get_input_jsonschema),
        "output_schema": _json_schema(graph.get_output_jsonschema),
        "state_schema": _json_schema(graph.get_output_jsonschema),
        "config_schema": {},
        "context_schema": _json_schema(graph.get_context_jsonschema),
    }


def _json_schema(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (PydanticUserError, TypeError):
        return None


def check_config(config: dict[str, Any] | None) -> None:
    """Whether runs can start from the config.

    Raises:
        InvalidInput: they cannot; the message says why.
    """
    try:
        ConfigIn.model_validate(config or {})
    except ValidationError as error:
        places = "; ".join(f"config.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidInput(places) from error


@router.post("/assistants")
async def create_assistant(body: AssistantCreate, principal: Writer, services: Using) -> dict[str, Any]:
    """Make an assistant of the tenant: a graph with a configuration and a context of its own."""
    check_config(body.config)
    content = AssistantContent(
        graph_id=body.graph_id,
        name=body.name or "Untitled",
        description=body.description,
        config=body.config or {},
        context=body.context or {},
        metadata=body.metadata or {},
    )
    made = await services.assistants.create(
        principal, content, assistant=body.assistant_id, if_exists=body.if_exists or "raise"
    )
    return dict(plain(made.wire()))


@router.post("/assistants/search")
async def search_assistants(
    body: AssistantSearch, response: Response, principal: Caller, services: Using
) -> list[dict[str, Any]]:
    """The assistants of the graphs and of the tenant, by graph, name and metadata."""
    paged(response, body.window, await services.assistants.count(principal, body.asked))
    found = await services.assistants.search(principal, body.asked, body.window)
    return selected([plain(assistant.wire()) for assistant in found], body.select)


@router.post("/assistants/count")
async def count_assistants(body: AssistantCount, principal: Caller, services: Using) -> int:
    """How many assistants fit."""
    return await services.assistants.count(principal, body.asked)


@router.get("/assistants/{assistant_id}")
async def get_assistant(assistant_id: str, principal: Caller, services: Using) -> dict[str, Any]:
    """One assistant, by its id or its graph's name."""
    return dict(plain((await services.assistants.get(principal, assistant_id)).wire()))


@router.patch("/assistants/{assistant_id}")
async def update_assistant(
    assistant_id: str, body: AssistantPatch, principal: Writer, services: Using
) -> dict[str, Any]:
    """Make a new version of an assistant of the tenant and use it from now on."""
    check_config(body.config)
    changes = body.model_dump(exclude_none=True)
    return dict(plain((await services.assistants.update(principal, assistant_id, changes)).wire()))


@router.delete("/assistants/{assistant_id}", status_code=204)
async def delete_assistant(
    assistant_id: str, principal: Writer, services: Using, delete_threads: bool = False
) -> Response:
    """Remove an assistant of the tenant, if asked for with the caller's threads of it; its runs must have ended."""
    assistant = await services.assistants.owned(principal, assistant_id)
    if delete_threads:
        for thread in await services.threads.of_assistant(principal, assistant.id):
            await remove(services, principal, thread)
    await services.assistants.delete(principal, assistant_id)
    return Response(status_code=204)


@router.get("/assistants/{assistant_id}/graph")
async def get_graph(assistant_id: str, principal: Caller, services: Using, xray: str = "false") -> dict[str, Any]:
    """The drawing of the assistant's graph: nodes and edges; ``xray`` draws subgraphs, to a depth if it is a number."""
    said = xray.lower()
    if said not in ("true", "false") and not (said.isdecimal() and len(said) < 4):
        raise InvalidInput("xray must be true, false, or how deep subgraphs are drawn.")
    agent = await agent_of(services, principal, assistant_id)
    drawing = await agent.graph.aget_graph(xray=int(said) if said.isdecimal() else said == "true")
    return dict(plain(drawing.to_json()))


@router.get("/assistants/{assistant_id}/schemas")
async def get_schemas(assistant_id: str, principal: Caller, services: Using) -> dict[str, Any]:
    """The JSON schemas of what the graph takes and gives."""
    agent = await agent_of(services, principal, assistant_id)
    found = schemas(agent.graph_id, agent.graph)
    return found if agent.context_schema is None else {**found, "context_schema": dict(agent.context_schema)}


@router.get("/assistants/{assistant_id}/subgraphs")
async def get_subgraphs(
    assistant_id: str, principal: Caller, services: Using, recurse: Annotated[bool, Query()] = False
) -> dict[str, Any]:
    """The schemas of the graph's subgraphs, by their namespace."""
    return await _subgraphs(services, principal, assistant_id, None, recurse=recurse)


@router.get("/assistants/{assistant_id}/subgraphs/{namespace:path}")
async def get_subgraph(
    assistant_id: str, namespace: str, principal: Caller, services: Using, recurse: Annotated[bool, Query()] = False
) -> dict[str, Any]:
    """The schemas of the subgraph of a namespace."""
    found = await _subgraphs(services, principal, assistant_id, namespace, recurse=recurse)
    if not found:
        raise NotFound(f"The graph has no subgraph {namespace!r}. GET /assistants/…/subgraphs?recurse=true lists them.")
    return found


async def _subgraphs(
    services: Services, principal: Principal, assistant_id: str, namespace: str | None, *, recurse: bool
) -> dict[str, Any]:
    graph = (await agent_of(services, principal, assistant_id)).graph
    return {
        name: schemas(str(subgraph.name), subgraph)
        async for name, subgraph in graph.aget_subgraphs(namespace=namespace, recurse=recurse)
    }


@router.post("/assistants/{assistant_id}/versions")
async def list_versions(
    assistant_id: str, body: VersionSearch, principal: Caller, services: Using
) -> list[dict[str, Any]]:
    """The assistant's versions, newest first."""
    versions = await services.assistants.versions(
        principal, assistant_id, metadata=body.metadata or {}, limit=body.limit, offset=body.offset
    )
    return [plain(version) for version in versions]


@router.post("/assistants/{assistant_id}/latest")
async def use_version(assistant_id: str, body: VersionChoice, principal: Writer, services: Using) -> dict[str, Any]:
    """Use one of the assistant's versions from now on."""
    return dict(plain((await services.assistants.use_version(principal, assistant_id, body.version)).wire()))
