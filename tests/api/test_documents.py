from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from app.services import Services
from core.domain import DocumentId, Scope
from tests.conftest import Tenant
from tests.documents import FERRIES, LIGHTHOUSE, make_pdf, wait_until_done
from tests.model_relay import Relay


async def test_an_upload_is_accepted_then_indexed(tenant: Tenant) -> None:
    response = await tenant.http.post("/documents", files={"files": ("k.md", LIGHTHOUSE.encode())})
    assert response.status_code == 202
    (accepted,) = response.json()["documents"]
    assert (accepted["unchanged"], accepted["name"], accepted["collection"]) == (False, "k.md", "default")
    assert accepted["job_id"] is not None
    document = await wait_until_done(tenant.http, accepted["id"])
    assert (document["status"], document["error"]) == ("indexed", None)
    assert document["chunks"] == document["done"] == document["total"] > 0


async def test_the_original_comes_back_byte_for_byte(tenant: Tenant) -> None:
    content = make_pdf(["Tornby has a harbour.", "Kerzenfels has a lighthouse."])
    document = await tenant.upload("über uns (1).pdf", content)
    response = await tenant.http.get(f"/documents/{document['id']}/content")
    assert response.content == content
    assert response.headers["content-type"] == "application/pdf"
    assert response.headers["content-disposition"].startswith("attachment; filename*=UTF-8''%C3%BCber")


async def test_the_original_is_that_which_search_answers_from_unless_the_newest_is_asked_for(tenant: Tenant) -> None:
    readable, damaged = make_pdf(["Tornby has a harbour."]), b"%PDF-1.7 cut short"
    await tenant.upload("harbours.pdf", readable, source_id="harbours")
    document = await tenant.upload("harbours.pdf", damaged, source_id="harbours")
    assert (document["status"], document["version"], document["live_version"]) == ("failed", 2, 1)
    response = await tenant.http.get(f"/documents/{document['id']}/content")
    assert (response.content, response.headers["content-type"]) == (readable, "application/pdf")
    newest = await tenant.http.get(f"/documents/{document['id']}/content", params={"newest": True})
    assert (newest.content, newest.headers["content-length"]) == (damaged, str(len(damaged)))


async def test_pages_of_a_pdf_are_those_a_reader_sees(tenant: Tenant, relay: Relay) -> None:
    pages = ["Tornby has a harbour.", "Kerzenfels has a lighthouse.", "Bicycles travel free of charge."]
    document = await tenant.upload("three.pdf", make_pdf(pages))
    assert document["pages"] == 3
    question: Any = {"messages": [{"role": "user", "content": "What travels free, and who has a lighthouse?"}]}
    with relay.scripted("Bicycles travel free of charge. Kerzenfels has a lighthouse."):
        state: Any = await tenant.sdk.runs.wait(None, "rag", input=question)
    cited = [(citation["quote"], citation["page"]) for citation in state["citations"]]
    assert cited == [(pages[2], 3), (pages[1], 2)]


async def test_the_same_bytes_are_unchanged_and_not_embedded_again(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = await tenant.upload("ferries.txt", FERRIES.encode())
    embedded: list[int] = []
    embed = services.embedder.embed_documents

    async def counting(texts: list[str]) -> object:
        embedded.append(len(texts))
        return await embed(texts)

    monkeypatch.setattr(services.embedder, "embed_documents", counting)
    response = await tenant.http.post("/documents", files={"files": ("other name.txt", FERRIES.encode())})
    assert response.status_code == 200
    (again,) = response.json()["documents"]
    assert (again["unchanged"], again["id"]) == (True, document["id"])
    await asyncio.sleep(0.3)
    assert embedded == []


async def test_ten_uploads_of_the_same_bytes_at_once_make_one_document(tenant: Tenant) -> None:
    async def upload() -> httpx.Response:
        return await tenant.http.post("/documents", files={"files": ("ferries.txt", FERRIES.encode())})

    responses = await asyncio.gather(*[upload() for _ in range(10)])
    assert sorted(response.status_code for response in responses) == [200] * 9 + [202]
    assert len({response.json()["documents"][0]["id"] for response in responses}) == 1


async def test_several_files_at_once_are_answered_in_their_order(tenant: Tenant) -> None:
    files = [("files", (f"{number}.txt", f"File number {number}.".encode())) for number in range(3)]
    response = await tenant.http.post("/documents", files=files)
    assert [document["name"] for document in response.json()["documents"]] == ["0.txt", "1.txt", "2.txt"]


async def test_one_bad_file_refuses_the_whole_upload_and_leaves_nothing(tenant: Tenant) -> None:
    files = [("files", ("good.txt", b"Good text.")), ("files", ("bad.pdf", b"not a pdf"))]
    response = await tenant.http.post("/documents", files=files)
    assert response.status_code == 422
    assert "bad.pdf" in response.json()["detail"]
    assert (await tenant.http.get("/documents")).json()["documents"] == []


async def test_a_deleted_document_is_invisible_at_once_and_then_gone(tenant: Tenant, services: Services) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    id = DocumentId(document["id"])  # type: ignore[arg-type]
    scope = Scope(tenant=tenant.principal.tenant)
    assert await services.index.count(scope, id) == document["chunks"]
    assert (await tenant.http.delete(f"/documents/{id}")).status_code == 204
    search = await tenant.http.post("/search", json={"query": "lighthouse"})
    assert search.json()["hits"] == []
    for path in ("", "/content", "/chunks", "/text"):
        assert (await tenant.http.get(f"/documents/{id}{path}")).status_code == 404
    assert (await tenant.http.delete(f"/documents/{id}")).status_code == 404
    async with asyncio.timeout(20):
        while await left(services, id):
            await asyncio.sleep(0.05)
    assert await services.index.count(scope, id) == 0


async def left(services: Services, document: DocumentId) -> bool:
    async with services.pool.connection() as connection:
        cursor = await connection.execute("SELECT 1 FROM documents WHERE id = %s", (document,))
        return await cursor.fetchone() is not None


async def test_a_deleted_document_can_be_uploaded_again_at_once(tenant: Tenant) -> None:
    first = await tenant.upload("k.md", LIGHTHOUSE.encode())
    await tenant.http.delete(f"/documents/{first['id']}")
    second = await tenant.upload("k.md", LIGHTHOUSE.encode())
    assert second["id"] != first["id"]
    hits = (await tenant.http.post("/search", json={"query": "lighthouse"})).json()["hits"]
    assert {hit["document_id"] for hit in hits} == {second["id"]}


async def test_chunks_lie_at_their_offsets_in_the_text(tenant: Tenant) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    text = (await tenant.http.get(f"/documents/{document['id']}/text")).json()
    chunks = (await tenant.http.get(f"/documents/{document['id']}/chunks")).json()["chunks"]
    assert text["length"] == len(text["text"]) == text["end"]
    for chunk in chunks:
        assert text["text"][chunk["start"] : chunk["end"]] == chunk["text"]
    part = (await tenant.http.get(f"/documents/{document['id']}/text", params={"start": 5, "end": 25})).json()
    assert part["text"] == text["text"][5:25]


async def test_lists_page_by_cursor_and_filter(tenant: Tenant) -> None:
    for number in range(5):
        await tenant.http.post("/documents", files={"files": (f"note {number}.txt", f"Note {number}.".encode())})
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await tenant.http.get("/documents", params=params)).json()
        seen += [document["name"] for document in page["documents"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [f"note {number}.txt" for number in (4, 3, 2, 1, 0)]
    named = (await tenant.http.get("/documents", params={"name": "TE 3"})).json()["documents"]
    assert [document["name"] for document in named] == ["note 3.txt"]


async def test_progress_is_streamed_as_it_happens(tenant: Tenant) -> None:
    seen: list[str] = []
    async with tenant.http.stream("GET", "/documents/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        response = await tenant.http.post("/documents", files={"files": ("ferries.txt", FERRIES.encode())})
        wanted = response.json()["documents"][0]["id"]
        async with asyncio.timeout(30):
            async for line in stream.aiter_lines():
                if line.startswith("data: ") and json.loads(line[6:])["id"] == wanted:
                    seen.append(json.loads(line[6:])["status"])
                if seen and seen[-1] == "indexed":
                    break
    assert seen[-1] == "indexed"


async def test_a_failed_document_keeps_its_reason_and_can_be_retried(tenant: Tenant) -> None:
    blank = make_pdf([""])
    document = await tenant.upload("scan.pdf", blank)
    assert document["status"] == "failed"
    assert "text" in str(document["error"])
    response = await tenant.http.post(f"/documents/{document['id']}/retry")
    assert (response.status_code, response.json()["error"]) == (202, None)
    again = await wait_until_done(tenant.http, str(document["id"]))
    assert again["status"] == "failed"
    assert (await tenant.http.get(f"/documents/{document['id']}/content")).content == blank


async def test_only_a_failed_document_can_be_retried(tenant: Tenant) -> None:
    document = await tenant.upload("ferries.txt", FERRIES.encode())
    assert (await tenant.http.post(f"/documents/{document['id']}/retry")).status_code == 409


async def test_collections_separate_documents(tenant: Tenant) -> None:
    assert (await tenant.http.post("/collections", json={"name": "boats"})).status_code == 201
    assert (await tenant.http.post("/collections", json={"name": "boats"})).status_code == 409
    await tenant.upload("ferries.txt", FERRIES.encode(), collection="boats")
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    for collection, name in (("boats", "ferries.txt"), ("default", "k.md")):
        body = {"query": "Tornby", "collections": [collection]}
        hits = (await tenant.http.post("/search", json=body)).json()["hits"]
        assert {hit["document_name"] for hit in hits} == {name}
    assert (await tenant.http.delete("/collections/boats")).status_code == 409
    assert (
        await tenant.http.post("/documents", data={"collection": "cars"}, files={"files": ("a.txt", b"a")})
    ).status_code == 404


async def test_search_shows_every_score_and_the_time_of_each_stage(tenant: Tenant) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    await tenant.upload("ferries.txt", FERRIES.encode())
    body = {"query": "When was the lighthouse built?", "limit": 2}
    answer = (await tenant.http.post("/search", json=body)).json()
    assert "1821" in answer["hits"][0]["chunk"]["text"]
    assert answer["hits"][0]["scores"]["dense"] > 0.4
    assert answer["hits"][0]["scores"]["lexical"] > 0
    assert set(answer["timings"]) == {"embed", "index", "fuse", "fetch", "total"}
    dense = (await tenant.http.post("/search", json={**body, "mode": "dense"})).json()["hits"]
    assert {hit["scores"]["lexical"] for hit in dense} == {None}


async def test_metadata_is_kept(tenant: Tenant) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode(), metadata='{"year": 1821, "tags": ["sea"]}')
    assert document["metadata"] == {"year": 1821, "tags": ["sea"]}


async def test_a_question_does_not_wait_for_documents_that_are_embedded(tenant: Tenant) -> None:
    text = "\n\n".join(
        f"Paragraph {number} tells of ship {number} and its crew of {number * 3}." for number in range(400)
    )
    response = await tenant.http.post("/documents", files={"files": ("ships.txt", text.encode())})
    document = response.json()["documents"][0]["id"]
    async with asyncio.timeout(60):
        while (await tenant.http.get(f"/documents/{document}")).json()["status"] != "embedding":
            await asyncio.sleep(0.02)
    answered = 0
    while (await tenant.http.get(f"/documents/{document}")).json()["status"] == "embedding":
        assert (await tenant.http.post("/search", json={"query": f"ship {time.monotonic()}"})).status_code == 200
        answered += 1
    assert answered >= 1
    assert (await wait_until_done(tenant.http, document))["status"] == "indexed"
