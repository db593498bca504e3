"""The write path when its parts fail: nothing is lost, nothing is half done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.postgres import run_postgres
from app.services import Services, prepare_database
from core.database import open_pool
from core.domain import DocumentId, Scope
from core.errors import Unavailable
from core.settings import DatabaseSettings, IngestSettings
from ingest.tasks import create_job_app
from ingest.worker import run_worker
from tests.conftest import Tenant
from tests.documents import FERRIES, LIGHTHOUSE, wait_until_done


async def test_a_part_that_fails_for_a_moment_delays_a_document_and_no_more(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 1
    embed = services.embedder.embed_documents

    async def failing(texts: Sequence[str]) -> NDArray[np.float32]:
        nonlocal failures
        if failures:
            failures -= 1
            raise Unavailable("The embedder is away.")
        return await embed(texts)

    monkeypatch.setattr(services.embedder, "embed_documents", failing)
    response = await tenant.http.post("/documents", files={"files": ("k.md", LIGHTHOUSE.encode())})
    document = response.json()["documents"][0]["id"]
    async with asyncio.timeout(20):
        while not (found := (await tenant.http.get(f"/documents/{document}")).json())["error"]:
            await asyncio.sleep(0.02)
    assert found["status"] == "queued"
    assert "tried again" in found["error"]
    assert (await wait_until_done(tenant.http, document))["status"] == "indexed"


async def test_a_document_whose_job_was_lost_gets_another(tenant: Tenant, services: Services) -> None:
    document = await tenant.upload("ferries.txt", FERRIES.encode())
    async with services.pool.connection() as connection:
        await connection.execute(
            "UPDATE documents SET status = 'embedding', job_id = NULL, updated_at = now() - interval '1 minute' "
            "WHERE id = %s",
            (document["id"],),
        )
    assert (await wait_until_done(tenant.http, str(document["id"])))["status"] == "indexed"


async def test_a_document_that_is_deleted_while_it_is_embedded_leaves_nothing(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, going_on = asyncio.Event(), asyncio.Event()
    embed = services.embedder.embed_documents

    async def waiting(texts: Sequence[str]) -> NDArray[np.float32]:
        started.set()
        await going_on.wait()
        return await embed(texts)

    monkeypatch.setattr(services.embedder, "embed_documents", waiting)
    response = await tenant.http.post("/documents", files={"files": ("k.md", LIGHTHOUSE.encode())})
    document = DocumentId(response.json()["documents"][0]["id"])
    await asyncio.wait_for(started.wait(), 20)
    assert (await tenant.http.delete(f"/documents/{document}")).status_code == 204
    going_on.set()
    async with asyncio.timeout(30):
        while await rows(services, document):
            await asyncio.sleep(0.05)
    assert await services.index.count(Scope(tenant=tenant.principal.tenant), document) == 0


async def test_an_interrupted_ingestion_goes_on_where_it_broke(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []
    embed = services.embedder.embed_documents

    async def breaking(texts: Sequence[str]) -> NDArray[np.float32]:
        if len(embedded) == 1:
            embedded.append(0)
            raise RuntimeError("the power is gone")
        embedded.append(len(texts))
        return await embed(texts)

    monkeypatch.setattr(services.embedder, "embed_documents", breaking)
    text = "\n\n".join(f"# Ship {number}\n\nShip {number} has {number * 3} sails." for number in range(50))
    document = await tenant.upload("ships.md", text.encode())
    assert document["status"] == "indexed"
    assert sum(embedded) == document["chunks"]
    count = await services.index.count(Scope(tenant=tenant.principal.tenant), DocumentId(document["id"]))  # type: ignore[arg-type]
    assert count == document["chunks"] == 50


async def test_a_worker_stops_even_when_the_database_has_gone_first(tmp_path: Path) -> None:
    with run_postgres(tmp_path) as url:
        database = DatabaseSettings.model_validate({"url": url, "pool_min": 1})
        stack = AsyncExitStack()
        pool = await stack.enter_async_context(open_pool(database))
        await prepare_database(pool)
        app = create_job_app()
        await stack.enter_async_context(app.open_async(pool))
        await stack.enter_async_context(run_worker(app, pool, IngestSettings()))
        await asyncio.sleep(0.5)
    await asyncio.wait_for(stack.aclose(), 60)


async def rows(services: Services, document: DocumentId) -> int:
    async with services.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM documents WHERE id = %(id)s) "
            "+ (SELECT count(*) FROM chunks WHERE document_id = %(id)s) AS n",
            {"id": document},
        )
        row: Any = await cursor.fetchone()
    return int(row["n"])
