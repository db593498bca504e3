"""A deleted thread leaves no row in any table, whatever happened on it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from langgraph_sdk.errors import NotFoundError

from app.checkpoints import TABLES
from app.services import Services
from core.database import Pool
from tests.conftest import Tenant
from tests.gated import TABLE, effects

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello " * 1000}], "steps": []}
SLOW: Any = {"tokens": 500, "pause_s": 0.01}


async def tables_with(pool: Pool, texts: Sequence[str]) -> dict[str, int]:
    """How many rows of each table hold one of the texts in any column."""
    found = {}
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT table_schema AS schema, table_name AS name FROM information_schema.tables "
            "WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        for table in await cursor.fetchall():
            query = f'SELECT count(*) AS n FROM "{table["schema"]}"."{table["name"]}" t WHERE t::text LIKE ANY(%s)'
            row = await (await connection.execute(query.encode(), ([f"%{text}%" for text in texts],))).fetchone()
            if row and row["n"]:
                found[table["name"]] = row["n"]
    return found


@pytest.fixture
async def effects_table(services: Services) -> None:
    async with services.pool.connection() as connection:
        await connection.execute(TABLE)


@pytest.mark.usefixtures("effects_table")
async def test_a_deleted_thread_leaves_no_row_in_any_table(tenant: Tenant, services: Services) -> None:
    client = tenant.sdk
    thread = (await client.threads.create(metadata={"title": "gone"}, ttl=100))["thread_id"]
    runs: list[str] = []
    charge = ("charge", {"customer": f"ann-{thread}", "amount": 1})
    asking: Any = {"messages": [{"role": "user", "content": json.dumps([charge])}]}
    done = [("echo", HELLO, None), ("nested", HELLO, None), ("gated", asking, None), ("calls", HELLO, None)]
    for graph, given, context in [*done, ("slow", HELLO, SLOW)]:
        run = await client.runs.create(thread, graph, input=given, context=context)
        runs.append(run["run_id"])
        if graph != "slow":
            await client.runs.join(thread, run["run_id"])
    there = await tables_with(services.pool, [thread, *runs])
    assert set(there) >= {"threads", "runs", "run_events", "tool_calls", *TABLES}
    assert (await client.threads.get(thread))["status"] == "busy"
    await client.threads.delete(thread)
    with pytest.raises(NotFoundError):
        await client.threads.get(thread)
    assert await tables_with(services.pool, [thread, *runs]) == {}


@pytest.mark.usefixtures("effects_table")
async def test_what_waits_for_approval_on_a_copy_is_decided_on_its_own(tenant: Tenant, services: Services) -> None:
    client, customer = tenant.sdk, f"ann-{uuid.uuid4()}"
    thread = (await client.threads.create())["thread_id"]
    charge = ("charge", {"customer": customer, "amount": 1})
    asking: Any = {"messages": [{"role": "user", "content": json.dumps([charge])}]}
    await client.runs.wait(thread, "gated", input=asking)
    copy = (await tenant.http.post(f"/threads/{thread}/copy")).json()["thread_id"]
    for name, decision in ((copy, "reject"), (copy, "reject"), (thread, "approve")):
        # A copy is not bound by what is said of the other's questions: it asks its own first.
        answer: Any = {"resume": {"decisions": [{"type": decision}]}}
        await client.runs.wait(name, "gated", command=answer)
    assert [(await client.threads.get(name))["status"] for name in (copy, thread)] == ["idle", "idle"]
    assert len(await effects(services.pool, customer)) == 1
    third = (await tenant.http.post(f"/threads/{thread}/copy")).json()["thread_id"]
    assert (await tables_with(services.pool, [third]))["tool_calls"] == 1
