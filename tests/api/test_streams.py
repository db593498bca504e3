"""Streams that are cut and taken up again, of single runs and of whole threads."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import aclosing
from typing import Any

import pytest
from langgraph_sdk.errors import NotFoundError, UnprocessableEntityError

from tests.conftest import Tenant

INPUT: dict[str, Any] = {"messages": [{"role": "user", "content": "Go."}], "steps": []}
MODES: Any = ["values", "updates", "messages-tuple", "tasks", "checkpoints", "debug", "events"]
Frame = tuple[str | None, str, Any]


async def frames(stream: Any, most: int | None = None) -> list[Frame]:
    """The frames of a stream as (id, event, data); at most ``most``, and then the connection is cut."""
    found: list[Frame] = []
    stream = await stream if inspect.iscoroutine(stream) else stream
    async with asyncio.timeout(30), aclosing(stream):
        async for part in stream:
            found.append((part.id, part.event, part.data))
            if len(found) == most:
                break
    return found


async def new_thread(tenant: Tenant) -> str:
    return str((await tenant.sdk.threads.create())["thread_id"])


async def test_a_live_stream_cut_after_every_event_and_taken_up_again_misses_and_repeats_nothing(
    tenant: Tenant,
) -> None:
    thread = await new_thread(tenant)
    context: Any = {"tokens": 6, "pause_s": 0.03}
    run = await tenant.sdk.runs.create(thread, "slow", input=INPUT, context=context, stream_mode=MODES)
    pieces: list[Frame] = []
    while not pieces or pieces[-1][1] != "end":
        last = pieces[-1][0] if pieces else None
        pieces += await frames(tenant.sdk.runs.join_stream(thread, run["run_id"], last_event_id=last), most=1)
    whole = await frames(tenant.sdk.runs.join_stream(thread, run["run_id"]))
    assert pieces == whole
    assert [int(place or 0) for place, _, _ in whole] == list(range(1, len(whole) + 1))
    assert {event for _, event, _ in whole} == {*MODES, "metadata", "end", "messages"} - {"messages-tuple"}


async def test_an_ended_run_can_be_read_from_after_any_of_its_events(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    options: Any = {"input": INPUT, "stream_mode": ["values", "custom"], "stream_subgraphs": True}
    whole = await frames(tenant.sdk.runs.stream(thread, "nested", **options))
    run = whole[0][2]["run_id"]
    assert {event.partition("|")[0] for _, event, _ in whole} == {"metadata", "values", "custom", "end"}
    assert [event for _, event, _ in whole if event.startswith("custom|inner:")]
    for index, (place, event, _) in enumerate(whole):
        rest = await frames(tenant.sdk.runs.join_stream(thread, run, last_event_id=place))
        assert rest[:-1] == whole[index + 1 : -1], event
        assert rest[-1][1:] == ("end", None)
    assert await frames(tenant.sdk.runs.join_stream(thread, run, last_event_id="-1")) == whole


async def test_a_reader_gets_the_modes_that_it_names(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    await frames(tenant.sdk.runs.stream(thread, "slow", input=INPUT, stream_mode=MODES))
    run = (await tenant.sdk.runs.list(thread))[0]["run_id"]
    for modes, names in (
        ("values", {"values"}),
        (["updates", "messages-tuple"], {"updates", "messages"}),
        ("messages", set()),
        (None, {*MODES, "messages"} - {"messages-tuple"}),
    ):
        events = await frames(tenant.sdk.runs.join_stream(thread, run, stream_mode=modes))  # type: ignore[arg-type]
        assert {event for _, event, _ in events} == names | {"metadata", "end"}
    response = await tenant.http.get(f"/threads/{thread}/runs/{run}/stream", params={"stream_mode": '["values"]'})
    assert "event: values" in response.text
    assert "event: updates" not in response.text
    assert response.headers["location"].endswith("/stream?stream_mode=%5B%22values%22%5D")
    with pytest.raises(UnprocessableEntityError):
        await frames(tenant.sdk.runs.join_stream(thread, run, stream_mode="nothing"))  # type: ignore[arg-type]


async def test_a_thread_s_stream_has_all_of_its_runs_and_can_be_cut_anywhere(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    live = asyncio.create_task(frames(tenant.sdk.threads.join_stream(thread), most=9))
    runs = []
    for _ in range(2):
        await tenant.sdk.runs.wait(thread, "echo", input=INPUT)
        runs.append((await tenant.sdk.runs.list(thread, limit=1))[0]["run_id"])
    await frames(tenant.sdk.runs.stream(thread, "echo", input=INPUT, stream_mode=["updates"]))
    whole = await live
    kinds = [(event, data.get("run_id"), data.get("status")) for _, event, data in whole if event == "metadata"]
    assert kinds[:4] == [("metadata", run, status) for run in runs for status in (None, "run_done")]
    assert [event for _, event, _ in whole].count("values") == 4
    assert await frames(tenant.sdk.threads.join_stream(thread, last_event_id="-1"), most=9) == whole
    for index, (place, _, _) in enumerate(whole[:-1]):
        rest = await frames(tenant.sdk.threads.join_stream(thread, last_event_id=place), most=len(whole) - 1 - index)
        assert rest == whole[index + 1 :]
    starts = await frames(tenant.sdk.threads.join_stream(thread, last_event_id="-1", stream_mode=["lifecycle"]), most=6)
    assert {event for _, event, _ in starts} == {"metadata"}


async def test_a_thread_s_stream_without_a_place_begins_with_the_active_run(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    await tenant.sdk.runs.wait(thread, "echo", input=INPUT)
    context: Any = {"tokens": 20, "pause_s": 0.02}
    run = await tenant.sdk.runs.create(thread, "slow", input=INPUT, context=context, stream_mode="messages-tuple")
    await frames(tenant.sdk.runs.join_stream(thread, run["run_id"]), most=3)
    (first, second) = await frames(tenant.sdk.threads.join_stream(thread), most=2)
    assert first[2]["run_id"] == run["run_id"]
    assert second[1] == "messages"
    await tenant.sdk.runs.cancel(thread, run["run_id"], wait=True)


async def test_a_thread_s_stream_tells_of_changes_of_its_state(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    await tenant.sdk.runs.wait(thread, "echo", input=INPUT)
    reader = asyncio.create_task(frames(tenant.sdk.threads.join_stream(thread, stream_mode="state_update"), most=1))
    await asyncio.sleep(0.1)
    change: Any = {"messages": [{"role": "assistant", "content": "Changed."}]}
    await tenant.sdk.threads.update_state(thread, change, as_node="answer")
    ((_, event, data),) = await reader
    assert (event, data["thread_id"]) == ("state_update", thread)
    assert data["values"]["messages"][-1]["content"] == "Changed."


async def test_a_thread_s_stream_ends_with_the_thread_and_is_nobody_else_s(tenant: Tenant, stranger: Tenant) -> None:
    thread = await new_thread(tenant)
    with pytest.raises(NotFoundError):
        await frames(stranger.sdk.threads.join_stream(thread))
    with pytest.raises(UnprocessableEntityError):
        await frames(tenant.sdk.threads.join_stream(thread, stream_mode="values"))  # type: ignore[arg-type]
    reader = asyncio.create_task(frames(tenant.sdk.threads.join_stream(thread, last_event_id="-1")))
    await tenant.sdk.runs.wait(thread, "echo", input=INPUT)
    await tenant.sdk.threads.delete(thread)
    assert [event for _, event, _ in await reader][:1] == ["metadata"]


async def test_whoever_rejoined_and_asked_for_it_stops_the_run_by_leaving(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    context: Any = {"tokens": 1000, "pause_s": 0.05}
    run = await tenant.sdk.runs.create(thread, "slow", input=INPUT, context=context, stream_mode="messages-tuple")
    await frames(tenant.sdk.runs.join_stream(thread, run["run_id"]), most=2)
    assert (await tenant.sdk.runs.get(thread, run["run_id"]))["status"] == "running"
    await frames(tenant.sdk.runs.join_stream(thread, run["run_id"], cancel_on_disconnect=True), most=2)
    async with asyncio.timeout(10):
        await frames(tenant.sdk.runs.join_stream(thread, run["run_id"]))
    assert (await tenant.sdk.runs.get(thread, run["run_id"]))["status"] == "interrupted"
