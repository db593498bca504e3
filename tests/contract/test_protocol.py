"""The second protocol by the stock client's `threads.stream`."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.conftest import Tenant
from tests.sse import frames_of

INPUT: dict[str, Any] = {"messages": [{"role": "user", "content": "Go."}], "steps": []}


async def test_a_run_is_started_and_its_messages_and_values_are_read(tenant: Tenant) -> None:
    async with asyncio.timeout(30), tenant.sdk.threads.stream(assistant_id="slow") as thread:
        await thread.run.start(input=INPUT)
        # What a message says arrives while the messages are read.
        messages = [message async for message in thread.messages]
        texts = [await message.text for message in messages]
        output: Any = await thread.output
    words = [f"w{number}" for number in range(20)]
    assert [text.split() for text in texts] == [words]
    assert output["messages"][-1]["content"].split() == words


async def test_an_interrupt_is_answered_and_the_run_goes_on(tenant: Tenant) -> None:
    async with asyncio.timeout(30), tenant.sdk.threads.stream(assistant_id="asks") as thread:
        await thread.run.start(input=INPUT)
        while not thread.interrupted:
            await asyncio.sleep(0.02)
        assert [item["value"] for item in thread.interrupts] == [{"question": "Why?"}]
        await thread.run.respond("Because.")
        output: Any = await thread.output
    assert output["messages"][-1]["content"] == "told: Because."


async def test_a_failed_run_and_a_refused_command_are_said(tenant: Tenant) -> None:
    async with asyncio.timeout(30), tenant.sdk.threads.stream(assistant_id="fails") as thread:
        await thread.run.start(input={**INPUT, "kind": "known"})
        try:
            await thread.output
        except RuntimeError as error:
            assert "The part is away" in str(error)  # noqa: PT017 (an awaitable that is not a coroutine)
        else:
            raise AssertionError
    made = (await tenant.sdk.threads.create())["thread_id"]
    for method, code in (("run.start", "invalid_argument"), ("input.inject", "unknown_command")):
        response = await tenant.http.post(f"/threads/{made}/commands", json={"id": 7, "method": method})
        assert (response.status_code, response.json()["id"], response.json()["error"]) == (200, 7, code)


async def read(http: httpx.AsyncClient, thread: str, count: int, **asked: Any) -> list[Any]:
    """The first events of a subscription."""
    seen = ""
    async with (
        asyncio.timeout(20),
        http.stream("POST", f"/threads/{thread}/stream/events", json={"channels": CHANNELS, **asked}) as stream,
    ):
        async for line in stream.aiter_lines():
            seen += f"{line}\n"
            if seen.count("\nid: ") == count and line == "":
                break
    return [data for _, _, data in frames_of(seen)]


CHANNELS = ["values", "updates", "messages", "tasks", "checkpoints", "custom", "lifecycle", "input"]


async def test_the_stream_can_be_cut_after_any_event_and_has_each_once(tenant: Tenant) -> None:
    thread = (await tenant.sdk.threads.create())["thread_id"]
    command = {"id": 1, "method": "run.start", "params": {"assistant_id": "nested", "input": INPUT}}
    assert (await tenant.http.post(f"/threads/{thread}/commands", json=command)).json()["type"] == "success"
    end = await read(tenant.http, thread, 1, channels=["lifecycle"], namespaces=[[]], depth=0, since=0)
    assert end[0]["params"]["data"]["event"] == "running"
    await tenant.sdk.runs.join(thread, (await tenant.sdk.runs.list(thread))[0]["run_id"])
    whole = await read(tenant.http, thread, await count(tenant, thread), since=0)
    places = [event["seq"] for event in whole]
    assert places == sorted(set(places))
    assert whole[-1]["params"]["data"]["event"] == "completed"
    below = [event for event in whole if event["method"] == "lifecycle" and event["params"]["namespace"]]
    assert [event["params"]["data"]["event"] for event in below] == ["started", "completed"]
    for index in range(0, len(whole) - 1, 3):
        rest = await read(tenant.http, thread, len(whole) - 1 - index, since=whole[index]["seq"])
        assert [event["seq"] for event in rest] == places[index + 1 :]


async def count(tenant: Tenant, thread: str) -> int:
    """How many events there are up to the end of the run."""
    seen = 0
    body = {"channels": CHANNELS, "since": 0}
    async with asyncio.timeout(20), tenant.http.stream("POST", f"/threads/{thread}/stream/events", json=body) as stream:
        async for line in stream.aiter_lines():
            seen += line.startswith("id: ")
            if '"event":"completed"' in line and '"namespace":[]' in line:
                return seen + 1
    return seen
