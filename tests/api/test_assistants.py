"""Assistants of a tenant: made of graphs, changed in versions, found and deleted through the stock client."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from langgraph_sdk.errors import ConflictError, NotFoundError, PermissionDeniedError, UnprocessableEntityError

from tests.conftest import Tenant

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


async def test_an_assistant_is_made_changed_in_versions_and_set_back(tenant: Tenant) -> None:
    client = tenant.sdk.assistants
    made = await client.create("echo", context={"tone": "dry"}, metadata={"team": "a"}, name="Parrot", description="d")
    assert (made["version"], made["graph_id"], made["context"], made["name"]) == (1, "echo", {"tone": "dry"}, "Parrot")
    name = made["assistant_id"]
    second = await client.update(name, name="Owl", metadata={"floor": 2}, graph_id="slow", context={"tokens": 3})
    assert (second["version"], second["name"], second["graph_id"]) == (2, "Owl", "slow")
    assert (second["metadata"], second["description"]) == ({"team": "a", "floor": 2}, "d")
    back = await client.set_latest(name, 1)
    assert (back["version"], back["name"], back["graph_id"], back["context"]) == (1, "Parrot", "echo", {"tone": "dry"})
    third = await client.update(name, description="e")
    assert (third["version"], third["name"], third["description"]) == (3, "Parrot", "e")
    versions = await client.get_versions(name)
    assert [(one["version"], one["name"]) for one in versions] == [(3, "Parrot"), (2, "Owl"), (1, "Parrot")]
    assert [one["version"] for one in await client.get_versions(name, limit=1, offset=1)] == [2]
    assert [one["version"] for one in await client.get_versions(name, metadata={"floor": 2})] == [2]
    with pytest.raises(NotFoundError):
        await client.set_latest(name, 4)


async def test_an_id_is_taken_once_and_used_again_only_when_asked_to(tenant: Tenant, stranger: Tenant) -> None:
    name = str(uuid.uuid4())
    await tenant.sdk.assistants.create("echo", assistant_id=name, name="first")
    with pytest.raises(ConflictError):
        await tenant.sdk.assistants.create("echo", assistant_id=name)
    same = await tenant.sdk.assistants.create("echo", assistant_id=name, if_exists="do_nothing", name="second")
    assert same["name"] == "first"
    with pytest.raises(ConflictError):
        await stranger.sdk.assistants.create("echo", assistant_id=name, if_exists="do_nothing")
    with pytest.raises(NotFoundError):
        await tenant.sdk.assistants.create("nonesuch")
    with pytest.raises(UnprocessableEntityError):
        await tenant.sdk.assistants.create("echo", assistant_id="no-uuid")


async def test_assistants_are_found_counted_sorted_and_paged(tenant: Tenant) -> None:
    for number, graph in enumerate(("echo", "slow", "echo")):
        await tenant.sdk.assistants.create(graph, name=f"Bird {number}", metadata={"kind": "bird", "number": number})
    client = tenant.sdk.assistants
    birds = await client.search(metadata={"kind": "bird"}, sort_by="name", sort_order="asc", select=["name", "version"])
    assert birds == [{"name": f"Bird {number}", "version": 1} for number in range(3)]
    assert [one["name"] for one in await client.search(graph_id="slow", name="bIRD")] == ["Bird 1"]
    assert await client.count(metadata={"kind": "bird"}, graph_id="echo") == 2
    page = await client.search(metadata={"kind": "bird"}, limit=2, response_format="object")
    assert ([one["name"] for one in page["assistants"]], page["next"]) == (["Bird 2", "Bird 1"], "2")
    last = await client.search(metadata={"kind": "bird"}, limit=2, offset=2, response_format="object")
    assert ([one["name"] for one in last["assistants"]], last["next"]) == (["Bird 0"], None)
    response = await tenant.http.post("/assistants/search", json={"metadata": {"kind": "bird"}, "limit": 1})
    assert response.headers["X-Pagination-Total"] == "3"
    assert {one["graph_id"] for one in await client.search(metadata={"created_by": "system"})} >= {"rag", "echo"}


async def test_the_assistants_of_graphs_belong_to_everybody_and_stay_as_they_are(tenant: Tenant) -> None:
    client = tenant.sdk.assistants
    for attempt in (client.update("rag", name="mine"), client.delete("rag"), client.set_latest("rag", 1)):
        with pytest.raises(PermissionDeniedError):
            await attempt
    assert (await client.get("rag"))["name"] == "rag"
    assert [one["version"] for one in await client.get_versions("rag")] == [1]


async def test_a_tenants_assistants_are_nobody_elses(tenant: Tenant, stranger: Tenant, viewer: Tenant) -> None:
    name = (await tenant.sdk.assistants.create("echo", name="secret", metadata={"kind": "hidden"}))["assistant_id"]
    theirs = stranger.sdk.assistants
    attempts = (
        theirs.get(name),
        theirs.update(name, name="taken"),
        theirs.delete(name),
        theirs.get_versions(name),
        theirs.set_latest(name, 1),
        theirs.get_graph(name),
        theirs.get_schemas(name),
        theirs.get_subgraphs(name),
        stranger.sdk.runs.create(None, name, input=HELLO),
    )
    for attempt in attempts:
        with pytest.raises(NotFoundError):
            await attempt
    assert await theirs.search(metadata={"kind": "hidden"}) == []
    assert await theirs.count(metadata={"kind": "hidden"}) == 0
    assert (await viewer.sdk.assistants.get(name))["name"] == "secret"
    with pytest.raises(PermissionDeniedError):
        await viewer.sdk.assistants.delete(name)


async def test_graphs_tell_their_schemas_and_subgraphs(tenant: Tenant) -> None:
    client = tenant.sdk.assistants
    schemas = await client.get_schemas("rag")
    assert set(schemas["context_schema"]["properties"]) == {"collections", "filter"}  # type: ignore[index]
    assert "messages" in schemas["input_schema"]["properties"]  # type: ignore[index]
    assert set((await client.get_schemas("slow"))["context_schema"]["properties"]) >= {"tokens"}  # type: ignore[index]
    subgraphs = await client.get_subgraphs("calls", recurse=True)
    assert set(subgraphs) == {"outer", "outer|inner"}
    assert set(await client.get_subgraphs("calls")) == {"outer"}
    assert set(await client.get_subgraphs("calls", namespace="outer", recurse=True)) == {"outer"}
    with pytest.raises(NotFoundError):
        await client.get_subgraphs("calls", namespace="nonesuch")
    drawn = [await client.get_graph("calls", xray=depth) for depth in (False, 1, True)]
    inside = [next(node["id"] for node in graph["nodes"] if "outer" in node["id"]) for graph in drawn]
    assert inside == ["outer", "outer:inner", "outer:inner:ask"]


async def test_a_run_starts_from_what_its_assistant_says_and_its_own_words_win(tenant: Tenant) -> None:
    made = await tenant.sdk.assistants.create(
        "slow",
        {"configurable": {"tone": "dry"}, "recursion_limit": 7, "tags": ["a"]},
        context={"tokens": 3, "pause_s": 0.0},
        metadata={"team": "x", "floor": 1},
    )
    name, thread = made["assistant_id"], (await tenant.sdk.threads.create())["thread_id"]
    state: Any = await tenant.sdk.runs.wait(thread, name, input=HELLO)
    assert state["messages"][-1]["content"].split() == ["w0", "w1", "w2"]
    state = await tenant.sdk.runs.wait(
        thread, name, input=HELLO, context={"tokens": 1}, metadata={"floor": 2}, config={"tags": ["b"]}
    )
    assert state["messages"][-1]["content"].split() == ["w0"]
    (last, _) = await tenant.sdk.runs.list(thread)
    kwargs: Any = last["kwargs"]  # type: ignore[typeddict-item]
    assert (kwargs["tags"], kwargs["recursion_limit"], kwargs["configurable"]) == (["a", "b"], 7, {"tone": "dry"})
    said = {"team": "x", "floor": 2, "assistant_id": name, "graph_id": "slow"}
    assert said.items() <= last["metadata"].items()  # type: ignore[union-attr]
    assert (last["assistant_id"], (await tenant.sdk.threads.get(thread))["metadata"]) == (
        name,
        {"assistant_id": name, "graph_id": "slow"},
    )
    await tenant.sdk.assistants.update(name, context={"tokens": 2})
    state = await tenant.sdk.runs.wait(thread, name, input=HELLO)
    assert state["messages"][-1]["content"].split() == ["w0", "w1"]
    with pytest.raises(UnprocessableEntityError):
        await tenant.sdk.assistants.create("echo", {"recursion_limit": 0})


async def test_a_deleted_assistant_takes_its_runs_along_and_threads_only_when_asked_to(tenant: Tenant) -> None:
    name = (await tenant.sdk.assistants.create("slow", context={"tokens": 500, "pause_s": 0.01}))["assistant_id"]
    kept, gone = [(await tenant.sdk.threads.create())["thread_id"] for _ in range(2)]
    run = (await tenant.sdk.runs.create(kept, name, input=HELLO))["run_id"]
    with pytest.raises(ConflictError):
        await tenant.sdk.assistants.delete(name)
    await tenant.sdk.runs.cancel(kept, run, wait=True)
    await tenant.sdk.assistants.delete(name)
    with pytest.raises(NotFoundError):
        await tenant.sdk.assistants.get(name)
    assert await tenant.sdk.runs.list(kept) == []
    other = (await tenant.sdk.assistants.create("slow", context={"tokens": 500, "pause_s": 0.01}))["assistant_id"]
    await tenant.sdk.runs.create(gone, other, input=HELLO)
    await tenant.sdk.assistants.delete(other, delete_threads=True)
    with pytest.raises(NotFoundError):
        await tenant.sdk.threads.get(gone)
    assert (await tenant.sdk.threads.get(kept))["thread_id"] == kept
