"""Threads and runs through the stock LangGraph client."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

from app.services import Services
from tests.conftest import Tenant
from tests.documents import FERRIES, LIGHTHOUSE
from tests.model_relay import Relay

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "When was the lighthouse built?"}]}
BOATS: Any = {"collections": ["boats"]}
CARS: Any = {"collections": ["cars"]}
GOOD = "The lighthouse of Kerzenfels was built in 1821 [1]."


async def collect(stream: Any) -> list[tuple[str, Any]]:
    return [(part.event, part.data) async for part in stream]


async def test_the_assistants_are_listed(tenant: Tenant) -> None:
    assistants = await tenant.sdk.assistants.search(graph_id="rag")
    assert [assistant["graph_id"] for assistant in assistants] == ["rag"]
    same = await tenant.sdk.assistants.get(assistants[0]["assistant_id"])
    assert same["name"] == "rag"
    assert {node["id"] for node in (await tenant.sdk.assistants.get_graph("rag"))["nodes"]} >= {"retrieve", "verify"}
    assert (await tenant.sdk.assistants.get_schemas("rag"))["graph_id"] == "rag"
    with pytest.raises(NotFoundError):
        await tenant.sdk.assistants.get("nobody")


async def test_a_streamed_run_shows_steps_tokens_and_the_cited_answer(tenant: Tenant, relay: Relay) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    thread = await tenant.sdk.threads.create()
    with relay.scripted(GOOD):
        events = await collect(
            tenant.sdk.runs.stream(
                thread["thread_id"],
                "rag",
                input=QUESTION,
                stream_mode=["values", "updates", "messages-tuple", "custom"],
            )
        )
    assert events[0][0] == "metadata"
    assert set(events[0][1]) == {"run_id", "attempt"}
    steps = [data["step"] for event, data in events if event == "custom" and data["type"] == "step"]
    assert list(dict.fromkeys(steps)) == ["retrieve", "generate", "verify"]
    tokens = [data for event, data in events if event == "messages"]
    assert "".join(chunk["content"] for chunk, meta in tokens if meta["langgraph_node"] == "generate") == GOOD
    assert {name for event, data in events if event == "updates" for name in data} >= {"retrieve", "generate", "verify"}
    state = [data for event, data in events if event == "values"][-1]
    assert set(state) == {"messages", "citations"}
    last = state["messages"][-1]
    assert last["content"] == "The lighthouse of Kerzenfels was built in 1821. [1]"
    assert last["additional_kwargs"]["citations"] == state["citations"]
    assert {chunk["id"] for chunk, meta in tokens if meta["langgraph_node"] == "generate"} == {last["id"]}
    (citation,) = state["citations"]
    assert citation["document_id"] == document["id"]
    assert citation["quote"].startswith("The lighthouse of Kerzenfels was built in 1821")


async def test_every_quote_of_the_real_model_is_in_its_chunk(tenant: Tenant, services: Services) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    state: Any = await tenant.sdk.runs.wait(None, "rag", input=QUESTION)
    assert state["messages"][-1]["type"] == "ai"
    chunks = (await tenant.http.get(f"/documents/{document['id']}/chunks")).json()["chunks"]
    texts = {chunk["id"]: chunk for chunk in chunks}
    for citation in state["citations"]:
        chunk = texts[citation["chunk_id"]]
        start = citation["start"] - chunk["start"]
        assert chunk["text"][start : start + len(citation["quote"])] == citation["quote"] != ""


async def test_nothing_relevant_is_said_and_nothing_cited_without_asking_the_model(
    tenant: Tenant, relay: Relay
) -> None:
    await tenant.upload("ferries.txt", FERRIES.encode())
    question: Any = {"messages": [{"role": "user", "content": "How do I reset my password?"}]}
    with relay.scripted("Never said.") as script:
        state: Any = await tenant.sdk.runs.wait(None, "rag", input=question)
    assert state["messages"][-1]["content"] == "I found nothing about this in the documents."
    assert (state["citations"], script.requests) == ([], [])


async def test_a_follow_up_question_is_understood_with_its_history(tenant: Tenant, relay: Relay) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    thread = (await tenant.sdk.threads.create())["thread_id"]
    with relay.scripted(GOOD):
        await tenant.sdk.runs.wait(thread, "rag", input=QUESTION)
    follow_up: Any = {"messages": [{"role": "user", "content": "Who was the engineer of it?"}]}
    rewrite = "Who was the engineer of the lighthouse?"
    with relay.scripted(rewrite, "The engineer was Marta Olsund.") as script:
        state: Any = await tenant.sdk.runs.wait(thread, "rag", input=follow_up)
    assert "1821" in script.requests[0]["messages"][1]["content"]
    assert rewrite in script.requests[1]["messages"][1]["content"]
    assert state["messages"][-1]["content"] == "The engineer was Marta Olsund. [1]"
    assert [message["type"] for message in state["messages"]] == ["human", "ai", "human", "ai"]


async def test_state_and_history_are_kept(tenant: Tenant, relay: Relay) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    thread = (await tenant.sdk.threads.create(metadata={"title": "Light"}))["thread_id"]
    with relay.scripted(GOOD):
        await tenant.sdk.runs.wait(thread, "rag", input=QUESTION)
    state: Any = await tenant.sdk.threads.get_state(thread)
    assert (state["next"], len(state["values"]["messages"])) == ([], 2)
    history = await tenant.sdk.threads.get_history(thread, limit=50)
    assert history[0]["checkpoint"] == state["checkpoint"]
    assert len({entry["checkpoint"]["checkpoint_id"] for entry in history}) == len(history) >= 4
    assert history[0]["parent_checkpoint"] == history[1]["checkpoint"]
    older = await tenant.sdk.threads.get_history(thread, limit=1, before=history[1]["checkpoint"]["checkpoint_id"])
    assert older[0]["checkpoint"] == history[2]["checkpoint"]
    found = await tenant.sdk.threads.search(metadata={"title": "Light"})
    assert [item["thread_id"] for item in found] == [thread]
    assert found[0]["values"]["messages"][-1]["type"] == "ai"  # type: ignore[index]
    assert found[0]["metadata"]["graph_id"] == "rag"  # type: ignore[index]


async def test_a_deleted_thread_leaves_no_row(tenant: Tenant, services: Services, relay: Relay) -> None:
    thread = (await tenant.sdk.threads.create())["thread_id"]
    with relay.scripted(GOOD):
        await tenant.sdk.runs.wait(thread, "rag", input=QUESTION)
    await tenant.sdk.threads.delete(thread)
    with pytest.raises(NotFoundError):
        await tenant.sdk.threads.get(thread)
    tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes", "runs")
    async with services.pool.connection() as connection:
        for table in tables:
            query = f"SELECT count(*) AS rest FROM {table} WHERE thread_id::text = %s"
            row = await (await connection.execute(query.encode(), (thread,))).fetchone()
            assert row is not None
            assert (table, row["rest"]) == (table, 0)


async def test_a_thread_runs_one_question_at_a_time(tenant: Tenant, relay: Relay) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    thread = (await tenant.sdk.threads.create())["thread_id"]
    with relay.scripted(GOOD, pause_s=0.1):
        run = await tenant.sdk.runs.create(thread, "rag", input=QUESTION)
        assert (await tenant.sdk.threads.get(thread))["status"] == "busy"
        with pytest.raises(ConflictError):
            await tenant.sdk.runs.create(thread, "rag", input=QUESTION, multitask_strategy="reject")
        second = await tenant.sdk.runs.create(thread, "rag", input=QUESTION)
        assert (second["status"], second["multitask_strategy"]) == ("pending", "enqueue")
        await tenant.sdk.runs.cancel(thread, second["run_id"], wait=True)
        await tenant.sdk.runs.join(thread, run["run_id"])
    assert (await tenant.sdk.threads.get(thread))["status"] == "idle"
    assert (await tenant.sdk.runs.get(thread, run["run_id"]))["status"] == "success"


async def test_a_stream_that_is_cut_anywhere_misses_nothing_and_repeats_nothing(tenant: Tenant, relay: Relay) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    thread = (await tenant.sdk.threads.create())["thread_id"]
    body = {"assistant_id": "rag", "input": QUESTION, "stream_mode": ["messages-tuple", "custom", "values"]}
    with relay.scripted(GOOD, pause_s=0.02):
        live = []
        async with tenant.http.stream("POST", f"/threads/{thread}/runs/stream", json=body) as stream:
            place = stream.headers["location"]
            async for line in stream.aiter_lines():
                live.append(line)
    whole = events_of(live)
    assert [id for id, _, _ in whole] == list(range(1, len(whole) + 1))
    for cut in range(0, len(whole) + 1, 3):
        rest = await tenant.http.get(place, headers={"Last-Event-ID": str(cut)})
        assert events_of(rest.text.split("\n"))[: len(whole) - cut] == whole[cut:]


def events_of(lines: list[str]) -> list[tuple[int, str, str]]:
    events, event, data = [], "", ""
    for line in lines:
        if line.startswith("event: "):
            event = line[7:]
        elif line.startswith("data: "):
            data = line[6:]
        elif line.startswith("id: "):
            events.append((int(line[4:]), event, data))
    return events


async def test_a_reader_may_join_while_the_answer_is_written(tenant: Tenant, relay: Relay) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    thread = (await tenant.sdk.threads.create())["thread_id"]
    with relay.scripted(GOOD, pause_s=0.05):
        run = await tenant.sdk.runs.create(thread, "rag", input=QUESTION, stream_mode=["messages-tuple", "values"])
        first, second = await asyncio.gather(
            collect(tenant.sdk.runs.join_stream(thread, run["run_id"])),
            collect(tenant.sdk.runs.join_stream(thread, run["run_id"])),
        )
    assert first == second
    assert [data for event, data in first if event == "values"][-1]["citations"]


async def test_stop_keeps_what_was_written_and_the_thread_goes_on(tenant: Tenant, relay: Relay) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    thread = (await tenant.sdk.threads.create())["thread_id"]
    with relay.scripted("The lighthouse " + "stands there " * 200, pause_s=0.05) as script:
        run = await tenant.sdk.runs.create(thread, "rag", input=QUESTION, stream_mode=["messages-tuple", "custom"])
        seen = 0
        async for part in tenant.sdk.runs.join_stream(thread, run["run_id"]):
            seen += part.event == "messages"
            if seen == 3:
                await tenant.sdk.runs.cancel(thread, run["run_id"], wait=True)
                break
        assert (await tenant.sdk.runs.get(thread, run["run_id"]))["status"] == "interrupted"
        async with asyncio.timeout(5):
            while not script.hung_up:
                await asyncio.sleep(0.02)
    state: Any = await tenant.sdk.threads.get_state(thread)
    kept = state["values"]["messages"][-1]
    assert kept["content"].startswith("The lighthouse stands")
    assert kept["additional_kwargs"]["stopped"] is True
    assert (state["next"], state["values"]["citations"]) == ([], [])
    with relay.scripted("When was the lighthouse built?", GOOD):
        again: Any = await tenant.sdk.runs.wait(thread, "rag", input=QUESTION)
    assert again["messages"][-1]["content"].endswith("[1]")


async def test_a_reader_who_leaves_stops_the_run_only_if_it_asked_for_that(tenant: Tenant, relay: Relay) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    for on_disconnect, status in (("continue", "success"), ("cancel", "interrupted")):
        thread = (await tenant.sdk.threads.create())["thread_id"]
        body = {"assistant_id": "rag", "input": QUESTION, "stream_mode": "custom", "on_disconnect": on_disconnect}
        with relay.scripted(GOOD, pause_s=0.1):
            async with tenant.http.stream("POST", f"/threads/{thread}/runs/stream", json=body) as stream:
                place = stream.headers["content-location"]
                await anext(stream.aiter_lines())
            async with asyncio.timeout(20):
                while (run := (await tenant.http.get(place)).json())["status"] in ("pending", "running"):
                    await asyncio.sleep(0.05)
        assert run["status"] == status


async def test_a_model_that_fails_ends_the_run_with_a_sentence_that_helps(tenant: Tenant, relay: Relay) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    thread = (await tenant.sdk.threads.create())["thread_id"]
    with relay.scripted("", status=500):
        events = await collect(tenant.sdk.runs.stream(thread, "rag", input=QUESTION, stream_mode="values"))
    (error,) = [data for event, data in events if event == "error"]
    assert error["error"] == "Unavailable"
    assert "/health/ready" in error["message"]
    assert (await tenant.sdk.threads.get(thread))["status"] == "error"
    with relay.scripted(GOOD):
        state: Any = await tenant.sdk.runs.wait(thread, "rag", input=QUESTION)
    assert state["citations"]


async def test_only_named_collections_are_read(tenant: Tenant, relay: Relay) -> None:
    await tenant.http.post("/collections", json={"name": "boats"})
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    with relay.scripted(GOOD):
        state: Any = await tenant.sdk.runs.wait(None, "rag", input=QUESTION, context=BOATS)
    assert state["citations"] == []
    with pytest.raises(NotFoundError):
        await tenant.sdk.runs.create(None, "rag", input=QUESTION, context=CARS)


@pytest.mark.parametrize(
    "input",
    [
        None,
        {},
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "I ask myself."}]},
        {"messages": [{"role": "nobody", "content": "x"}]},
        {"messages": [{"role": "user", "content": "  "}]},
        {"messages": [{"role": "user", "content": "a\u0000b"}]},
        {"messages": 7},
    ],
)
async def test_input_that_is_no_question_is_refused_before_anything_runs(tenant: Tenant, input: Any) -> None:
    thread = (await tenant.sdk.threads.create())["thread_id"]
    with pytest.raises(UnprocessableEntityError):
        await tenant.sdk.runs.create(thread, "rag", input=input)
    assert await tenant.sdk.runs.list(thread) == []
    assert (await tenant.sdk.threads.get(thread))["status"] == "idle"


async def test_a_thread_id_is_used_once(tenant: Tenant, stranger: Tenant) -> None:
    thread = (await tenant.sdk.threads.create())["thread_id"]
    with pytest.raises(ConflictError):
        await tenant.sdk.threads.create(thread_id=thread)
    same = await tenant.sdk.threads.create(thread_id=thread, if_exists="do_nothing")
    assert same["thread_id"] == thread
    with pytest.raises(ConflictError):
        await stranger.sdk.threads.create(thread_id=thread, if_exists="do_nothing")


async def test_titles_can_be_changed(tenant: Tenant) -> None:
    thread = (await tenant.sdk.threads.create(metadata={"title": "Old", "kept": 1}))["thread_id"]
    await tenant.sdk.threads.update(thread, metadata={"title": "New"})
    assert (await tenant.sdk.threads.get(thread))["metadata"] == {"title": "New", "kept": 1}


async def test_the_stream_ends_with_end(tenant: Tenant, relay: Relay) -> None:
    with relay.scripted(GOOD):
        body = {"assistant_id": "rag", "input": QUESTION, "stream_mode": "values"}
        response: httpx.Response = await tenant.http.post("/runs/stream", json=body)
    assert events_of(response.text.split("\n"))[-1][1:] == ("end", "null")
