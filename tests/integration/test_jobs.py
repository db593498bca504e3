"""Jobs as people see them: dead letters, cancelling, pausing, fair turns, and what a dead worker leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.services import Services
from core.errors import Unavailable
from ingest.turns import align
from ingest.upkeep import measure
from tests.conftest import Tenant
from tests.documents import FERRIES, LIGHTHOUSE, make_pdf, wait_until_done


@pytest.fixture
def hold(services: Services, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """While the block runs, the embedder takes no documents; gives the event that tells that it was asked."""
    embed = services.embedder.embed_documents

    @asynccontextmanager
    async def held() -> AsyncIterator[asyncio.Event]:
        asked, free = asyncio.Event(), asyncio.Event()

        async def waiting(texts: Sequence[str]) -> NDArray[np.float32]:
            asked.set()
            await free.wait()
            return await embed(texts)

        monkeypatch.setattr(services.embedder, "embed_documents", waiting)
        try:
            yield asked
        finally:
            free.set()
            monkeypatch.setattr(services.embedder, "embed_documents", embed)

    return held


async def send(tenant: Tenant, name: str, text: str, **fields: str) -> str:
    response = await tenant.http.post("/documents", files={"files": (name, text.encode())}, data=fields)
    assert response.status_code == 202, response.text
    return str(response.json()["documents"][0]["id"])


async def jobs(tenant: Tenant, **params: str) -> list[dict[str, Any]]:
    response = await tenant.http.get("/jobs", params=params)
    response.raise_for_status()
    found: list[dict[str, Any]] = response.json()["jobs"]
    return found


async def until(condition: Callable[[], Any], timeout_s: float = 40) -> Any:
    """The first answer of ``condition`` that is not false."""
    async with asyncio.timeout(timeout_s):
        while not (answer := await condition()):
            await asyncio.sleep(0.05)
    return answer


async def test_a_failed_document_is_a_dead_letter_that_can_be_retried_and_cleared(tenant: Tenant) -> None:
    document = await tenant.upload("scan.pdf", make_pdf([""]))
    (job,) = await until(lambda: jobs(tenant, status="failed"))
    assert (job["document_id"], job["document_name"], job["kind"]) == (document["id"], "scan.pdf", "ingest")
    assert (job["error"], job["attempts"]) == (document["error"], 1)
    response = await tenant.http.post(f"/jobs/{job['id']}/retry")
    assert response.status_code == 202
    assert response.json()["id"] != job["id"]
    (again,) = await until(lambda: jobs(tenant, status="failed"))
    assert again["id"] == response.json()["id"]
    assert (await tenant.http.delete(f"/jobs/{again['id']}")).status_code == 204
    assert await jobs(tenant) == []
    assert (await tenant.http.get(f"/documents/{document['id']}")).json()["status"] == "failed"
    assert (await tenant.http.delete(f"/jobs/{again['id']}")).status_code == 404


async def test_all_dead_letters_are_retried_at_once_or_those_of_a_filter(tenant: Tenant) -> None:
    for number in range(3):
        await tenant.upload(f"scan-{number}.pdf", make_pdf([""] * (number + 1)))
    await until(lambda: many(tenant, 3))
    none = await tenant.http.post("/jobs/retry", params={"status": "cancelled"})
    assert none.json() == {"retried": 0}
    assert (await tenant.http.post("/jobs/retry", params={"status": "failed"})).json() == {"retried": 3}
    await until(lambda: many(tenant, 3))


async def many(tenant: Tenant, number: int) -> bool:
    return len(await jobs(tenant, status="failed")) == number


async def test_jobs_come_in_pages_newest_first(tenant: Tenant) -> None:
    for number in range(3):
        await tenant.upload(f"scan-{number}.pdf", make_pdf([""] * (number + 1)))
    await until(lambda: many(tenant, 3))
    first = (await tenant.http.get("/jobs", params={"limit": 2})).json()
    second = (await tenant.http.get("/jobs", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    names = [job["document_name"] for job in first["jobs"] + second["jobs"]]
    assert names == ["scan-2.pdf", "scan-1.pdf", "scan-0.pdf"]
    assert second["next_cursor"] is None


async def test_an_erasure_that_fails_for_good_is_a_dead_letter_and_cannot_be_forgotten(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = await tenant.upload("ferries.txt", FERRIES.encode())

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("The index is away.")

    with monkeypatch.context() as patched:
        patched.setattr(services.index, "delete", away)
        patched.setattr("ingest.retry.ATTEMPTS", 1)
        assert (await tenant.http.delete(f"/documents/{document['id']}")).status_code == 204
        (job,) = await until(lambda: jobs(tenant, status="failed"))
    assert (job["kind"], job["error"]) == ("erase", "The index is away.")
    assert (await tenant.http.get(f"/documents/{document['id']}")).status_code == 404
    await asyncio.sleep(4)  # longer than the reconciler's interval: it must not start the erasure again by itself
    assert [one["id"] for one in await jobs(tenant, status="failed")] == [job["id"]]
    assert (await tenant.http.delete(f"/jobs/{job['id']}")).status_code == 409
    assert (await tenant.http.post(f"/jobs/{job['id']}/retry")).status_code == 202
    await until(lambda: gone(services, str(document["id"])))
    assert await jobs(tenant) == []


async def gone(services: Services, document: str) -> bool:
    async with services.pool.connection() as connection:
        cursor = await connection.execute("SELECT FROM documents WHERE id = %s", (document,))
        return cursor.rowcount == 0


async def test_a_running_ingestion_is_cancelled_at_once(tenant: Tenant, hold: Callable[[], Any]) -> None:
    async with hold() as asked:
        document = await send(tenant, "k.md", LIGHTHOUSE)
        await asyncio.wait_for(asked.wait(), 40)
        response = await tenant.http.post(f"/documents/{document}/cancel")
        assert (response.status_code, response.json()["status"]) == (200, "failed")
        assert response.json()["error"].startswith(f"Cancelled by {tenant.principal.name}.")
        (job,) = await until(lambda: jobs(tenant, status="cancelled"))
    assert job["document_id"] == document
    assert (await tenant.http.get(f"/documents/{document}")).json()["status"] == "failed"
    assert (await tenant.http.post(f"/jobs/{job['id']}/retry")).status_code == 202
    assert (await wait_until_done(tenant.http, document))["status"] == "indexed"
    assert (await tenant.http.post(f"/documents/{document}/cancel")).status_code == 409


async def test_a_document_that_is_cancelled_and_retried_at_once_leaves_no_job_behind(
    tenant: Tenant, services: Services, hold: Callable[[], Any]
) -> None:
    async with hold() as asked:
        document = await send(tenant, "k.md", LIGHTHOUSE)
        await asyncio.wait_for(asked.wait(), 40)
        await tenant.http.post(f"/documents/{document}/cancel")
        assert (await tenant.http.post(f"/documents/{document}/retry")).status_code == 202
    assert (await wait_until_done(tenant.http, document))["status"] == "indexed"
    await until(lambda: no_jobs(services, document))


async def no_jobs(services: Services, document: str) -> bool:
    async with services.pool.connection() as connection:
        cursor = await connection.execute("SELECT FROM procrastinate_jobs WHERE args ->> 'document' = %s", (document,))
        return cursor.rowcount == 0


async def test_a_paused_collection_waits_and_the_others_go_on(tenant: Tenant, services: Services) -> None:
    await tenant.http.post("/collections", json={"name": "boats"})
    assert (await tenant.http.post("/collections/boats/pause")).json()["paused_at"] is not None
    waiting = await send(tenant, "ferries.txt", FERRIES, collection="boats")
    cancelled = await send(tenant, "more.txt", FERRIES + "And more.", collection="boats")
    assert (await tenant.upload("k.md", LIGHTHOUSE.encode()))["status"] == "indexed"
    await asyncio.sleep(4)  # longer than the reconciler's interval: it must leave the job where it is
    assert [job["paused"] for job in await jobs(tenant, status="waiting")] == [True, True]
    assert (await measure(services.pool)).paused >= 2
    assert (await tenant.http.post(f"/documents/{cancelled}/cancel")).json()["status"] == "failed"
    assert (await tenant.http.post("/collections/boats/resume")).json()["paused_at"] is None
    assert (await wait_until_done(tenant.http, waiting))["status"] == "indexed"
    assert (await tenant.http.get(f"/documents/{cancelled}")).json()["status"] == "failed"


async def test_a_collection_that_is_paused_while_its_job_starts_lets_it_wait_too(
    tenant: Tenant, services: Services, hold: Callable[[], Any]
) -> None:
    """The job is in the workers' queue, as it is when the pause comes between the upload and the worker."""
    await tenant.http.post("/collections", json={"name": "boats"})
    async with hold() as asked:
        await send(tenant, "k.md", LIGHTHOUSE)
        await send(tenant, "l.md", LIGHTHOUSE + "Two.")
        await asyncio.wait_for(asked.wait(), 40)
        document = await send(tenant, "ferries.txt", FERRIES, collection="boats")
        async with services.pool.connection() as connection:
            await connection.execute(
                "UPDATE collections SET paused_at = now() WHERE name = 'boats' AND tenant_id = %s",
                (tenant.principal.tenant,),
            )
    (job,) = await until(lambda: paused(tenant))
    assert (job["document_id"], job["attempts"]) == (document, 0)
    await tenant.http.post("/collections/boats/resume")
    assert (await wait_until_done(tenant.http, document))["status"] == "indexed"


async def paused(tenant: Tenant) -> list[dict[str, Any]]:
    return [job for job in await jobs(tenant, collection="boats") if job["paused"]]


async def test_many_documents_of_one_tenant_do_not_hold_up_the_one_of_another(
    tenant: Tenant, stranger: Tenant, services: Services, hold: Callable[[], Any]
) -> None:
    async with hold() as asked:
        files = [("files", (f"{number}.txt", f"Note {number} of many.".encode())) for number in range(60)]
        accepted = (await tenant.http.post("/documents", files=files)).json()["documents"]
        await asyncio.wait_for(asked.wait(), 40)
        late = await send(stranger, "late.txt", FERRIES)
    assert (await wait_until_done(stranger.http, late))["status"] == "indexed"
    async with services.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) AS n FROM documents WHERE tenant_id = %s AND status = 'indexed' "
            "AND updated_at <= (SELECT updated_at FROM documents WHERE id = %s)",
            (tenant.principal.tenant, late),
        )
        row: Any = await cursor.fetchone()
    # Two ran when it came, two more may run beside it, and two may have been the next.
    assert row["n"] <= 6
    for document in accepted:
        assert (await wait_until_done(tenant.http, document["id"]))["status"] == "indexed"


async def test_resumed_documents_take_turns_with_those_that_came_meanwhile(
    tenant: Tenant, stranger: Tenant, services: Services
) -> None:
    for one in (tenant, stranger):
        await one.http.post("/collections", json={"name": "boats"})
        await one.http.post("/collections/boats/pause")
    for number in range(6):
        await send(tenant, f"{number}.txt", f"Note {number}.", collection="boats")
    for number in range(3):
        await send(stranger, f"{number}.txt", f"Note {number}.", collection="boats")
    async with services.pool.connection() as connection, connection.transaction(force_rollback=True):
        await connection.execute(
            "UPDATE collections SET paused_at = NULL WHERE tenant_id = ANY(%s)",
            ([tenant.principal.tenant, stranger.principal.tenant],),
        )
        assert await align(connection) == (0, 9)
        cursor = await connection.execute(
            "SELECT d.tenant_id, d.name FROM procrastinate_jobs j JOIN documents d ON d.job_id = j.id "
            "WHERE d.tenant_id = ANY(%s) ORDER BY j.priority DESC, j.id",
            ([tenant.principal.tenant, stranger.principal.tenant],),
        )
        order = [(row["tenant_id"] == stranger.principal.tenant, row["name"]) for row in await cursor.fetchall()]
    assert [name for other, name in order if not other] == [f"{number}.txt" for number in range(6)]
    assert max(place for place, (other, _) in enumerate(order) if other) <= 6
    for one in (tenant, stranger):
        for job in await jobs(one):
            await one.http.post(f"/documents/{job['document_id']}/cancel")


async def test_a_document_that_kills_its_worker_again_and_again_fails_with_a_reason(
    tenant: Tenant, services: Services
) -> None:
    await tenant.http.post("/collections/default/pause")
    document = await send(tenant, "k.md", LIGHTHOUSE)
    async with services.pool.connection() as connection:
        await connection.execute(
            "UPDATE procrastinate_jobs SET status = 'doing', attempts = 5 "
            "WHERE id = (SELECT job_id FROM documents WHERE id = %s)",
            (document,),
        )
    found = await wait_until_done(tenant.http, document)
    assert (found["status"], found["error"][:21]) == ("failed", "The worker died 6 tim")
    (job,) = await jobs(tenant, status="failed")
    assert job["attempts"] == 6


async def test_a_queued_document_is_not_stalled_however_long_it_waits(tenant: Tenant, services: Services) -> None:
    await tenant.http.post("/collections/default/pause")
    document = await send(tenant, "k.md", LIGHTHOUSE)
    async with services.pool.connection() as connection:
        await connection.execute(
            "UPDATE documents SET created_at = now() - interval '9 days', updated_at = now() - interval '9 days' "
            "WHERE id = %s",
            (document,),
        )
    await asyncio.sleep(4)  # longer than the reconciler's interval
    (job,) = await jobs(tenant)
    assert (job["status"], job["attempts"], job["error"]) == ("waiting", 0, None)
    await tenant.http.post("/collections/default/resume")
    assert (await wait_until_done(tenant.http, document))["status"] == "indexed"


async def test_nobody_sees_or_changes_the_jobs_of_another_tenant(
    tenant: Tenant, stranger: Tenant, viewer: Tenant
) -> None:
    document = await tenant.upload("scan.pdf", make_pdf([""]))
    (job,) = await until(lambda: jobs(tenant, status="failed"))
    assert await jobs(stranger) == []
    assert [one["id"] for one in await jobs(viewer)] == [job["id"]]
    for method, path in (
        ("POST", f"/jobs/{job['id']}/retry"),
        ("DELETE", f"/jobs/{job['id']}"),
        ("POST", f"/documents/{document['id']}/cancel"),
    ):
        assert (await stranger.http.request(method, path)).status_code == 404
        assert (await viewer.http.request(method, path)).status_code == 403
    assert (await stranger.http.post("/jobs/retry")).json() == {"retried": 0}
    assert [one["id"] for one in await jobs(tenant)] == [job["id"]]


async def test_the_state_of_the_worker_tells_how_much_waits(tenant: Tenant, services: Services) -> None:
    health = (await tenant.http.get("/health/ready")).json()
    figures = health["parts"]["worker"]["figures"]
    assert figures["workers"] >= 1
    assert set(figures) == {"workers", "waiting", "running", "paused", "failed", "oldest_waiting_s"}


async def test_a_cancelled_document_may_be_deleted_at_once(tenant: Tenant, services: Services) -> None:
    await tenant.http.post("/collections/default/pause")
    document = await send(tenant, "k.md", LIGHTHOUSE)
    await tenant.http.post(f"/documents/{document}/cancel")
    assert (await tenant.http.delete(f"/documents/{document}")).status_code == 204
    await until(lambda: gone(services, document))
    assert await jobs(tenant) == []
