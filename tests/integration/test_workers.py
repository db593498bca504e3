"""An API that only takes documents in, and several workers that share the work."""

from __future__ import annotations

import asyncio
import hashlib
import io
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.health import health
from app.services import Services
from core.domain import Principal
from core.settings import Settings
from ingest import worker
from ingest.document import Upload
from ingest.intake import File
from ingest.rebuilder import Rebuilder
from ingest.retry import UPKEEP
from ingest.sources.deferral import QUEUE as SOURCES
from ingest.sources.sync import Syncer
from ingest.tasks import create_job_app
from ingest.upkeep import measure
from tests.apart import open_apart, run_workers
from tests.conftest import make_principal

DOCUMENTS = 12


@pytest.fixture
async def apart(settings: Settings, postgres: str, tmp_path: Path) -> AsyncIterator[Services]:
    """Services without a worker, on a database and an index of their own."""
    async with open_apart(settings, postgres, tmp_path) as services:
        yield services


def make_file(number: int) -> File:
    content = f"# Ship {number}\n\nShip {number} has {number * 3} sails.\n".encode()
    digest = hashlib.sha256(content).hexdigest()
    upload = Upload(name=f"{number}.md", media_type="text/markdown", size=len(content), sha256=digest, metadata={})
    return File(upload, io.BytesIO(content))


async def test_workers_share_what_an_api_without_one_takes_in_and_do_nothing_twice(
    apart: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = await health(apart)
    assert state.parts["worker"].status == "failed"
    assert "python -m ingest worker" in state.parts["worker"].detail
    assert state.status != "failed", "an API without a worker answers questions all the same"
    principal, _ = await make_principal(apart.pool)
    collection = await apart.collections.get(principal.tenant, "default")
    await apart.intake.take(principal.tenant, collection.id, [make_file(number) for number in range(DOCUMENTS)])
    embedded: list[int] = []
    embed = apart.embedder.embed_documents

    async def counting(texts: Sequence[str]) -> NDArray[np.float32]:
        embedded.append(len(texts))
        return await embed(texts)

    monkeypatch.setattr(apart.embedder, "embed_documents", counting)
    async with run_workers(apart, 2):
        workers = await until_indexed(apart, principal)
        assert (await measure(apart.pool)).workers == 2
        assert (await health(apart)).parts["worker"].status == "ready"
    assert len(workers) == 2
    documents = await apart.documents.select(principal.tenant)
    assert sum(embedded) == sum(document.chunks for document in documents)


async def test_a_look_at_a_source_and_a_change_of_a_collection_use_up_no_attempt_when_the_worker_stops(
    apart: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = asyncio.Semaphore(0)

    async def waiting(*_: object) -> None:
        started.release()
        await asyncio.Event().wait()

    monkeypatch.setattr(Syncer, "run", waiting)
    monkeypatch.setattr(Rebuilder, "run", waiting)
    monkeypatch.setattr(worker, "GRACE_S", 0.1)
    app = create_job_app()
    async with app.open_async(apart.pool):
        await app.configure_task("sync", queue=SOURCES).defer_async(source=str(uuid.uuid4()))
        await app.configure_task("reembed", queue=UPKEEP).defer_async(collection=str(uuid.uuid4()))
    async with run_workers(apart, 1):
        for _ in range(2):
            await asyncio.wait_for(started.acquire(), 20)
    async with apart.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT task_name, status, attempts FROM procrastinate_jobs WHERE task_name IN ('sync', 'reembed') "
            "ORDER BY task_name"
        )
        jobs = [tuple(row.values()) for row in await cursor.fetchall()]
    assert jobs == [("reembed", "todo", 0), ("sync", "todo", 0)]


async def until_indexed(services: Services, principal: Principal) -> set[int]:
    """Wait until all documents are indexed; the workers that were seen at work."""
    seen: set[int] = set()
    async with asyncio.timeout(120):
        while True:
            async with services.pool.connection() as connection:
                cursor = await connection.execute("SELECT worker_id FROM procrastinate_jobs WHERE status = 'doing'")
                seen |= {row["worker_id"] for row in await cursor.fetchall()}
            documents = await services.documents.select(principal.tenant)
            if [document.status for document in documents] == ["indexed"] * DOCUMENTS:
                return seen
            await asyncio.sleep(0.01)
