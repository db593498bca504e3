"""A deleted thread leaves no row in any table, whatever happened on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from langgraph_sdk.errors import NotFoundError

from app.services import Services
from core.database import Pool
from tests.conftest import Tenant

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


async def test_a_deleted_thread_leaves_no_row_in_any_table(tenant: Tenant, services: Services) -> None:
    client = tenant.sdk
    thread = (await client.threads.create(metadata={"title": "gone"}, ttl=100))["thread_id"]
    runs = []
    for graph, context in (("echo", None), ("nested", None), ("calls", None), ("slow", SLOW)):
        run = await client.runs.create(thread, graph, input=HELLO, context=context)
        runs.append(run["run_id"])
        if graph != "slow":
            await client.runs.join(thread, run["run_id"])
    there = await tables_with(services.pool, [thread, *runs])
    assert set(there) >= {"threads", "runs", "run_events", "checkpoints", "checkpoint_blobs", "checkpoint_writes"}
    assert there["checkpoint_parts"] > 0
    assert (await client.threads.get(thread))["status"] == "busy"
    await client.threads.delete(thread)
    with pytest.raises(NotFoundError):
        await client.threads.get(thread)
    assert await tables_with(services.pool, [thread, *runs]) == {}
