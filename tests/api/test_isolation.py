"""No read crosses tenants or principals, and no route answers without a key."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from app.main import create_app
from core.settings import Settings
from tests.conftest import Tenant
from tests.documents import LIGHTHOUSE
from tests.model_relay import Relay

PUBLIC = {"/ok", "/info", "/health/live", "/health/ready"}


def routes() -> list[tuple[str, str]]:
    app = create_app(Settings(_env_file=None))
    return [
        (method, route.path)
        for route in flat(app.routes)
        for method in sorted(route.methods or ())
        if route.path not in PUBLIC
    ]


def flat(found: Any) -> list[APIRoute]:
    made: list[APIRoute] = []
    for route in found:
        if isinstance(route, APIRoute):
            made.append(route)
        elif hasattr(route, "original_router"):
            made.extend(flat(route.original_router.routes))
        elif hasattr(route, "routes"):
            made.extend(flat(route.routes))
    return made


def test_the_list_of_routes_is_not_empty() -> None:
    assert ("POST", "/search") in routes()
    assert len(routes()) > 25


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "rag_wrong"}, {"Authorization": "Bearer rag_wrong"}])
async def test_every_route_wants_a_known_key(api: str, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=api, headers=headers) as http:
        for method, path in routes():
            filled = path.replace("{", "").replace("}", "")
            for name in ("document_id", "thread_id", "run_id", "source_id", "approval_id"):
                filled = filled.replace(name, str(uuid.uuid4()))
            response = await http.request(method, filled)
            assert (path, response.status_code) == (path, 401)
            assert response.json()["message"] == response.json()["detail"] != ""


async def test_other_tenants_things_are_not_there(tenant: Tenant, stranger: Tenant, relay: Relay) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    await tenant.http.post("/collections", json={"name": "private"})
    thread = (await tenant.sdk.threads.create())["thread_id"]
    question: Any = {"messages": [{"role": "user", "content": "When was the lighthouse built?"}]}
    with relay.scripted("The lighthouse was built in 1821."):
        run = await tenant.sdk.runs.create(thread, "rag", input=question)
        await tenant.sdk.runs.join(thread, run["run_id"])
    checkpoint = (await tenant.sdk.threads.get_state(thread))["checkpoint"]["checkpoint_id"]
    here = {
        "document_id": str(document["id"]),
        "thread_id": thread,
        "run_id": run["run_id"],
        "checkpoint_id": str(checkpoint),
    }
    bodies: dict[str, Any] = {
        "/threads/{thread_id}/runs": {"assistant_id": "rag", "input": question},
        "/threads/{thread_id}/runs/stream": {"assistant_id": "rag", "input": question},
        "/threads/{thread_id}/runs/wait": {"assistant_id": "rag", "input": question},
        "/threads/{thread_id}/state/checkpoint": {"checkpoint": {"checkpoint_id": str(checkpoint)}},
        "/threads/{thread_id}/commands": {"id": 1, "method": "state.get", "params": {}},
        "/threads/{thread_id}/stream/events": {"channels": ["values"]},
        "/threads/{thread_id}/runs/crons": {"assistant_id": "rag", "schedule": "* * * * *", "input": question},
    }
    tried = 0
    for method, path in routes():
        if any("{" + name + "}" in path for name in here):
            response = await stranger.http.request(method, path.format(**here), json=bodies.get(path, {}))
            if path.endswith("/commands"):
                # This protocol says in the body what went wrong.
                told = response.json()
                assert (told["type"], "There is no thread" in told["message"]) == ("error", True)
            else:
                assert (method, path, response.status_code) == (method, path, 404)
            tried += 1
    assert tried > 15
    assert (await stranger.http.post("/search", json={"query": "lighthouse"})).json()["hits"] == []
    assert (await stranger.http.post("/search", json={"query": "x", "collections": ["private"]})).status_code == 404
    assert (await stranger.http.get("/documents")).json()["documents"] == []
    assert await stranger.sdk.threads.search() == []
    with relay.scripted("The lighthouse was built in 1821."):
        state: Any = await stranger.sdk.runs.wait(None, "rag", input=question)
    assert state["citations"] == []


async def test_a_conversation_is_its_principals_own(tenant: Tenant, colleague: Tenant) -> None:
    thread = (await tenant.sdk.threads.create())["thread_id"]
    assert (await colleague.http.get(f"/threads/{thread}")).status_code == 404
    assert await colleague.sdk.threads.search() == []


async def test_a_viewer_reads_and_asks_but_changes_nothing(tenant: Tenant, viewer: Tenant) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    assert (await viewer.http.get(f"/documents/{document['id']}")).status_code == 200
    assert (await viewer.http.post("/search", json={"query": "lighthouse"})).json()["hits"] != []
    assert (await viewer.http.delete(f"/documents/{document['id']}")).status_code == 403
    upload = await viewer.http.post("/documents", files={"files": ("a.txt", b"text")})
    assert (upload.status_code, upload.json()["type"]) == (403, "/problems/forbidden")
    assert (await viewer.http.post("/collections", json={"name": "mine"})).status_code == 403
