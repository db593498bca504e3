"""Services with a database and an index of their own, whose workers a test starts itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psycopg

from app.services import Services, open_services
from core.settings import DatabaseSettings, IngestSettings, Settings
from ingest.tasks import Work, create_job_app
from ingest.worker import run_worker
from ingest.workshop import open_work


@asynccontextmanager
async def open_apart(settings: Settings, postgres: str, folder: Path) -> AsyncIterator[Services]:
    """Services without a worker below ``folder``."""
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as connection:
        await connection.execute("DROP DATABASE IF EXISTS apart WITH (FORCE)")
        await connection.execute("CREATE DATABASE apart")
    database = DatabaseSettings.model_validate({"url": postgres.replace("///ragstone", "///apart")})
    own = {"data_dir": folder, "database": database, "ingest": IngestSettings(worker=False)}
    async with open_services(settings.model_copy(update=own)) as services:
        yield services


@asynccontextmanager
async def run_workers(services: Services, number: int, *, concurrency: int = 1) -> AsyncIterator[Work]:
    """So many workers on the services, each with parts of its own; gives those of the last."""
    async with AsyncExitStack() as stack:
        for _ in range(number):
            work = await stack.enter_async_context(
                open_work(services.settings, services.pool, services.embedders, services.indexes)
            )
            app = create_job_app(work)
            await stack.enter_async_context(app.open_async(services.pool))
            await stack.enter_async_context(run_worker(app, services.pool, IngestSettings(concurrency=concurrency)))
        yield work
