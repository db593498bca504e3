"""The job engine hears of jobs again when the database was away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
import pytest

from core.database import open_pool
from core.settings import DatabaseSettings
from ingest import connector
from ingest.connector import Connector


async def test_the_listener_outlives_a_database_that_refuses_connections(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "AGAIN_S", 0.01)
    heard: asyncio.Queue[str] = asyncio.Queue()
    refused = 0

    async def hear(*, channel: str, payload: str) -> None:
        await heard.put(f"{channel}: {payload}")

    async with open_pool(DatabaseSettings.model_validate({"url": postgres})) as pool:
        made, borrowed = Connector(), cast("Any", pool)  # its rows are dicts, which nobody reads here
        await made.open_async(borrowed)
        connect: Any = made._get_standalone_connection

        @asynccontextmanager
        async def away_at_first() -> AsyncIterator[psycopg.AsyncConnection[Any]]:
            nonlocal refused
            if refused < 2:
                refused += 1
                raise psycopg.OperationalError("the database system is starting up")
            async with connect() as connection:
                yield connection

        monkeypatch.setattr(made, "_get_standalone_connection", away_at_first)
        listener = asyncio.create_task(made.listen_notify(hear, ["test_connector"]))
        try:
            async with asyncio.timeout(10):
                while heard.empty():
                    async with pool.connection() as connection:
                        await connection.execute("SELECT pg_notify('test_connector', 'a job')")
                    await asyncio.sleep(0.05)
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
    assert (refused, heard.get_nowait()) == (2, "test_connector: a job")
