"""The event log of runs over a real database, as two processes see it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import AIMessageChunk

from app.bell import Bell
from app.runs.feed import KEPT, Event
from app.runs.log import EventLog
from app.runs.sweep import sweep_events
from core.database import Pool, migrate, open_pool
from core.settings import DatabaseSettings
from tests.conftest import make_principal

LIMIT = 4000


@pytest.fixture(scope="module")
async def pool(postgres: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings.model_validate({"url": postgres})) as pool:
        await migrate(pool)
        yield pool


@pytest.fixture(scope="module")
async def logs(pool: Pool, postgres: str) -> AsyncIterator[tuple[EventLog, EventLog]]:
    """The logs of two processes; each keeps at most ``LIMIT`` characters of a run."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            bell = Bell(postgres)
            made.append(EventLog(pool, bell, limit=LIMIT))
            await stack.enter_async_context(bell.listening())
            await stack.enter_async_context(made[-1].writing())
        yield made[0], made[1]


@pytest.fixture
async def run_id(pool: Pool) -> UUID:
    """A run that is being executed, by nobody in particular."""
    principal, _ = await make_principal(pool)
    run_id = uuid.uuid4()
    async with pool.connection() as connection:
        await connection.execute("INSERT INTO assistants (id, graph_id, name) VALUES (%s, 'none', 'none')", (run_id,))
        await connection.execute(
            "INSERT INTO threads (id, tenant_id, principal_id) VALUES (%s, %s, %s)",
            (run_id, principal.tenant, principal.id),
        )
        await connection.execute(
            "INSERT INTO runs (id, thread_id, tenant_id, assistant_id, kwargs, status, lease_until) "
            "VALUES (%s, %s, %s, %s, '{}', 'running', now() + interval '1 hour')",
            (run_id, run_id, principal.tenant, run_id),
        )
    return run_id


async def end(pool: Pool, run_id: UUID) -> None:
    async with pool.connection() as connection:
        await connection.execute("UPDATE runs SET status = 'success', updated_at = now() WHERE id = %s", (run_id,))


async def read(log: EventLog, run_id: UUID, after: int = 0) -> list[Event]:
    async with asyncio.timeout(10):
        return [event async for event in log.follow(run_id, after)]


async def said(log: Any, *numbers: int, text: str = "") -> None:
    """Put events, each in a transaction of its own."""
    for number in numbers:
        log.put("custom", {"n": number, "text": text})
        await log.flush()


async def test_readers_at_any_process_before_during_and_after_see_the_same(
    pool: Pool, logs: tuple[EventLog, EventLog], run_id: UUID
) -> None:
    here, there = logs
    early = [asyncio.create_task(read(log, run_id)) for log in logs]
    log = await here.open(run_id, 0)
    await said(log, 1, 2)
    during = [asyncio.create_task(read(log, run_id)) for log in logs]
    behind = asyncio.create_task(read(there, run_id, after=2))
    await said(log, 3, 4)
    await end(pool, run_id)
    await log.close()
    seen = [*await asyncio.gather(*early, *during), await read(here, run_id), await read(there, run_id)]
    assert [event.seq for event in seen[0]] == [1, 2, 3, 4]
    assert all(events == seen[0] for events in seen)
    assert await behind == seen[0][2:]
    assert await read(there, run_id, after=4) == []


async def test_the_oldest_go_when_a_run_says_too_much_and_readers_are_told(
    pool: Pool, logs: tuple[EventLog, EventLog], run_id: UUID
) -> None:
    here, there = logs
    log = await here.open(run_id, 0)
    live = asyncio.create_task(read(here, run_id))
    await said(log, *range(1, 41), text="x" * 200)
    await end(pool, run_id)
    await log.close()
    assert [event.seq for event in await live] == list(range(1, 41))
    for reader in (there, here):
        gap, *rest = await read(reader, run_id)
        told = json.loads(gap.data)
        assert (gap.event, told["error"], told["first"]) == ("error", "Gap", 1)
        assert [event.seq for event in rest] == list(range(told["last"] + 1, 41))
        assert 0 < sum(len(event.data) for event in rest) <= LIMIT
        assert await read(reader, run_id, after=gap.seq) == rest
        assert (await read(reader, run_id, after=3))[0].seq == gap.seq


async def test_what_was_kept_long_enough_goes_and_readers_are_told(
    pool: Pool, logs: tuple[EventLog, EventLog], run_id: UUID
) -> None:
    here, there = logs
    log = await here.open(run_id, 0)
    await said(log, 1, 2, 3)
    await sweep_events(pool, 0)
    assert [event.seq for event in (await read_some(there, run_id, 3))] == [1, 2, 3]
    await end(pool, run_id)
    await log.close()
    await sweep_events(pool, 3600)
    assert len(await read(there, run_id)) == 3
    assert await sweep_events(pool, 0) >= 1
    (gap,) = await read(there, run_id, after=1)
    assert json.loads(gap.data)["message"].startswith("Events 2 to 3 of this run are no longer kept.")
    assert await read(there, run_id, after=3) == []


async def read_some(log: EventLog, run_id: UUID, count: int) -> list[Event]:
    """The first events of a run that goes on."""
    events: list[Event] = []
    async with asyncio.timeout(10):
        async for event in log.follow(run_id):
            events.append(event)
            if len(events) == count:
                break
    return events


async def test_a_process_whose_run_was_taken_over_says_nothing_more(
    pool: Pool, logs: tuple[EventLog, EventLog], run_id: UUID
) -> None:
    here, there = logs
    old = await here.open(run_id, 0)
    await said(old, 1)
    async with pool.connection() as connection:
        await connection.execute("UPDATE runs SET attempt = 1 WHERE id = %s", (run_id,))
    new = await there.open(run_id, 1)
    await asyncio.gather(said(old, 100, 101), said(new, 2, 3))
    await end(pool, run_id)
    await asyncio.gather(old.close(), new.close())
    for reader in logs:
        events = await read(reader, run_id)
        assert [event.seq for event in events] == [1, 2, 3]
        assert [json.loads(event.data)["n"] for event in events] == [1, 2, 3]


async def test_what_may_be_stored_already_is_stored_once(
    pool: Pool, logs: tuple[EventLog, EventLog], run_id: UUID
) -> None:
    """A connection that is lost after the commit and before its answer: the same rows are sent again."""
    log = await logs[0].open(run_id, 0)
    log.put("custom", {"n": 1})
    events = log.take()
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO run_events (run_id, seq, event, data) VALUES (%s, %s, %s, %s)", (run_id, *events[0])
        )
    log.doubt(events)
    await said(log, 2)
    await end(pool, run_id)
    await log.close()
    assert [(event.seq, json.loads(event.data)["n"]) for event in await read(logs[1], run_id)] == [(1, 1), (2, 2)]


async def test_a_run_that_is_deleted_ends_its_streams_and_does_not_hold_up_the_others(
    pool: Pool, logs: tuple[EventLog, EventLog], run_id: UUID
) -> None:
    here, there = logs
    log = await here.open(run_id, 0)
    await said(log, 1)
    far = asyncio.create_task(read(there, run_id))
    while (await read_some(there, run_id, 1))[0].seq != 1:
        pass
    async with pool.connection() as connection:
        await connection.execute("DELETE FROM threads WHERE id = %s", (run_id,))
    assert [event.seq for event in await far] == [1]
    await said(log, 2)
    await log.close()
    assert log.lost


async def test_a_reader_who_does_not_read_holds_up_nobody_and_little_is_kept_for_it(
    pool: Pool, logs: tuple[EventLog, EventLog], run_id: UUID
) -> None:
    here, _ = logs
    log = await here.open(run_id, 0)
    slow = here.follow(run_id)
    log.put("custom", {"n": 0})
    assert (await anext(slow)).seq == 1
    for number in range(2 * KEPT):
        log.put("custom", number)
    await log.flush()
    tail = here._feeds[run_id].after(KEPT + 1)
    assert tail is not None
    assert len(tail) == KEPT
    await end(pool, run_id)
    await log.close()
    assert [event.seq async for event in slow] == list(range(2, 2 * KEPT + 2))


async def test_announcements_are_heard_again_after_the_connection_broke(
    pool: Pool, logs: tuple[EventLog, EventLog], run_id: UUID
) -> None:
    log = await logs[0].open(run_id, 0)
    far = asyncio.create_task(read(logs[1], run_id))
    await said(log, 1)
    async with pool.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ragstone-bell'"
        )
    await said(log, 2)
    await end(pool, run_id)
    await log.close()
    assert [event.seq for event in await far] == [1, 2]


async def test_tokens_that_come_within_a_moment_are_one_event(
    pool: Pool, logs: tuple[EventLog, EventLog], run_id: UUID
) -> None:
    log = await logs[0].open(run_id, 0)
    metadata = {"langgraph_node": "answer"}
    for word in ("one ", "two ", "three"):
        log.put("messages", (AIMessageChunk(content=word, id="m"), metadata))
    log.put("messages", (AIMessageChunk(content="other", id="n"), metadata))
    log.put("messages|child:1", (AIMessageChunk(content="below", id="n"), metadata))
    await end(pool, run_id)
    await log.close()
    events = await read(logs[1], run_id)
    assert [event.event for event in events] == ["messages", "messages", "messages|child:1"]
    pairs = [json.loads(event.data) for event in events]
    assert [(chunk["id"], chunk["content"]) for chunk, _ in pairs] == [
        ("m", "one two three"),
        ("n", "other"),
        ("n", "below"),
    ]
    assert all(meta == metadata and chunk["type"] == "AIMessageChunk" for chunk, meta in pairs)
