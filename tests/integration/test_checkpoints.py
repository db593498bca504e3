"""Checkpoints in PostgreSQL: what a turn adds, what is kept, what a step may hold, and nothing of what is gone."""

from __future__ import annotations

import operator
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from app.checkpoints import LARGE, PART, TABLES, Saver, cut, size_of
from app.retention import GRACE, Retention, checkpoint_id_at, prune
from app.services import prepare_database
from app.thread import Threads, Ttl
from core.database import Pool, open_pool
from core.domain import Principal
from core.errors import Conflict, NotFound, TooLarge
from core.sections import ThreadSettings
from core.settings import DatabaseSettings
from tests.conftest import make_principal
from tests.graphs import calls, echo

KIB = 1024


@pytest.fixture(scope="module")
async def pool(postgres: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings.model_validate({"url": postgres})) as pool:
        await prepare_database(pool)
        yield pool


@pytest.fixture(scope="module")
async def principal(pool: Pool) -> Principal:
    return (await make_principal(pool))[0]


@pytest.fixture
async def thread(pool: Pool, principal: Principal) -> uuid.UUID:
    return await new_thread(pool, principal)


@pytest.fixture
async def saver(pool: Pool) -> Saver:
    return Saver(pool, 1024 * KIB)


async def new_thread(pool: Pool, principal: Principal, ttl: Ttl | None = None) -> uuid.UUID:
    thread = uuid.uuid4()
    await Threads(pool).create(principal, thread, {}, if_exists="raise", ttl=ttl)
    return thread


def config(thread: uuid.UUID) -> Any:
    return {"configurable": {"thread_id": str(thread)}}


def said(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}], "steps": []}


async def rows(pool: Pool, thread: object) -> dict[str, int]:
    """How many rows each table has of the thread."""
    counted = {}
    async with pool.connection() as connection:
        for table in TABLES:
            query = f"SELECT count(*) AS n FROM {table} WHERE thread_id = %s"
            row = await (await connection.execute(query.encode(), (str(thread),))).fetchone()
            counted[table] = row["n"] if row else 0
    return counted


async def test_a_turn_of_a_long_conversation_adds_no_more_than_one_of_a_short_one(
    pool: Pool, saver: Saver, thread: uuid.UUID
) -> None:
    graph = echo(saver)
    sizes = [0]
    for turn in range(40):
        await graph.ainvoke(said(f"{turn} " + "word " * 100), config(thread))
        sizes.append((await size_of(pool, thread))["bytes"])
    early, late = sizes[15] - sizes[5], sizes[40] - sizes[30]
    assert late < early * 1.25
    state = await graph.aget_state(config(thread))
    assert [message.text.split()[0] for message in state.values["messages"][::2]] == [str(n) for n in range(40)]


async def test_long_values_are_read_as_they_were_written_at_every_checkpoint(
    pool: Pool, saver: Saver, thread: uuid.UUID
) -> None:
    texts = [f"{number}" * 3000 for number in range(4)]
    graph = echo(saver)
    for text in texts:
        await graph.ainvoke(said(text), config(thread))
    history = [snapshot async for snapshot in graph.aget_state_history(config(thread))]
    done = [snapshot.values["messages"] for snapshot in history if not snapshot.next][::-1]
    assert [[m.text for m in messages[::2]] for messages in done] == [texts[: n + 1] for n in range(4)]
    assert (await rows(pool, thread))["checkpoint_parts"] > 0


def test_a_longer_value_shares_its_parts_with_the_shorter_one() -> None:
    text = bytes(range(256)) * 1200
    for length in (PART + 1, LARGE - 1, LARGE, LARGE + 16, 3 * LARGE + 5 * PART, len(text)):
        parts = cut(text[:length])
        assert b"".join(parts) == text[:length]
        assert all(parts)
        assert len(parts) <= 2 + length // LARGE + LARGE // PART
        longer = cut(text[:length] + b"more")
        assert sum(len(part) for part in longer if part not in parts) <= PART + 4 or length % LARGE > LARGE - 32


async def test_a_step_that_holds_too_much_fails_and_says_what_to_do(pool: Pool, thread: uuid.UUID) -> None:
    graph = echo(Saver(pool, 64 * KIB))
    await graph.ainvoke(said("short"), config(thread))
    with pytest.raises(TooLarge, match=r"70,\d+ bytes.*THREADS__CHECKPOINT_MAX_KB") as failure:
        await graph.ainvoke(said("secret " * 10_000), config(thread))
    assert "secret" not in str(failure.value)
    state = await graph.aget_state(config(thread))
    assert [message.text for message in state.values["messages"]] == ["short", "echo: short"]


async def test_the_newest_checkpoints_are_kept_and_nothing_that_only_others_used(
    pool: Pool, saver: Saver, thread: uuid.UUID
) -> None:
    graph = echo(saver)
    for number in range(12):
        await graph.ainvoke(said(f"{number} " + "word " * 200), config(thread))
    history = [snapshot async for snapshot in graph.aget_state_history(config(thread))]
    gone = await prune(pool, thread, keep=5)
    kept = [snapshot async for snapshot in graph.aget_state_history(config(thread))]
    assert (len(kept), gone) == (5, len(history) - 5)
    assert [(s.values, s.next) for s in kept] == [(s.values, s.next) for s in history[:5]]
    assert kept[-1].parent_config is None
    assert await prune(pool, thread, keep=1) == 4
    left = await rows(pool, thread)
    assert left["checkpoints"] == 1
    state = await graph.aget_state(config(thread))
    assert (state.values, state.next) == (history[0].values, ())
    stored = saver.serde.dumps_typed(history[0].values["messages"])[1]
    assert left["checkpoint_parts"] == len(cut(stored)) > 5
    await graph.ainvoke(said("more"), config(thread))
    assert (await graph.aget_state(config(thread))).values["messages"][-1].text == "echo: more"


async def test_what_waits_in_a_subgraph_is_answered_after_pruning(pool: Pool, saver: Saver, thread: uuid.UUID) -> None:
    graph = calls(saver)
    await graph.ainvoke(said("one"), config(thread))
    await prune(pool, thread, keep=1)
    answer: Any = Command(resume="because")
    result = await graph.ainvoke(answer, config(thread))
    assert (result["messages"][-1].text, result["steps"]) == ("told: because", ["ask", "note"])
    await prune(pool, thread, keep=1)
    assert (await rows(pool, thread))["checkpoints"] == 1


class Changes(TypedDict):
    """A list that is stored as changes, whole at every fourth."""

    items: Annotated[
        list[str], DeltaChannel(lambda base, new: [*base, *(i for n in new for i in n)], snapshot_frequency=4)
    ]
    count: Annotated[int, operator.add]


async def test_values_stored_as_changes_survive_pruning_at_every_length(
    pool: Pool, principal: Principal, saver: Saver
) -> None:
    async def add(state: Changes) -> Any:
        return {"items": [f"n{state['count']}"], "count": 1}

    graph = StateGraph(Changes).add_node("add", add).add_edge(START, "add").compile(checkpointer=saver)
    thread, expected = await new_thread(pool, principal), []
    for turn in range(10):
        expected += [f"t{turn}", f"n{turn}"]
        await graph.ainvoke({"items": [f"t{turn}"], "count": 0}, config(thread))
        await prune(pool, thread, keep=1)
        assert (await graph.aget_state(config(thread))).values == {"items": expected, "count": turn + 1}
    assert (await rows(pool, thread))["checkpoints"] < 20


async def test_a_thread_with_an_active_run_is_not_pruned(pool: Pool, thread: uuid.UUID) -> None:
    async with pool.connection() as connection:
        await connection.execute("UPDATE threads SET status = 'busy' WHERE id = %s", (thread,))
    with pytest.raises(Conflict):
        await prune(pool, thread, keep=1)


async def touch(pool: Pool, thread: uuid.UUID, *, minutes: int) -> None:
    """Let the thread have changed so many minutes ago."""
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE threads SET updated_at = now() - make_interval(mins => %s), "
            "state_updated_at = now() - make_interval(mins => %s) WHERE id = %s",
            (minutes, minutes, thread),
        )


async def test_expired_threads_are_deleted_or_made_small_and_others_left_alone(
    pool: Pool, principal: Principal, saver: Saver
) -> None:
    ways = (Ttl(minutes=10), Ttl(minutes=10, strategy="keep_latest"), Ttl(minutes=60), None)
    threads = [await new_thread(pool, principal, ttl) for ttl in ways]
    for thread in threads:
        await echo(saver).ainvoke(said("x"), config(thread))
        await touch(pool, thread, minutes=30)
    retention = Retention(pool, ThreadSettings(keep_checkpoints=None))
    await retention.sweep()
    counts = [(await rows(pool, thread))["checkpoints"] for thread in threads]
    assert counts == [0, 1, 3, 3]
    assert sum((await rows(pool, threads[0])).values()) == 0
    with pytest.raises(NotFound):
        await Threads(pool).get(principal, threads[0])
    assert (await retention.sweep())["threads"] == 0


async def test_the_sweep_keeps_what_the_settings_say(pool: Pool, principal: Principal, saver: Saver) -> None:
    thread = await new_thread(pool, principal)
    for _ in range(4):
        await echo(saver).ainvoke(said("x"), config(thread))
    await Retention(pool, ThreadSettings(keep_checkpoints=7)).sweep()
    assert (await rows(pool, thread))["checkpoints"] == 7
    await touch(pool, thread, minutes=3 * 24 * 60)
    aged = Retention(pool, ThreadSettings(keep_checkpoints=None, keep_checkpoint_days=1))
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE threads SET pruned_at = state_updated_at + interval '1 minute' WHERE id = %s", (thread,)
        )
        await connection.execute(
            "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{ts}', '\"2020-01-01T00:00:00+00:00\"') "
            "WHERE thread_id = %s",
            (str(thread),),
        )
    await aged.sweep()
    assert (await rows(pool, thread))["checkpoints"] == 1


async def test_what_was_written_after_a_threads_deletion_is_removed_when_it_is_old(
    pool: Pool, principal: Principal, saver: Saver
) -> None:
    young, old = await new_thread(pool, principal), await new_thread(pool, principal)
    for thread in (young, old):
        await Threads(pool).delete(principal, thread)
        await echo(saver).ainvoke(said("word " * 1000), config(thread))
    ancient = checkpoint_id_at(datetime.now(UTC) - 2 * GRACE)
    async with pool.connection() as connection:
        for table in ("checkpoints", "checkpoint_writes"):
            query = f"UPDATE {table} SET checkpoint_id = %s || substr(checkpoint_id, 19) WHERE thread_id = %s"
            await connection.execute(query.encode(), (ancient, str(old)))
    await Retention(pool, ThreadSettings()).remove_orphans()
    assert sum((await rows(pool, old)).values()) == 0
    assert (await rows(pool, young))["checkpoints"] == 3
    await saver.adelete_thread(str(young))
