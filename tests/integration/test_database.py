from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from app.services import create_saver, prepare_database
from core.database import MIGRATIONS, Pool, migrate, open_pool
from core.errors import PlatformError, Unavailable
from core.settings import DatabaseSettings


def settings(url: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": url})


@pytest.fixture
async def pool(postgres: str) -> AsyncIterator[Pool]:
    """A pool on a database of its own."""
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as connection:
        await connection.execute("DROP DATABASE IF EXISTS migrated WITH (FORCE)")
        await connection.execute("CREATE DATABASE migrated")
    async with open_pool(settings(postgres.replace("///ragstone", "///migrated"))) as pool:
        yield pool


async def test_migrations_are_applied_once_even_by_many_at_the_same_time(pool: Pool) -> None:
    applied = await asyncio.gather(*[migrate(pool) for _ in range(5)])
    assert sorted(map(len, applied)) == [0, 0, 0, 0, len(list(MIGRATIONS.glob("*.sql")))]
    await asyncio.gather(*[prepare_database(pool) for _ in range(3)])


async def test_a_database_of_a_newer_version_is_refused(pool: Pool, tmp_path: Path) -> None:
    await migrate(pool)
    with pytest.raises(PlatformError, match="newer version"):
        await migrate(pool, tmp_path)


async def test_a_migration_that_fails_leaves_nothing_half_done(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "0001_bad.sql").write_text("CREATE TABLE half (id int); SELECT nothing_of_that_name;")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        await migrate(pool, tmp_path)
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT to_regclass('half') AS found")).fetchone()
    assert row == {"found": None}


async def test_connections_that_the_server_has_closed_are_replaced(pool: Pool) -> None:
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT pg_backend_pid() AS pid")).fetchone()
        assert row is not None
        await connection.execute("SELECT 1")
    # The server ends the connection as it would at a restart.
    os.kill(row["pid"], signal.SIGTERM)
    await asyncio.sleep(0.2)
    for _ in range(5):
        async with pool.connection() as connection:
            assert await (await connection.execute("SELECT 1 AS one")).fetchone() == {"one": 1}


@dataclasses.dataclass
class Foreign:
    """A type that a checkpoint must never bring into being."""

    made: int


async def test_a_checkpoint_brings_only_messages_and_plain_values_into_being(pool: Pool) -> None:
    trusting = JsonPlusSerializer(allowed_msgpack_modules=True)
    serde = create_saver(pool).serde
    assert trusting.loads_typed(trusting.dumps_typed(Foreign(1))) == Foreign(1)
    assert not isinstance(serde.loads_typed(trusting.dumps_typed(Foreign(1))), Foreign)
    state = {"messages": [HumanMessage("x", id="1")], "passages": [{"id": uuid.uuid4()}]}
    assert serde.loads_typed(serde.dumps_typed(state)) == state


async def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.database.OPEN_TIMEOUT_S", 0.5)
    with pytest.raises(Unavailable, match="DATABASE__URL"):
        async with open_pool(settings("postgresql://127.0.0.1:1/nothing")):
            pass
    with pytest.raises(Unavailable, match="make run"):
        async with open_pool(DatabaseSettings()):
            pass
