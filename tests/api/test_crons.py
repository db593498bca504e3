"""Runs that begin again and again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.services import Services
from tests.conftest import Tenant

HELLO: Any = {"messages": [{"role": "user", "content": "hello"}]}


async def made(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    """A cron on a thread of its own making."""
    thread = (await tenant.sdk.threads.create())["thread_id"]
    given = {"schedule": "* * * * *", "input": HELLO, **fields}
    return dict(await tenant.sdk.crons.create_for_thread(thread, "echo", **given))


async def set_due(
    services: Services, cron: dict[str, Any], ago: timedelta = timedelta(seconds=5), **fields: str
) -> None:
    """Let a cron have been due some time ago."""
    async with services.pool.connection() as connection:
        await connection.execute(
            "UPDATE crons SET next_run_at = now() - %s, schedule = coalesce(%s, schedule) WHERE id = %s",
            (ago, fields.get("schedule"), cron["cron_id"]),
        )


async def runs_of(services: Services, cron: dict[str, Any]) -> list[dict[str, Any]]:
    async with services.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT id, thread_id, status, metadata, alone FROM runs WHERE metadata ->> 'cron_id' = %s",
            (cron["cron_id"],),
        )
        return await cursor.fetchall()


async def now_of(tenant: Tenant, cron: dict[str, Any]) -> dict[str, Any]:
    """The cron as it is stored, and how it went the last time."""
    found = await tenant.http.post("/runs/crons/search", json={"limit": 1000})
    return next(each for each in found.json() if each["cron_id"] == cron["cron_id"])


async def test_a_tick_begins_a_run_on_the_crons_thread(tenant: Tenant, services: Services) -> None:
    cron = await made(tenant, metadata={"name": "morning"})
    assert datetime.fromisoformat(cron["next_run_date"]) > datetime.now(UTC)
    await set_due(services, cron)
    await services.ticker.tick()
    (run,) = await tenant.sdk.runs.list(cron["thread_id"])
    values: Any = await tenant.sdk.runs.join(cron["thread_id"], run["run_id"])
    assert values["messages"][-1]["content"] == "echo: hello"
    marks: Any = run["metadata"]
    assert (marks["name"], marks["cron_id"]) == ("morning", cron["cron_id"])
    stored = await now_of(tenant, cron)
    assert datetime.fromisoformat(stored["next_run_date"]) > datetime.now(UTC)
    assert (stored["last_error"], stored["last_run_at"] is None) == (None, False)


async def test_of_many_processes_one_begins_each_tick(tenant: Tenant, services: Services) -> None:
    crons = [await made(tenant) for _ in range(3)]
    for cron in crons:
        await set_due(services, cron)
    await asyncio.gather(*(services.ticker.tick() for _ in range(8)))
    assert [len(await runs_of(services, cron)) for cron in crons] == [1, 1, 1]


async def test_ticks_that_were_missed_are_made_up_for_once_and_not_at_all_when_it_is_late(
    tenant: Tenant, services: Services
) -> None:
    often, rare = await made(tenant), await made(tenant)
    await set_due(services, often, timedelta(hours=5))
    hour = (datetime.now(UTC) - timedelta(hours=5)).hour
    await set_due(services, rare, timedelta(hours=5), schedule=f"0 {hour} * * *")
    await services.ticker.tick()
    assert (len(await runs_of(services, often)), len(await runs_of(services, rare))) == (1, 0)
    stored = await now_of(tenant, rare)
    assert "longer than an hour" in stored["last_error"]
    assert datetime.fromisoformat(stored["next_run_date"]) > datetime.now(UTC)


async def test_a_disabled_or_ended_cron_begins_nothing(tenant: Tenant, services: Services) -> None:
    disabled = await made(tenant, enabled=False)
    ended = await made(tenant, end_time=datetime.now(UTC) - timedelta(days=1))
    assert (disabled["next_run_date"], ended["next_run_date"]) == (None, None)
    ending = await made(tenant)
    await set_due(services, ending)
    await set_due(services, disabled)
    async with services.pool.connection() as connection:
        await connection.execute("UPDATE crons SET end_time = now() WHERE id = %s", (ending["cron_id"],))
    await services.ticker.tick()
    assert [len(await runs_of(services, cron)) for cron in (disabled, ended, ending)] == [0, 0, 1]
    assert (await now_of(tenant, ending))["next_run_date"] is None
    enabled = await tenant.sdk.crons.update(disabled["cron_id"], enabled=True)
    assert datetime.fromisoformat(str(enabled["next_run_date"])) > datetime.now(UTC)


@pytest.mark.parametrize(("behaviour", "goes"), [("keep", False), (None, True)])
async def test_without_a_thread_each_run_has_its_own_that_is_kept_or_goes_with_it(
    tenant: Tenant, services: Services, behaviour: Any, goes: bool
) -> None:
    cron: Any = await tenant.sdk.crons.create("echo", schedule="0 0 1 1 *", input=HELLO, on_run_completed=behaviour)
    assert (cron["thread_id"], cron["on_run_completed"]) == (None, behaviour or "delete")
    await set_due(services, cron, schedule="* * * * *")
    await services.ticker.tick()
    (run,) = await runs_of(services, cron)
    assert run["alone"] is goes


async def test_what_cannot_begin_says_why_and_holds_up_nobody(tenant: Tenant, services: Services) -> None:
    unknown, unread, good = [await made(tenant) for _ in range(3)]
    busy = await made(tenant, multitask_strategy="reject")
    async with services.pool.connection() as connection:
        await connection.execute(
            'UPDATE crons SET payload = payload || \'{"assistant_id": "gone"}\' WHERE id = %s', (unknown["cron_id"],)
        )
        await connection.execute("UPDATE crons SET timezone = 'Atlantis' WHERE id = %s", (unread["cron_id"],))
    pace: Any = {"tokens": 500, "pause_s": 0.01}
    run = await tenant.sdk.runs.create(busy["thread_id"], "slow", input=HELLO, context=pace)
    for cron in (unknown, unread, busy, good):
        await set_due(services, cron)
    await services.ticker.tick()
    assert [len(await runs_of(services, cron)) for cron in (unknown, unread, busy, good)] == [0, 0, 0, 1]
    assert "'gone'" in (await now_of(tenant, unknown))["last_error"]
    assert (await now_of(tenant, unread))["enabled"] is False
    assert (await now_of(tenant, busy))["last_error"]
    await tenant.sdk.runs.cancel(busy["thread_id"], run["run_id"], wait=True)


async def test_the_job_engine_lets_it_tick(tenant: Tenant, services: Services) -> None:
    periodic = {name for name, _ in services.run_jobs.app.periodic_registry.periodic_tasks}
    assert periodic >= {"crons_tick", "store_sweep", "store_renew", "answers_sweep"}
    cron = await made(tenant)
    await set_due(services, cron)
    await services.run_jobs.app.configure_task("crons_tick", queue="runs").defer_async(timestamp=0)
    async with asyncio.timeout(20):
        while not await runs_of(services, cron):
            await asyncio.sleep(0.05)


async def test_a_change_keeps_what_it_does_not_name(tenant: Tenant) -> None:
    end = datetime(2099, 1, 1, tzinfo=UTC)
    cron = await made(tenant, end_time=end, timezone="Europe/Berlin", metadata={"a": 1}, interrupt_before=["answer"])
    changed: Any = await tenant.sdk.crons.update(cron["cron_id"], schedule="0 9 * * *", input={"messages": "again"})
    assert changed["payload"] | {"input": {"messages": "again"}, "interrupt_before": ["answer"]} == changed["payload"]
    assert (changed["timezone"], changed["metadata"]) == ("Europe/Berlin", {"a": 1})
    assert datetime.fromisoformat(changed["end_time"]) == end
    assert changed["schedule"] == "0 9 * * *"
    cleared: Any = await tenant.sdk.crons.update(cron["cron_id"], end_time=None)
    assert (cleared["end_time"], cleared["schedule"]) == (None, "0 9 * * *")


async def test_crons_are_found_counted_and_deleted_by_their_own_principal(
    tenant: Tenant, colleague: Tenant, stranger: Tenant
) -> None:
    first = await made(tenant, metadata={"team": "a"})
    second = await made(tenant, metadata={"team": "b"}, enabled=False)
    search = tenant.sdk.crons.search
    assert [each["cron_id"] for each in await search()] == [second["cron_id"], first["cron_id"]]
    assert [each["cron_id"] for each in await search(metadata={"team": "a"})] == [first["cron_id"]]
    assert [each["cron_id"] for each in await search(enabled=False)] == [second["cron_id"]]
    assert [each["cron_id"] for each in await search(thread_id=first["thread_id"])] == [first["cron_id"]]
    assert [each["cron_id"] for each in await search(sort_by="created_at", sort_order="asc", limit=1)] == [
        first["cron_id"]
    ]
    chosen: Any = await search(select=["schedule"], limit=1)
    assert chosen == [{"schedule": "* * * * *"}]
    assert await tenant.sdk.crons.count(assistant_id="echo") == 2
    for other in (colleague, stranger):
        assert await other.sdk.crons.search() == []
        assert (await other.http.delete(f"/runs/crons/{first['cron_id']}")).status_code == 404
        assert (await other.http.patch(f"/runs/crons/{first['cron_id']}", json={"enabled": False})).status_code == 404
        theirs = {"assistant_id": "echo", "schedule": "* * * * *", "input": HELLO}
        answer = await other.http.post(f"/threads/{first['thread_id']}/runs/crons", json=theirs)
        assert answer.status_code == 404
    await tenant.sdk.crons.delete(first["cron_id"])
    await tenant.sdk.threads.delete(second["thread_id"])
    assert await tenant.sdk.crons.count() == 0


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"schedule": "every day"}, 422, "five fields"),
        ({"timezone": "Mars/Base"}, 422, "time zone"),
        ({"end_time": "2099-01-01T00:00:00"}, 422, "end_time"),
        ({"assistant_id": "nobody"}, 404, "nobody"),
        ({"assistant_id": "rag", "input": {"messages": []}}, 422, "messages"),
        ({"interrupt_before": ["nowhere"]}, 422, "nowhere"),
        ({"on_run_completed": "burn"}, 422, "on_run_completed"),
    ],
)
async def test_a_cron_whose_runs_would_be_refused_is_refused(
    tenant: Tenant, said: dict[str, Any], status: int, words: str
) -> None:
    body = {"assistant_id": "echo", "schedule": "0 9 * * *", "input": HELLO, **said}
    answer = await tenant.http.post("/runs/crons", json=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert await tenant.sdk.crons.count() == 0
