"""Two worker processes on one PostgreSQL and one Chroma server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.postgres import run_postgres
from benchmarks.faults import Findings, Site, end, look, make_files, running, settings_of, settled, take_in
from benchmarks.nursery import open_nursery
from core.database import Pool, open_pool
from ingest.schema import prepare_write_path

DOCUMENTS = 16


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("two-workers")
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


async def watch(pool: Pool, seen: set[int]) -> None:
    """Note the workers that have jobs, for ever."""
    while True:
        seen |= {worker for _, worker in await running(pool)}
        await asyncio.sleep(0.02)


@pytest.mark.timeout(400)
async def test_two_workers_on_a_chroma_server_share_the_work_and_do_nothing_twice(
    chroma_server: str, folder: Path
) -> None:
    with run_postgres(folder) as url, open_nursery() as nursery:
        told = {
            "DATABASE__URL": url,
            "DATA_DIR": str(folder),
            "INDEX__ENGINE": "chroma",
            "CHROMA__URL": chroma_server,
            "INGEST__CONCURRENCY": "1",
        }
        site = Site(settings=settings_of(told), env=told)
        async with open_pool(site.settings.database) as pool:
            await prepare_write_path(pool)
            tenant = await take_in(site, pool, make_files(DOCUMENTS))
            seen: set[int] = set()
            watcher = asyncio.create_task(watch(pool, seen))
            workers = [site.start_worker(nursery) for _ in range(2)]
            try:
                await settled(site, pool, workers[0])
            finally:
                watcher.cancel()
                for worker in workers:
                    end(worker)
            found = Findings(documents=DOCUMENTS, kills=0, kills_at_work=0, attempts=0, seconds=0)
            await look(site, pool, tenant, found, None)
            async with pool.connection() as connection:
                cursor = await connection.execute(
                    "SELECT job_id FROM procrastinate_events WHERE type = 'started' GROUP BY job_id HAVING count(*) > 1"
                )
                twice = await cursor.fetchall()
    assert found.faultless, found
    assert len(seen) == 2
    assert twice == []
