"""Threads through the stock client: found, listed with what they hold, copied, pruned, changed by hand."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

from app.services import Services
from tests.conftest import Tenant


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "steps": []}


async def talked(tenant: Tenant, *texts: str, graph: str = "echo", **metadata: Any) -> str:
    """A thread on which the texts were said."""
    thread = (await tenant.sdk.threads.create(metadata=metadata, graph_id=graph))["thread_id"]
    for text in texts:
        await tenant.sdk.runs.wait(thread, graph, input=said(text))
    return thread


def texts_of(thread: Any) -> list[str]:
    return [message["content"] for message in thread["values"]["messages"]]


async def test_threads_are_paged_selected_and_extracted_from(tenant: Tenant) -> None:
    names = [await talked(tenant, f"text {number}") for number in range(3)]
    response = await tenant.http.post(
        "/threads/search", json={"limit": 2, "sort_by": "created_at", "sort_order": "asc"}
    )
    assert (response.headers["X-Pagination-Total"], response.headers["X-Pagination-Next"]) == ("3", "2")
    rest = await tenant.http.post("/threads/search", json={"limit": 2, "offset": 2, "sort_by": "created_at"})
    assert "X-Pagination-Next" not in rest.headers
    found: Any = await tenant.sdk.threads.search(
        ids=[names[0]],
        select=["thread_id"],
        extract={"last": "values.messages[-1].content", "graph": "metadata.graph_id", "none": "values.messages[9].id"},
    )
    extracted = {"last": "echo: text 0", "graph": "echo", "none": None}
    assert found == [{"thread_id": names[0], "extracted": extracted}]
    for strange in ({"a": "secrets.x"}, {"a": "values..x"}, {str(n): "values" for n in range(11)}):
        with pytest.raises(UnprocessableEntityError):
            await tenant.sdk.threads.search(extract=strange)


async def test_a_copy_goes_its_own_way(tenant: Tenant) -> None:
    thread = await talked(tenant, "one", topic="boats")
    copy = (await tenant.http.post(f"/threads/{thread}/copy")).json()
    assert copy["thread_id"] != thread
    assert (copy["metadata"], texts_of(copy)) == (
        (await tenant.sdk.threads.get(thread))["metadata"],
        ["one", "echo: one"],
    )
    history = await tenant.sdk.threads.get_history(copy["thread_id"], limit=50)
    assert len(history) == len(await tenant.sdk.threads.get_history(thread, limit=50)) > 1
    assert {entry["checkpoint"]["thread_id"] for entry in history} == {copy["thread_id"]}
    await tenant.sdk.runs.wait(copy["thread_id"], "echo", input=said("two"))
    assert texts_of(await tenant.sdk.threads.get(thread)) == ["one", "echo: one"]
    await tenant.sdk.threads.delete(thread)
    assert len(texts_of(await tenant.sdk.threads.get(copy["thread_id"]))) == 4


async def test_the_state_is_changed_by_hand_also_at_an_earlier_checkpoint(tenant: Tenant) -> None:
    thread = await talked(tenant, "one", "two")
    client = tenant.sdk.threads
    made = await client.update_state(thread, {"messages": [{"role": "user", "content": "by hand"}]}, as_node="answer")
    state: Any = await client.get_state(thread)
    assert state["checkpoint"]["checkpoint_id"] == made["checkpoint"]["checkpoint_id"]
    assert texts_of(await client.get(thread))[-1] == texts_of(state)[-1] == "by hand"
    first = next(entry for entry in await client.get_history(thread, limit=50) if len(texts_of(entry)) == 2)
    fork = await client.update_state(thread, {"steps": ["forked"]}, as_node="answer", checkpoint=first["checkpoint"])
    now: Any = await client.get_state(thread)
    assert now["checkpoint"]["checkpoint_id"] == fork["checkpoint"]["checkpoint_id"]
    assert (texts_of(now), now["values"]["steps"]) == (["one", "echo: one"], ["answer", "forked"])
    same: Any = await client.get_state(thread, checkpoint_id=first["checkpoint"]["checkpoint_id"])
    again: Any = await client.get_state(thread, checkpoint=first["checkpoint"])
    assert same["values"] == again["values"] == first["values"]


async def test_what_waits_is_given_up_as_node_end(tenant: Tenant) -> None:
    thread = await talked(tenant, "x", graph="asks")
    await tenant.sdk.threads.update_state(thread, None, as_node="__end__")
    state: Any = await tenant.sdk.threads.get_state(thread)
    assert (state["next"], state["interrupts"]) == ([], [])
    shown = await tenant.sdk.threads.get(thread)
    assert (shown["status"], shown["interrupts"]) == ("idle", {})


async def test_updates_that_the_graph_does_not_take_are_refused(tenant: Tenant) -> None:
    thread = await talked(tenant, "one")
    before: Any = await tenant.sdk.threads.get_state(thread)
    for values, node in (({"steps": ["x"]}, "nonesuch"), ({"messages": [{"role": "king"}]}, "answer")):
        with pytest.raises(UnprocessableEntityError):
            await tenant.sdk.threads.update_state(thread, values, as_node=node)
    with pytest.raises(NotFoundError):
        await tenant.sdk.threads.update_state(thread, {"steps": []}, checkpoint_id=str(uuid.uuid4()))
    with pytest.raises(UnprocessableEntityError):
        await tenant.sdk.threads.update_state((await tenant.sdk.threads.create())["thread_id"], {"steps": []})
    assert (await tenant.sdk.threads.get_state(thread))["checkpoint"] == before["checkpoint"]


async def test_a_busy_thread_is_not_changed_by_hand(tenant: Tenant) -> None:
    thread = (await tenant.sdk.threads.create())["thread_id"]
    run = await tenant.sdk.runs.create(thread, "slow", input=said("x"), context={"tokens": 300, "pause_s": 0.01})
    with pytest.raises(ConflictError):
        await tenant.sdk.threads.update_state(thread, {"steps": ["x"]}, as_node="answer")
    with pytest.raises(ConflictError):
        await tenant.sdk.threads.prune([thread], strategy="keep_latest")
    await tenant.sdk.runs.cancel(thread, run["run_id"], wait=True)


async def test_states_show_subgraphs_and_only_the_fields_asked_for(tenant: Tenant) -> None:
    thread = await talked(tenant, "x", graph="calls")
    client = tenant.sdk.threads
    state: Any = await client.get_state(thread, subgraphs=True)
    (task,) = state["tasks"]
    inner = task["state"]["tasks"][0]["state"]
    assert (inner["next"], inner["interrupts"][0]["value"]) == (["ask"], "Why?")
    assert [item["value"] for item in state["interrupts"]] == ["Why?"]
    plain: Any = await client.get_state(thread)
    assert plain["tasks"][0]["state"] is None
    assert plain["tasks"][0]["checkpoint"]["checkpoint_ns"].startswith("outer:")
    at: Any = await client.get_state(thread, checkpoint=plain["tasks"][0]["checkpoint"])
    assert (at["next"], texts_of(at)) == (["inner"], ["x"])
    assert set(await client.get_state(thread, select=["next", "values.steps"])) == {"next", "values"}
    only: Any = await client.get_state(thread, checkpoint=state["checkpoint"], select=["values.steps"])
    assert only == {"values": {"steps": []}}
    (latest,) = await client.get_history(thread, limit=1, select=["checkpoint"])
    assert latest == {"checkpoint": state["checkpoint"]}
    (below, *_) = await client.get_history(thread, checkpoint=plain["tasks"][0]["checkpoint"])
    assert below["checkpoint"]["checkpoint_ns"] == plain["tasks"][0]["checkpoint"]["checkpoint_ns"]
    with pytest.raises(UnprocessableEntityError):
        await client.get_state(thread, select=["secrets"])
    nowhere: Any = {**state["checkpoint"], "checkpoint_id": str(uuid.uuid4())}
    with pytest.raises(NotFoundError):
        await client.get_state(thread, checkpoint=nowhere)


async def test_a_thread_is_made_from_the_supersteps_of_another(tenant: Tenant) -> None:
    steps: Any = [
        {"updates": [{"values": said("one"), "as_node": "__input__"}]},
        {"updates": [{"values": said("one"), "as_node": "__start__"}]},
        {"updates": [{"values": {"messages": [{"role": "ai", "content": "an answer"}]}, "as_node": "answer"}]},
        {"updates": [{"values": None, "command": {"update": {"steps": ["by command"]}}, "as_node": "answer"}]},
    ]
    thread = await tenant.sdk.threads.create(graph_id="echo", supersteps=steps)
    assert (texts_of(thread), thread["values"]["steps"]) == (["one", "an answer"], ["by command"])  # type: ignore[index]
    assert len(await tenant.sdk.threads.get_history(thread["thread_id"])) >= 3
    name = str(uuid.uuid4())
    with pytest.raises(UnprocessableEntityError):
        await tenant.sdk.threads.create(
            graph_id="echo", thread_id=name, supersteps=[{"updates": [{"values": {}, "as_node": "no"}]}]
        )
    with pytest.raises(NotFoundError):
        await tenant.sdk.threads.get(name)


async def test_a_changed_thread_is_told_in_short_or_in_full(tenant: Tenant) -> None:
    thread = (await tenant.sdk.threads.create(metadata={"a": 1}, ttl=90))["thread_id"]
    short = await tenant.http.patch(
        f"/threads/{thread}", json={"metadata": {"b": 2}}, headers={"Prefer": "return=minimal"}
    )
    assert (short.status_code, short.content) == (204, b"")
    changed = await tenant.sdk.threads.update(thread, metadata={"a": 3}, ttl={"ttl": 5, "strategy": "keep_latest"})
    assert changed["metadata"] == {"a": 3, "b": 2}
    shown: Any = await tenant.sdk.threads.get(thread, include=["ttl", "size"])
    assert (shown["ttl"]["strategy"], shown["ttl"]["ttl_minutes"]) == ("keep_latest", 5)
    assert shown["size"] == {"checkpoints": 0, "bytes": 0}
    with pytest.raises(NotFoundError):
        await tenant.sdk.threads.update(str(uuid.uuid4()), metadata={})


async def test_pruned_threads_are_gone_or_keep_their_last_state(tenant: Tenant, stranger: Tenant) -> None:
    kept, gone = await talked(tenant, "one", "two"), await talked(tenant, "one")
    foreign = await talked(stranger, "mine")
    state = await tenant.sdk.threads.get_state(kept)
    assert await tenant.sdk.threads.prune([kept, foreign, str(uuid.uuid4())], strategy="keep_latest") == {
        "pruned_count": 1
    }
    assert len(await tenant.sdk.threads.get_history(kept, limit=50)) == 1
    assert (await tenant.sdk.threads.get_state(kept))["values"] == state["values"]
    (newer, older) = await tenant.sdk.runs.list(kept)
    assert await tenant.sdk.runs.join(kept, newer["run_id"]) == state["values"]
    response = await tenant.http.get(f"/threads/{kept}/runs/{older['run_id']}/join")
    assert (response.status_code, "not kept" in response.json()["detail"]) == (404, True)
    await tenant.sdk.runs.wait(kept, "echo", input=said("three"))
    assert texts_of(await tenant.sdk.threads.get(kept))[-1] == "echo: three"
    assert await tenant.sdk.threads.prune([gone, gone, foreign]) == {"pruned_count": 1}
    with pytest.raises(NotFoundError):
        await tenant.sdk.threads.get(gone)
    assert len(await stranger.sdk.threads.get_history(foreign, limit=50)) > 1


async def test_lists_show_values_and_interrupts_without_reading_checkpoints(tenant: Tenant, services: Services) -> None:
    talk = await talked(tenant, "one", "two")
    asks = await talked(tenant, "x", graph="asks")
    async with services.pool.connection() as connection:
        for thread in (talk, asks):
            await connection.execute("DELETE FROM checkpoints WHERE thread_id = %s", (thread,))
    found = {thread["thread_id"]: thread for thread in await tenant.sdk.threads.search()}
    assert texts_of(found[talk]) == ["one", "echo: one", "two", "echo: two"]
    (waiting,) = found[asks]["interrupts"].values()
    assert waiting[0]["value"] == {"question": "Why?"}
    assert (found[asks]["status"], found[talk]["status"], found[talk]["interrupts"]) == ("interrupted", "idle", {})


async def test_threads_are_found_by_what_they_hold(tenant: Tenant) -> None:
    one = await talked(tenant, "one", topic="boats", deep={"a": 1, "b": 2})
    two = await talked(tenant, "two", topic="boats")
    empty = (await tenant.sdk.threads.create(metadata={"topic": "cars"}))["thread_id"]
    client = tenant.sdk.threads
    assert [one] == [t["thread_id"] for t in await client.search(metadata={"deep": {"a": 1}})]
    assert [two] == [t["thread_id"] for t in await client.search(values={"messages": [{"content": "two"}]})]
    assert {one, empty} == {t["thread_id"] for t in await client.search(ids=[one, empty, str(uuid.uuid4())])}
    assert await client.count() == 3
    assert await client.count(metadata={"topic": "boats"}) == 2
    assert await client.count(values={"steps": ["answer"]}, status="idle") == 2
    assert await client.count(status="interrupted") == 0
    ordered = [t["thread_id"] for t in await client.search(sort_by="created_at", sort_order="asc")]
    assert ordered == [one, two, empty]
    assert [t["thread_id"] for t in await client.search(sort_by="state_updated_at", sort_order="asc")][:2] == [one, two]


async def test_a_copied_thread_that_waits_can_be_answered_in_both(tenant: Tenant) -> None:
    thread = await talked(tenant, "x", graph="asks")
    copy = (await tenant.http.post(f"/threads/{thread}/copy")).json()
    assert (copy["status"], len(copy["interrupts"])) == ("interrupted", 1)
    for name, answer in ((thread, "a"), (copy["thread_id"], "b")):
        state: Any = await tenant.sdk.runs.wait(name, "asks", command={"resume": answer})
        assert state["messages"][-1]["content"] == f"told: {answer}"
