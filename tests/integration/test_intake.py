"""Uploads: what was acknowledged is kept, what was not leaves nothing, and the rest is swept."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from app.services import Services
from core.errors import Unavailable
from ingest.sweep import sweep_blobs
from tests.conftest import Tenant
from tests.documents import FERRIES, LIGHTHOUSE, make_pdf, wait_until_done


def stored(services: Services, tenant: Tenant) -> set[str]:
    """The names of the tenant's files in the store."""
    folder = services.settings.data_dir / "blobs" / str(tenant.principal.tenant)
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def files(*texts: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"{number}.txt", text.encode())) for number, text in enumerate(texts)]


async def test_when_one_file_cannot_be_stored_none_is_taken(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, calls = services.blobs.put, 0

    async def filling_up(key: str, source: BinaryIO) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Unavailable("The file could not be stored (No space left on device).")
        await put(key, source)

    with monkeypatch.context() as patched:
        patched.setattr(services.blobs, "put", filling_up)
        response = await tenant.http.post("/documents", files=files("One.", "Two.", "Three.", "Four."))
    assert response.status_code == 503
    assert "No space left" in response.json()["detail"]
    assert (await tenant.http.get("/documents")).json()["documents"] == []
    assert stored(services, tenant) == set()
    again = await tenant.http.post("/documents", files=files("One.", "Two.", "Three.", "Four."))
    assert [document["unchanged"] for document in again.json()["documents"]] == [False] * 4


async def test_no_transaction_is_open_while_bytes_are_written(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = services.blobs.put

    async def watching(key: str, source: BinaryIO) -> None:
        async with services.pool.connection() as connection, asyncio.timeout(20):
            while True:  # a worker's transaction ends by itself; one that waits for these bytes would not
                cursor = await connection.execute(
                    "SELECT count(*) AS n FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%' "
                    "AND datname = current_database() AND pid <> pg_backend_pid()"
                )
                row: Any = await cursor.fetchone()
                if row["n"] == 0:
                    break
                await asyncio.sleep(0.01)
        await put(key, source)

    monkeypatch.setattr(services.blobs, "put", watching)
    assert (await tenant.http.post("/documents", files=files(FERRIES))).status_code == 202


async def test_bytes_stay_when_the_end_of_the_transaction_is_not_known(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise Unavailable("The connection broke.")

    with monkeypatch.context() as patched:
        # What comes right behind the COMMIT.
        patched.setattr(services.documents, "get", broken)
        assert (await tenant.http.post("/documents", files=files(FERRIES))).status_code == 503
    (document,) = (await tenant.http.get("/documents")).json()["documents"]
    assert stored(services, tenant) == {document["id"]}
    assert (await wait_until_done(tenant.http, document["id"]))["status"] == "indexed"
    (again,) = (await tenant.http.post("/documents", files=files(FERRIES))).json()["documents"]
    assert (again["id"], again["unchanged"]) == (document["id"], True)


async def test_ten_uploads_of_the_same_files_at_once_leave_each_file_once(tenant: Tenant, services: Services) -> None:
    texts = [f"Note {number} of a race." for number in range(5)]

    async def upload(order: int) -> int:
        chosen = texts if order % 2 else texts[::-1]
        return (await tenant.http.post("/documents", files=files(*chosen))).status_code

    codes = await asyncio.gather(*[upload(order) for order in range(10)])
    assert set(codes) <= {200, 202}
    documents = (await tenant.http.get("/documents")).json()["documents"]
    assert len(documents) == 5
    assert stored(services, tenant) == {document["id"] for document in documents}


async def test_the_same_file_twice_in_a_request_is_one_document(tenant: Tenant, services: Services) -> None:
    documents = (await tenant.http.post("/documents", files=files(FERRIES, FERRIES))).json()["documents"]
    assert [document["unchanged"] for document in documents] == [False, True]
    assert stored(services, tenant) == {documents[0]["id"]}


async def test_the_lost_original_of_a_failed_document_comes_back_with_its_upload(
    tenant: Tenant, services: Services
) -> None:
    failed = await tenant.upload("scan.pdf", make_pdf([""]))
    path = services.settings.data_dir / "blobs" / str(tenant.principal.tenant) / str(failed["id"])
    path.unlink()
    again = await tenant.upload("scan.pdf", make_pdf([""]))
    assert again["id"] == failed["id"]
    assert (await tenant.http.get(f"/documents/{failed['id']}/content")).content == make_pdf([""])


async def test_old_bytes_without_a_row_are_swept_and_nothing_else(tenant: Tenant, services: Services) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    folder = services.settings.data_dir / "blobs" / str(tenant.principal.tenant)
    foreign = folder.with_name(str(uuid.uuid4()))
    foreign.mkdir()
    lost, half, fresh, unknown = (
        folder / str(uuid.uuid4()),
        folder / f"{uuid.uuid4()}.part",
        folder / str(uuid.uuid4()),
        foreign / str(uuid.uuid4()),
    )
    for path in (lost, half, fresh, unknown):
        path.write_bytes(b"bytes")
    for path in (lost, half, unknown, folder / str(document["id"])):
        age(path, 2 * 3600)
    swept = await sweep_blobs(services.pool, services.blobs)
    assert {key.rpartition("/")[2] for key in swept if key.startswith(str(tenant.principal.tenant))} == {
        lost.name,
        half.name,
    }
    assert stored(services, tenant) == {str(document["id"]), fresh.name}
    assert unknown.exists()


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


async def test_a_file_and_its_name_are_on_the_disk_before_the_row_is_written(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def recording(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    (document,) = (await tenant.http.post("/documents", files=files(FERRIES))).json()["documents"]
    folder = services.settings.data_dir / "blobs" / str(tenant.principal.tenant)
    assert f"{folder / document['id']}.part" in synced
    place = synced.index(f"{folder / document['id']}.part")
    assert {str(folder), str(folder.parent)} <= {*synced[place:]}
