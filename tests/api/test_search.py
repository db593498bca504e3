"""Search over HTTP: filters against the collections' schemas, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Tenant

SCHEMA = {"author": "string", "year": "number", "draft": "boolean", "published": "date", "topics": "tags"}
TEXT = "The lighthouse of Kerzenfels was built in {year}. Its keeper was paid by the harbour office of Tornby."


async def report(tenant: Tenant, collection: str, year: int, **metadata: Any) -> dict[str, object]:
    text = TEXT.format(year=year).encode()
    return await tenant.upload(
        f"{year}.md", text, collection=collection, metadata=json.dumps({"year": year, **metadata})
    )


async def found(tenant: Tenant, **body: Any) -> list[str]:
    response = await tenant.http.post("/search", json={"query": "When was the lighthouse built?", **body})
    assert response.status_code == 200, response.text
    return sorted(hit["document_name"] for hit in response.json()["hits"])


async def refusal(tenant: Tenant, **body: Any) -> str:
    response = await tenant.http.post("/search", json={"query": "When?", **body})
    assert response.status_code == 422, response.text
    return str(response.json()["detail"])


async def test_documents_are_found_by_their_metadata(tenant: Tenant) -> None:
    made = await tenant.http.post("/collections", json={"name": "reports", "metadata_schema": SCHEMA})
    assert made.status_code == 201
    assert made.json()["metadata_schema"] == SCHEMA
    await report(tenant, "reports", 1821, author="Ann", published="2024-05-31", topics=["sea", "stone"])
    await report(tenant, "reports", 1903, author="Bob", published="2024-06-30T12:00:00Z", topics=["sea"], draft=True)
    everything = ["1821.md", "1903.md"]
    for value, expected in (
        (None, everything),
        ({}, everything),
        ({"year": 1821}, ["1821.md"]),
        ({"year": {"$gte": 1900}}, ["1903.md"]),
        ({"$not": {"author": "Ann"}}, ["1903.md"]),
        ({"topics": {"$all": ["stone", "sea"]}}, ["1821.md"]),
        ({"topics": "sea"}, everything),
        ({"published": {"$gt": "2024-06-30T13:00:00+02:00"}}, ["1903.md"]),
        ({"draft": {"$exists": False}}, ["1821.md"]),
        ({"$or": [{"name": "1903.md"}, {"size": 1}]}, ["1903.md"]),
        ({"created_at": {"$lt": "2020-01-01"}}, []),
        ({"media_type": "text/markdown", "author": {"$in": ["Ann", "Cid"]}}, ["1821.md"]),
    ):
        assert (value, await found(tenant, filter=value)) == (value, expected)


async def test_a_filter_that_does_not_fit_the_schema_says_what_does(tenant: Tenant) -> None:
    await tenant.http.post("/collections", json={"name": "reports", "metadata_schema": SCHEMA})
    asked = {"collections": ["reports"]}
    assert "filter.yaer: unknown field" in await refusal(tenant, **asked, filter={"yaer": 1})
    assert "'year' is a number" in await refusal(tenant, **asked, filter={"year": "1821"})
    assert "filter.year.gte: unknown operator" in await refusal(tenant, **asked, filter={"year": {"gte": 1}})
    assert "filter.published.$gte" in await refusal(tenant, **asked, filter={"published": {"$gte": "May"}})
    # The default collection has no schema, so there every field is allowed.
    await tenant.http.get("/collections")
    assert await found(tenant, filter={"yaer": 1}) == []


async def test_metadata_that_does_not_fit_the_schema_is_refused(tenant: Tenant) -> None:
    await tenant.http.post("/collections", json={"name": "reports", "metadata_schema": SCHEMA})
    for metadata, hint in (
        ({"yaer": 1821}, "no metadata field 'yaer'. Its fields: author, draft, published, topics, year"),
        ({"year": "1821"}, "'year' of the collection 'reports' is a number"),
        ({"published": "31.5.2024"}, "ISO 8601"),
        ({"topics": "sea"}, "a list of texts"),
        ({"draft": 1}, "true or false"),
    ):
        response = await tenant.http.post(
            "/documents",
            files={"files": ("a.md", b"text")},
            data={"collection": "reports", "metadata": json.dumps(metadata)},
        )
        assert response.status_code == 422
        assert hint in response.json()["detail"]
    documents = (await tenant.http.get("/documents")).json()["documents"]
    assert documents == []


async def test_a_schema_is_changed_unless_a_document_does_not_fit(tenant: Tenant, viewer: Tenant) -> None:
    await tenant.http.post("/collections", json={"name": "reports"})
    await report(tenant, "reports", 1821, author="Ann")
    refused = await tenant.http.patch("/collections/reports", json={"metadata_schema": {"year": "string"}})
    assert refused.status_code == 409
    assert "'1821.md' does not fit" in refused.json()["detail"]
    fitting = {"year": "number", "author": "string"}
    changed = await tenant.http.patch("/collections/reports", json={"metadata_schema": fitting})
    assert changed.json()["metadata_schema"] == fitting
    assert "unknown field" in await refusal(tenant, collections=["reports"], filter={"topics": "sea"})
    assert (await tenant.http.patch("/collections/reports", json={})).json()["metadata_schema"] == fitting
    freed = await tenant.http.patch("/collections/reports", json={"metadata_schema": None})
    assert freed.json()["metadata_schema"] is None
    assert (await viewer.http.patch("/collections/reports", json={"metadata_schema": None})).status_code == 403
    assert (await tenant.http.patch("/collections/nothing", json={"metadata_schema": None})).status_code == 404
    bad = await tenant.http.patch("/collections/reports", json={"metadata_schema": {"year": "integer"}})
    assert bad.status_code == 422


async def test_a_filter_finds_nothing_of_another_tenant(tenant: Tenant, stranger: Tenant) -> None:
    document = await report(tenant, "default", 1821)
    assert await found(tenant, filter={"year": 1821}) == ["1821.md"]
    assert await found(stranger, filter={"year": 1821}) == []
    assert await found(stranger, filter={"$or": [{"year": 1821}, {"$not": {"year": 1821}}]}) == []
    assert await found(stranger, filter={"name": str(document["name"])}) == []


@pytest.mark.parametrize("expand", ["neighbours", "parent"])
async def test_hits_are_widened_to_what_stands_around_them(tenant: Tenant, expand: str) -> None:
    paragraphs = [f"Paragraph {n} tells of the {word}." for n, word in enumerate(("tide", "oil", "ferry", "lamp"))]
    text = "# Report\n\n" + "\n\n".join(f"{paragraph} {'It is long. ' * 30}" for paragraph in paragraphs)
    document = await tenant.upload("report.md", text.encode())
    body = {"query": "ferry", "limit": 1, "mode": "lexical", "expand": expand, "expand_tokens": 400}
    response = (await tenant.http.post("/search", json=body)).json()
    (hit,) = response["hits"]
    passage, chunk = hit["passage"], hit["chunk"]
    assert len(passage["chunks"]) > 1
    assert chunk["id"] in passage["chunks"]
    assert chunk["text"] in passage["text"]
    whole = (await tenant.http.get(f"/documents/{document['id']}/text")).json()["text"]
    assert whole[passage["start"] : passage["end"]] == passage["text"]
    assert response["timings"].keys() >= {"expand", "total"}


async def test_the_same_text_is_given_once_when_asked(tenant: Tenant) -> None:
    await tenant.http.post("/collections", json={"name": "copies"})
    await tenant.upload("a.md", TEXT.format(year=1821).encode())
    await tenant.upload("b.md", TEXT.format(year=1821).encode(), collection="copies")
    await tenant.upload("c.md", b"Ferries to Tornby leave at 9:30 and at 17:45.")
    assert await found(tenant, limit=3) == ["a.md", "b.md", "c.md"]
    assert len(await found(tenant, limit=2, distinct=True)) == 2
    assert "c.md" in await found(tenant, limit=2, distinct=True)
    assert await found(tenant, threshold=0.99) == []
    assert len(await found(tenant, diversity=0.5)) == 3
    assert "diversity" in await refusal(tenant, diversity=1.5)


async def test_the_reranker_orders_anew_when_it_is_asked_for(tenant: Tenant) -> None:
    await tenant.upload("notes.md", b"The pump came in a crate.\n\n# Reset\n\nHold the green button of the pump.")
    body = {"query": "How is the pump reset?"}
    plain = (await tenant.http.post("/search", json=body)).json()
    assert "rerank" not in plain["timings"]
    assert {hit["scores"]["rerank"] for hit in plain["hits"]} == {None}
    asked = (await tenant.http.post("/search", json=body | {"rerank": True})).json()
    assert asked["timings"]["rerank"] > 0
    assert all(-1 <= hit["scores"]["rerank"] <= 1 for hit in asked["hits"])
    assert {hit["chunk"]["id"] for hit in asked["hits"]} == {hit["chunk"]["id"] for hit in plain["hits"]}
