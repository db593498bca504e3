"""New versions, changes of the embedder, and what reconciliation finds, on real PostgreSQL and Qdrant Edge."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from app.services import Services
from core.domain import CollectionId, DocumentId, Scope
from core.index import IndexQuery, Point, SparseVector
from ingest.rebuild import Wanted, ask_for_rebuild, count_death
from ingest.reconcile import Reconciler
from ingest.retry import ATTEMPTS
from ingest.workshop import open_work
from models.lexical import LEXICAL, LexicalEncoder
from tests.conftest import Tenant
from tests.documents import LIGHTHOUSE, make_pdf, wait_until_done
from tests.small_model import make_small_model

KEEPER = "# Keeper\n\nThe keeper of Kerzenfels is called Jonas Ravn and mends nets.\n"


async def found(tenant: Tenant, query: str) -> list[str]:
    response = await tenant.http.post("/search", json={"query": query})
    assert response.status_code == 200, response.text
    return [hit["chunk"]["text"] for hit in response.json()["hits"]]


def counted(services: Services, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    embedded: list[int] = []
    embed = services.embedder.embed_documents

    async def counting(texts: list[str]) -> object:
        embedded.append(len(texts))
        return await embed(texts)

    monkeypatch.setattr(services.embedder, "embed_documents", counting)
    return embedded


async def test_a_new_version_embeds_only_what_changed_and_takes_the_place_of_the_old_one(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await tenant.upload("k.md", LIGHTHOUSE.encode(), source_id="file:k")
    embedded = counted(services, monkeypatch)
    second = await tenant.upload("k.md", (LIGHTHOUSE + "\n" + KEEPER).encode(), source_id="file:k")
    assert (second["id"], second["version"], second["live_version"]) == (first["id"], 2, 2)
    assert sum(embedded) == 1
    assert any("Jonas Ravn" in text for text in await found(tenant, "Who mends nets?"))
    third = await tenant.upload("k.md", KEEPER.encode(), source_id="file:k")
    assert (third["version"], sum(embedded)) == (3, 1)
    assert not any("1821" in text for text in await found(tenant, "When was the lighthouse built?"))
    scope = Scope(tenant=tenant.principal.tenant)
    async with asyncio.timeout(20):
        while await services.index.count(scope, DocumentId(first["id"])) != 1:  # type: ignore[arg-type]
            await asyncio.sleep(0.05)


async def test_a_version_that_cannot_be_read_leaves_the_old_one_searchable(tenant: Tenant) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode(), source_id="file:k")
    broken = await tenant.upload("k.pdf", make_pdf([""]), source_id="file:k")
    assert (broken["status"], broken["version"], broken["live_version"]) == ("failed", 2, 1)
    assert "version 1" in str(broken["error"])
    assert any("1821" in text for text in await found(tenant, "When was the lighthouse built?"))


async def test_what_is_said_of_a_version_holds_for_hits_and_filters_only_when_search_finds_its_text(
    tenant: Tenant,
) -> None:
    old, new = {"year": 1821, "on": "2024-05-31"}, {"year": 1900, "on": "2025-01-01"}
    first = await tenant.upload("old.md", LIGHTHOUSE.encode(), source_id="file:k", metadata=json.dumps(old))
    await tenant.upload("broken.pdf", make_pdf([""]), source_id="file:k", metadata=json.dumps(new))
    assert await named(tenant, {}) == await named(tenant, old) == {"old.md"}
    assert await named(tenant, {"name": "broken.pdf"}) == await named(tenant, {"year": 1900}) == set()
    await tenant.http.post("/collections/default/pause")
    body = {"source_id": "file:k", "metadata": json.dumps(new)}
    await tenant.http.post("/documents", files={"files": ("new.md", KEEPER.encode())}, data=body)
    document = (await tenant.http.get(f"/documents/{first['id']}")).json()
    assert (document["name"], document["metadata"], document["version"]) == ("new.md", new, 3)
    assert (document["live_name"], document["live_metadata"], document["live_version"]) == ("old.md", old, 1)
    dated = {"on": {"$lt": "2024-12-31"}, "media_type": "text/markdown", "size": len(LIGHTHOUSE)}
    assert await named(tenant, {}) == await named(tenant, old) == await named(tenant, dated) == {"old.md"}
    assert await named(tenant, new) == await named(tenant, {"name": "new.md"}) == set()
    content = await tenant.http.get(f"/documents/{first['id']}/content")
    assert content.headers["content-disposition"].endswith("old.md")
    await tenant.http.post("/collections/default/resume")
    await wait_until_done(tenant.http, str(first["id"]))
    assert await named(tenant, {}) == await named(tenant, new) == {"new.md"}
    assert await named(tenant, old) == set()


async def named(tenant: Tenant, wanted: dict[str, Any]) -> set[str]:
    """The names that the hits of a filter bear."""
    response = await tenant.http.post("/search", json={"query": "Kerzenfels", "filter": wanted})
    assert response.status_code == 200, response.text
    return {hit["document_name"] for hit in response.json()["hits"]}


async def test_a_collection_changes_its_chunker_while_search_goes_on(tenant: Tenant, services: Services) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    body = {"chunker": {"strategy": "structure", "tokens": 40}}
    assert (await tenant.http.post("/collections/default/reembed", json=body)).status_code == 202
    async with asyncio.timeout(90):
        while (collection := (await tenant.http.get("/collections/default")).json())["rebuild"]["status"] != "done":
            assert any("1821" in text for text in await found(tenant, "When was the lighthouse built?"))
            assert collection["rebuild"]["status"] != "failed", collection
            await asyncio.sleep(0.05)
    assert collection["chunker"]["tokens"] == 40
    after = (await tenant.http.get(f"/documents/{document['id']}")).json()
    scope = Scope(tenant=tenant.principal.tenant)
    assert await services.index.count(scope, DocumentId(uuid.UUID(after["id"]))) == after["chunks"]
    assert any("1821" in text for text in await found(tenant, "When was the lighthouse built?"))


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    return make_small_model(tmp_path)


async def test_a_collection_changes_its_embedder_and_uploads_are_refused_until_that_one_runs(
    tenant: Tenant, services: Services, small_model: Path
) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    body = {"embedder": str(small_model)}
    assert (await tenant.http.post("/collections/default/reembed", json=body)).status_code == 202
    async with asyncio.timeout(90):
        while (collection := (await tenant.http.get("/collections/default")).json())["rebuild"]["status"] != "done":
            assert collection["rebuild"]["status"] != "failed", collection
            await asyncio.sleep(0.05)
    assert (collection["embedder"], collection["dimension"]) == (str(small_model), 32)
    assert len(await found(tenant, "lighthouse")) == document["chunks"]
    id_ = DocumentId(uuid.UUID(str(document["id"])))
    assert await services.index.count(Scope(tenant=tenant.principal.tenant), id_) == 0
    refused = await tenant.http.post("/documents", files={"files": ("n.md", KEEPER.encode())})
    assert refused.status_code == 409
    assert "python -m ingest reembed default" in refused.json()["detail"]


async def test_a_document_that_cannot_be_made_anew_keeps_the_collection_as_it_was_until_it_is_left_out(
    tenant: Tenant, services: Services
) -> None:
    kept = await tenant.upload("k.md", LIGHTHOUSE.encode())
    lost = await tenant.upload("nets.md", KEEPER.encode())
    await services.blobs.delete(f"{tenant.principal.tenant}/{lost['id']}")
    body = {"chunker": {"strategy": "structure", "tokens": 40}}
    before = (await tenant.http.get("/collections/default")).json()
    refused = (await changed(tenant, body, "failed"))["rebuild"]
    told = [{"document_id": lost["id"], "name": "nets.md", "error": refused["refused"][0]["error"]}]
    assert refused["refused"] == told
    assert "no longer there" in told[0]["error"]
    assert "--chunker '{" in refused["error"]
    assert " --leave-out-refused`" in refused["error"]
    assert (await tenant.http.get("/collections/default")).json()["chunker_stamp"] == before["chunker_stamp"]
    assert any("Jonas Ravn" in text for text in await found(tenant, "Who mends nets?"))
    # A wish that names another document leaves none out.
    assert (await changed(tenant, body | {"leave_out": [kept["id"]]}, "failed"))["chunker"] == before["chunker"]
    collection = await changed(tenant, body | {"leave_out": [kept["id"], lost["id"]]}, "done")
    assert (collection["chunker"]["tokens"], collection["rebuild"]["refused"]) == (40, told)
    assert (collection["rebuild"]["done"], collection["rebuild"]["total"]) == (1, 1)
    after = (await tenant.http.get(f"/documents/{lost['id']}")).json()
    assert (after["status"], after["live_version"], after["chunks"]) == ("failed", None, 0)
    assert "It was left out" in after["error"]
    assert not any("Jonas Ravn" in text for text in await found(tenant, "Who mends nets?"))
    assert any("1821" in text for text in await found(tenant, "When was the lighthouse built?"))
    scope = Scope(tenant=tenant.principal.tenant)
    assert await services.index.count(scope, DocumentId(uuid.UUID(str(lost["id"])))) == 0
    again = await tenant.upload("nets.md", (KEEPER + "He is old.\n").encode())
    assert again["status"] == "indexed"


async def changed(tenant: Tenant, body: dict[str, Any], status: str) -> dict[str, Any]:
    """The collection when a change of it has ended as it should."""
    assert (await tenant.http.post("/collections/default/reembed", json=body)).status_code == 202
    async with asyncio.timeout(90):
        while True:
            collection: dict[str, Any] = (await tenant.http.get("/collections/default")).json()
            if collection["rebuild"]["status"] in ("done", "failed"):
                break
            await asyncio.sleep(0.05)
    assert collection["rebuild"]["status"] == status, collection["rebuild"]
    return collection


async def test_a_change_that_kills_its_workers_ends_unless_it_gets_on(tenant: Tenant, services: Services) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    id_ = CollectionId(uuid.UUID((await tenant.http.get("/collections/default")).json()["id"]))
    async with services.pool.connection() as connection, connection.transaction(force_rollback=True):
        await ask_for_rebuild(connection, id_, "default", Wanted())
        await connection.execute("UPDATE rebuilds SET at_document = %s", (document["id"],))
        for done in range(ATTEMPTS + 2):
            await connection.execute("UPDATE rebuilds SET done = %s WHERE collection_id = %s", (done, id_))
            assert not await count_death(connection, id_), "each time a document more was made anew"
        deaths = [await count_death(connection, id_) for _ in range(ATTEMPTS - 1)]
        assert deaths == [False] * (ATTEMPTS - 2) + [True]
        cursor = await connection.execute("SELECT status, error FROM rebuilds WHERE collection_id = %s", (id_,))
        (row,) = await cursor.fetchall()
    assert row["status"] == "failed"
    assert f"{ATTEMPTS} times" in row["error"]
    assert f"'k.md' ({document['id']})" in row["error"]


async def test_a_collection_of_an_earlier_lexical_encoding_takes_no_uploads_until_it_is_encoded_anew(
    tenant: Tenant, services: Services
) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    scope = Scope(tenant=tenant.principal.tenant)
    words = IndexQuery(lexical=LexicalEncoder().encode_query("lighthouse"))
    await forget_words(services, scope)
    assert not (await services.index.query(words, scope=scope)).lexical
    async with services.pool.connection() as connection:
        await connection.execute("UPDATE collections SET lexical = 'english-1' WHERE tenant_id = %s", (scope.tenant,))
    refused = await tenant.http.post("/documents", files={"files": ("n.md", KEEPER.encode())})
    assert refused.status_code == 409
    assert "'english-1'" in refused.json()["detail"]
    assert "python -m ingest reembed default" in refused.json()["detail"]
    assert "EMBEDDING__MODEL" not in refused.json()["detail"]
    assert (await tenant.http.post("/collections/default/reembed", json={})).status_code == 202
    async with asyncio.timeout(90):
        while (collection := (await tenant.http.get("/collections/default")).json())["rebuild"]["status"] != "done":
            assert collection["rebuild"]["status"] != "failed", collection
            assert any("1821" in text for text in await found(tenant, "When was the lighthouse built?"))
            await asyncio.sleep(0.05)
    assert collection["lexical"] == LEXICAL
    assert (await services.index.query(words, scope=scope)).lexical
    assert await services.index.count(scope) == document["chunks"]
    assert (await tenant.upload("n.md", KEEPER.encode()))["status"] == "indexed"


async def forget_words(services: Services, scope: Scope) -> None:
    """Leave the points of a scope as an encoding would whose terms nobody asks for any more."""
    keys = [key async for page in services.index.scan(scope) for key in page]
    dense = await services.index.vectors([key.id for key in keys], scope=scope)
    await services.index.upsert(
        [Point(**key._asdict(), dense=dense[key.id], lexical=SparseVector([7], [1.0])) for key in keys]
    )


async def test_reconciliation_finds_and_repairs_missing_and_orphan_points(tenant: Tenant, services: Services) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    id_, owner = DocumentId(uuid.UUID(str(document["id"]))), tenant.principal.tenant
    scope = Scope(tenant=owner)
    keys = [key async for page in services.index.scan(scope, id_) for key in page]
    await services.index.delete(owner, id_, only=[keys[0].id])
    async with open_work(services.settings, services.pool, services.embedders, services.indexes) as work:
        reconciler = Reconciler(services.pool, work.builder)
        reported = await reconciler.run(repair=False)
        assert (reported.missing_points >= 1, str(id_) in reported.documents) == (True, True)
        await reconciler.run(repair=True)
        assert {key.id async for page in services.index.scan(scope, id_) for key in page} == {key.id for key in keys}
        async with services.pool.connection() as connection:
            await connection.execute("DELETE FROM documents WHERE id = %s", (id_,))
        await reconciler.run(repair=True)
        assert await services.index.count(scope, id_) == 0
