"""Sources: what lies at an address becomes documents, and stays what it is there."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from app.services import Services
from ingest.sources.schedule import defer_due
from tests.conftest import Tenant
from tests.documents import FERRIES, LIGHTHOUSE
from tests.web_server import Call, WebServer, respond, run_web_server

PAGE = "<html><body><h1>{0}</h1><p>{1}</p></body></html>"
LAMP = PAGE.format("Lamp", "The lamp burns 14 litres of oil a night.")


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with run_web_server() as server:
        yield server


@pytest.fixture
def folder(offered: Path) -> Path:
    made = offered / str(uuid.uuid4())
    (made / "deep").mkdir(parents=True)
    (made / "lighthouse.md").write_text(LIGHTHOUSE)
    (made / "deep" / "ferries.txt").write_text(FERRIES)
    return made


async def settled(tenant: Tenant, source: str) -> dict[str, Any]:
    """The source when neither it nor a document of it is in progress."""
    async with asyncio.timeout(60):
        while True:
            response = await tenant.http.get(f"/sources/{source}")
            response.raise_for_status()
            found: dict[str, Any] = response.json()
            if found["status"] in ("idle", "failed") and not found["documents"].keys() - {"indexed", "failed"}:
                return found
            await asyncio.sleep(0.05)


async def add(tenant: Tenant, kind: str, address: str, **wish: Any) -> dict[str, Any]:
    response = await tenant.http.post("/sources", json={"kind": kind, "address": address, **wish})
    assert response.status_code == 202, response.text
    return await settled(tenant, response.json()["id"])


async def sync(tenant: Tenant, source: dict[str, Any]) -> dict[str, Any]:
    assert (await tenant.http.post(f"/sources/{source['id']}/sync")).status_code == 202
    return await settled(tenant, source["id"])


async def names(tenant: Tenant) -> list[str]:
    return sorted(each["name"] for each in (await tenant.http.get("/documents")).json()["documents"])


async def found(tenant: Tenant, query: str) -> list[str]:
    hits = (await tenant.http.post("/search", json={"query": query, "mode": "lexical"})).json()["hits"]
    return [hit["document_name"] for hit in hits]


async def test_a_page_becomes_a_document_and_is_asked_for_again_by_its_tag(tenant: Tenant, web: WebServer) -> None:
    body, tag = LAMP, '"1"'

    def page(call: Call) -> bytes:
        if call.headers.get("if-none-match") == tag:
            return respond(b"", status="304 Not Modified")
        return respond(body.encode(), content_type="text/html", etag=tag)

    web.answers["/lamp"] = page
    source = await add(tenant, "web", web.url("/lamp"), metadata={"team": "law"})
    assert (source["counts"], source["documents"], source["error"]) == ({"added": 1}, {"indexed": 1}, None)
    [document] = (await tenant.http.get("/documents")).json()["documents"]
    assert (document["name"], document["metadata"]) == ("127.0.0.1/lamp.html", {"team": "law"})
    assert await found(tenant, "litres of oil") == ["127.0.0.1/lamp.html"]
    assert (await sync(tenant, source))["counts"] == {"unchanged": 1}
    body, tag = PAGE.format("Lamp", "The lamp is electric since 1987."), '"2"'
    assert (await sync(tenant, source))["counts"] == {"changed": 1}
    assert await found(tenant, "litres of oil") == []
    assert await found(tenant, "electric") == ["127.0.0.1/lamp.html"]


async def test_a_folder_is_mirrored(tenant: Tenant, folder: Path) -> None:
    (folder / ".hidden.txt").write_text("not this")
    (folder / "empty.txt").touch()
    (folder / "picture.svg").write_text("<svg/>")
    source = await add(tenant, "folder", str(folder), mirror=True, exclude=["*.log"])
    assert await names(tenant) == ["deep/ferries.txt", "lighthouse.md"]
    assert (source["counts"], source["documents"]) == ({"added": 2, "skipped": 2, "failed": 1}, {"indexed": 2})
    [failure] = source["failures"]
    assert failure["path"] == "picture.svg"
    assert "cannot be read" in failure["error"]
    (folder / "lighthouse.md").unlink()
    (folder / "deep" / "ferries.txt").write_text("Ferries leave at 10:15 now.")
    (folder / "new.txt").write_text("A new one.")
    source = await sync(tenant, source)
    assert source["counts"] == {"added": 1, "changed": 1, "removed": 1, "skipped": 2, "unchanged": 1}
    assert await names(tenant) == ["deep/ferries.txt", "new.txt"]
    assert await found(tenant, "17:45") == []
    assert await found(tenant, "Kerzenfels") == []


async def test_without_mirror_what_is_gone_stays(tenant: Tenant, folder: Path) -> None:
    source = await add(tenant, "folder", str(folder))
    (folder / "lighthouse.md").unlink()
    assert (await sync(tenant, source))["counts"] == {"unchanged": 1}
    assert await names(tenant) == ["deep/ferries.txt", "lighthouse.md"]


async def test_a_mirror_of_an_empty_folder_removes_nothing(tenant: Tenant, folder: Path) -> None:
    source = await add(tenant, "folder", str(folder), mirror=True)
    for path in (folder / "lighthouse.md", folder / "deep" / "ferries.txt"):
        path.unlink()
    source = await sync(tenant, source)
    assert source["status"] == "failed"
    assert "is empty now, and 2 files came from it. Nothing was removed" in source["error"]
    assert len(await names(tenant)) == 2


async def test_two_items_of_the_same_bytes_share_a_document_until_the_last_is_gone(
    tenant: Tenant, folder: Path
) -> None:
    (folder / "copy.md").write_text(LIGHTHOUSE)
    source = await add(tenant, "folder", str(folder), mirror=True)
    assert source["counts"] == {"added": 2, "unchanged": 1}
    [first] = await found(tenant, "Olsund")
    (folder / "copy.md").unlink()
    await sync(tenant, source)
    assert await found(tenant, "Olsund") == [first]
    (folder / "lighthouse.md").unlink()
    await sync(tenant, source)
    assert await found(tenant, "Olsund") == []


async def test_a_changed_item_is_a_new_version_of_its_document(tenant: Tenant, folder: Path) -> None:
    source = await add(tenant, "folder", str(folder))
    params = {"name": "lighthouse"}
    [before] = (await tenant.http.get("/documents", params=params)).json()["documents"]
    assert before["source_id"] == (folder / "lighthouse.md").as_uri()
    (folder / "lighthouse.md").write_text(LIGHTHOUSE.replace("1821", "1822"))
    await sync(tenant, source)
    [after] = (await tenant.http.get("/documents", params=params)).json()["documents"]
    assert (after["id"], after["sha256"] == before["sha256"]) == (before["id"], False)
    assert await found(tenant, "1821") == []


async def test_a_change_of_one_of_two_equal_items_leaves_the_other_its_document(tenant: Tenant, folder: Path) -> None:
    (folder / "copy.md").write_text(LIGHTHOUSE)
    source = await add(tenant, "folder", str(folder))
    [known] = (await tenant.http.get("/documents", params={"name": ".md"})).json()["documents"]
    changed = folder / known["name"]
    changed.write_text("Now it says something else entirely.")
    assert (await sync(tenant, source))["counts"] == {"changed": 1, "unchanged": 2}
    assert len(await names(tenant)) == 3
    assert len(await found(tenant, "Olsund")) == 1
    assert len(await found(tenant, "entirely")) == 1


async def test_an_item_that_gets_the_bytes_of_another_gives_its_document_up(tenant: Tenant, folder: Path) -> None:
    source = await add(tenant, "folder", str(folder))
    (folder / "lighthouse.md").write_text(FERRIES)
    assert (await sync(tenant, source))["counts"] == {"unchanged": 2}
    assert await names(tenant) == ["deep/ferries.txt"]
    (folder / "lighthouse.md").write_text(LIGHTHOUSE)
    assert (await sync(tenant, source))["counts"] == {"changed": 1, "unchanged": 1}
    assert await names(tenant) == ["deep/ferries.txt", "lighthouse.md"]


async def test_a_host_that_fails_again_and_again_is_left_alone(tenant: Tenant, web: WebServer) -> None:
    entries = "".join(f"<url><loc>{web.url(f'/{n}')}</loc></url>" for n in range(20))
    busy = respond(b"", status="503 Service Unavailable", retry_after="3600")
    web.answers |= {"/sitemap.xml": respond(f"<urlset>{entries}</urlset>".encode())}
    web.answers |= {f"/{n}": busy for n in range(20)}
    body = {"kind": "sitemap", "address": web.url("/sitemap.xml")}
    source = (await tenant.http.post("/sources", json=body)).json()
    async with asyncio.timeout(30):
        while not (seen := (await tenant.http.get(f"/sources/{source['id']}")).json())["error"]:
            await asyncio.sleep(0.05)
    assert seen["status"] == "queued"
    # Fetches that were under way when the fifth failed are counted as well.
    assert re.search(r"has failed \d times in a row and is left alone for a while", seen["error"])
    assert len([call for call in web.calls if call.path != "/sitemap.xml"]) <= 6
    assert (await tenant.http.delete(f"/sources/{source['id']}")).status_code == 204


async def test_a_document_that_was_uploaded_is_not_a_sources_to_remove(tenant: Tenant, folder: Path) -> None:
    await tenant.upload("mine.md", LIGHTHOUSE.encode())
    source = await add(tenant, "folder", str(folder), mirror=True)
    assert source["counts"] == {"added": 1, "unchanged": 1}
    (folder / "lighthouse.md").unlink()
    assert (await sync(tenant, source))["counts"] == {"removed": 1, "unchanged": 1}
    assert await names(tenant) == ["deep/ferries.txt", "mine.md"]


async def test_a_document_that_a_person_deleted_comes_back_when_it_changes(tenant: Tenant, folder: Path) -> None:
    source = await add(tenant, "folder", str(folder))
    listed = (await tenant.http.get("/documents", params={"name": "ferries"})).json()["documents"]
    assert (await tenant.http.delete(f"/documents/{listed[0]['id']}")).status_code == 204
    assert (await sync(tenant, source))["counts"] == {"unchanged": 2}
    assert await names(tenant) == ["lighthouse.md"]
    (folder / "deep" / "ferries.txt").write_text("Ferries leave at 10:15 now.")
    await sync(tenant, source)
    assert await names(tenant) == ["deep/ferries.txt", "lighthouse.md"]


async def test_a_sitemap_brings_its_pages_of_the_same_host(tenant: Tenant, web: WebServer) -> None:
    entries = [web.url("/a"), web.url("/b"), web.url("/b"), web.url("/gone"), "https://elsewhere.example/c"]
    sitemap = "".join(f"<url><loc>{entry}</loc></url>" for entry in entries)
    web.answers |= {
        "/sitemap.xml": respond(f"<urlset>{sitemap}</urlset>".encode()),
        "/a": respond(LAMP.encode(), content_type="text/html", etag='"a"'),
        "/b": respond(PAGE.format("B", FERRIES).encode(), content_type="text/html", etag='"b"'),
    }
    source = await add(tenant, "sitemap", web.url("/sitemap.xml"))
    assert (source["counts"], source["documents"]) == ({"added": 2, "failed": 1}, {"indexed": 2})
    assert [(each["path"], "404" in each["error"]) for each in source["failures"]] == [("gone", True)]
    assert await names(tenant) == ["127.0.0.1/a.html", "127.0.0.1/b.html"]


async def test_a_prefix_of_a_store_is_read(tenant: Tenant) -> None:
    memory: Any = MemoryFileSystem
    place = f"offered/{uuid.uuid4()}"
    memory().pipe(f"/{place}/lighthouse.md", LIGHTHOUSE.encode())
    source = await add(tenant, "prefix", f"memory://{place}")
    assert source["counts"] == {"added": 1}
    assert await found(tenant, "Olsund") == ["lighthouse.md"]


async def test_a_source_that_cannot_be_looked_at_says_why(tenant: Tenant, offered: Path, web: WebServer) -> None:
    source = await add(tenant, "folder", str(offered / "missing"))
    assert (source["status"], source["tried_at"] is not None, source["synced_at"]) == ("failed", True, None)
    assert "There is no folder" in source["error"]
    web.answers["/sitemap.xml"] = respond(b"<html>not a sitemap</body>")
    assert "no sitemap that can be read" in (await add(tenant, "sitemap", web.url("/sitemap.xml")))["error"]
    assert "has nothing at this address (404)" in (await add(tenant, "sitemap", web.url("/gone.xml")))["error"]


@pytest.mark.parametrize(
    ("kind", "address", "status", "words"),
    [
        ("folder", "/etc", 403, "SOURCES__FOLDERS"),
        ("folder", "relative", 422, "whole path"),
        ("folder", "{offered}/../../../../etc", 403, "SOURCES__FOLDERS"),
        ("prefix", "s3://other-bucket/x", 403, "SOURCES__PREFIXES"),
        ("prefix", "memory://offered-too/x", 403, "SOURCES__PREFIXES"),
        ("prefix", "memory://offered/../x", 422, "'..'"),
        ("prefix", "simplecache::memory://offered", 422, "s3://bucket/folder"),
        ("prefix", "s3://KEY:SECRET@bucket/x", 422, "must not hold keys"),
        ("prefix", "file:///etc", 422, "s3://bucket/folder"),
        ("web", "file:///etc/passwd", 422, "https://"),
        ("web", "https://user:word@example.org/", 422, "user name or password"),
        ("smb", "smb://x", 422, "kind"),
    ],
)
async def test_a_place_that_is_not_allowed_is_refused_before_it_is_stored(
    tenant: Tenant, offered: Path, kind: str, address: str, status: int, words: str
) -> None:
    body = {"kind": kind, "address": address.replace("{offered}", str(offered))}
    for path in ("/sources", "/sources/plan"):
        response = await tenant.http.post(path, json=body)
        assert (response.status_code, words in response.text) == (status, True), response.text
    assert (await tenant.http.get("/sources")).json()["sources"] == []


async def test_a_link_does_not_lead_out_of_the_allowed_folders(tenant: Tenant, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the key")
    (folder / "out").symlink_to(tmp_path)
    (folder / "secret.txt").symlink_to(tmp_path / "secret.txt")
    response = await tenant.http.post("/sources", json={"kind": "folder", "address": str(folder / "out")})
    assert response.status_code == 403
    await add(tenant, "folder", str(folder))
    assert await names(tenant) == ["deep/ferries.txt", "lighthouse.md"]


async def test_a_private_address_is_refused_when_it_is_looked_at(tenant: Tenant, web: WebServer) -> None:
    web.answers["/"] = respond(b"inside", content_type="text/plain")
    address = web.url(host="localhost").replace("localhost", "127.0.0.2")
    plan = (await tenant.http.post("/sources/plan", json={"kind": "web", "address": address})).json()
    assert plan["counts"] == {"skip": 1}
    assert "loopback address" in plan["steps"][0]["reason"]
    source = await add(tenant, "web", address)
    assert source["counts"] == {"failed": 1}
    assert "loopback address" in source["failures"][0]["error"]
    assert web.calls == []


async def test_only_administrators_use_the_servers_own_rights(
    tenant: Tenant, colleague: Tenant, viewer: Tenant, folder: Path, web: WebServer
) -> None:
    body = {"kind": "folder", "address": str(folder)}
    assert (await colleague.http.post("/sources", json=body)).status_code == 403
    assert (await colleague.http.post("/sources/plan", json=body)).status_code == 403
    source = await add(tenant, "folder", str(folder))
    assert (await colleague.http.post(f"/sources/{source['id']}/sync")).status_code == 403
    web.answers["/"] = respond(b"words", content_type="text/plain")
    page = await add(colleague, "web", web.url())
    for request in ("/sources", "/sources/plan"):
        refused = await viewer.http.post(request, json={"kind": "web", "address": web.url()})
        assert refused.status_code == 403
    assert (await viewer.http.delete(f"/sources/{page['id']}")).status_code == 403
    assert len((await viewer.http.get("/sources")).json()["sources"]) == 2


async def test_sources_of_other_tenants_are_not_there(tenant: Tenant, stranger: Tenant, folder: Path) -> None:
    source = await add(tenant, "folder", str(folder))
    path = f"/sources/{source['id']}"
    assert (await stranger.http.get("/sources")).json()["sources"] == []
    for answer in (
        await stranger.http.get(path),
        await stranger.http.post(f"{path}/sync"),
        await stranger.http.delete(path, params={"documents": True}),
    ):
        assert answer.status_code == 404
    assert (await stranger.http.get("/documents")).json()["documents"] == []
    assert len(await names(tenant)) == 2


async def test_a_plan_says_what_would_be_done_and_does_nothing(tenant: Tenant, folder: Path) -> None:
    body = {"kind": "folder", "address": str(folder), "exclude": ["deep"]}
    plan = (await tenant.http.post("/sources/plan", json=body)).json()
    assert plan == {
        "counts": {"add": 1, "skip": 1},
        "steps": [
            {"action": "add", "path": "lighthouse.md", "size": len(LIGHTHOUSE), "reason": ""},
            {"action": "skip", "path": "deep/ferries.txt", "size": len(FERRIES), "reason": "excluded"},
        ],
    }
    assert (await tenant.http.get("/sources")).json()["sources"] == []
    assert await names(tenant) == []


async def test_the_same_address_again_changes_the_source(tenant: Tenant, folder: Path) -> None:
    first = await add(tenant, "folder", str(folder), exclude=["deep"])
    second = await add(tenant, "folder", f"{folder}/", interval_s=3600)
    assert (second["id"], second["exclude"], second["interval_s"]) == (first["id"], [], 3600)
    assert (second["counts"], len(await names(tenant))) == ({"added": 1, "unchanged": 1}, 2)


async def test_deleting_a_source_keeps_its_documents_unless_asked(tenant: Tenant, folder: Path) -> None:
    await tenant.upload("mine.md", LIGHTHOUSE.encode())
    source = await add(tenant, "folder", str(folder))
    assert (await tenant.http.delete(f"/sources/{source['id']}")).status_code == 204
    assert await names(tenant) == ["deep/ferries.txt", "mine.md"]
    (folder / "more.txt").write_text("One more of them.")
    source = await add(tenant, "folder", str(folder))
    assert source["counts"] == {"added": 1, "unchanged": 2}
    assert (await tenant.http.delete(f"/sources/{source['id']}", params={"documents": True})).status_code == 204
    assert await names(tenant) == ["deep/ferries.txt", "mine.md"]
    assert (await tenant.http.get(f"/sources/{source['id']}")).status_code == 404


async def test_a_source_is_looked_at_again_when_its_interval_has_passed(
    tenant: Tenant, services: Services, folder: Path
) -> None:
    source = await add(tenant, "folder", str(folder), interval_s=60)
    (folder / "new.txt").write_text("A new one.")
    await defer_due(services.jobs, services.pool)
    assert (await settled(tenant, source["id"]))["tried_at"] == source["tried_at"]
    async with services.pool.connection() as connection:
        await connection.execute(
            "UPDATE sources SET tried_at = tried_at - interval '61 s' WHERE id = %s", (source["id"],)
        )
    await defer_due(services.jobs, services.pool)
    assert (await settled(tenant, source["id"]))["counts"] == {"added": 1, "unchanged": 2}


async def test_a_look_that_was_lost_has_failed_and_can_be_repeated(
    tenant: Tenant, services: Services, folder: Path
) -> None:
    source = await add(tenant, "folder", str(folder))
    async with services.pool.connection() as connection:
        await connection.execute("UPDATE sources SET status = 'syncing', job_id = -1 WHERE id = %s", (source["id"],))
    await defer_due(services.jobs, services.pool)
    lost = await settled(tenant, source["id"])
    assert (lost["status"], "was lost" in lost["error"]) == ("failed", True)
    assert (await sync(tenant, source))["status"] == "idle"
