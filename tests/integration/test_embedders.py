"""Collections of different embedders: searched together, taken back, and one whose embedder is gone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.services import Services
from core.database import open_pool
from core.domain import EmbedderStamp, Scope
from core.index import VectorIndex
from ingest.indexes import folder_name
from models.embedders import StampGone, open_embedders
from models.lexical import LexicalEncoder
from tests.conftest import Tenant
from tests.documents import FERRIES, LIGHTHOUSE
from tests.small_model import make_small_model
from tools.search import Search, SearchOptions
from tools.shelves import Shelves


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    return make_small_model(tmp_path)


async def change(tenant: Tenant, name: str, **body: object) -> dict[str, Any]:
    """Make a collection anew, and wait until that is done."""
    response = await tenant.http.post(f"/collections/{name}/reembed", json=body)
    assert response.status_code == 202, response.text
    async with asyncio.timeout(90):
        while (collection := (await tenant.http.get(f"/collections/{name}")).json())["rebuild"]["status"] != "done":
            assert collection["rebuild"]["status"] != "failed", collection
            await asyncio.sleep(0.05)
    return dict(collection)


def stamp(collection: dict[str, Any]) -> EmbedderStamp:
    return EmbedderStamp(collection["embedder"], collection["embedder_revision"], collection["dimension"])


@asynccontextmanager
async def fresh_search(services: Services) -> AsyncIterator[Search]:
    """A search that has not loaded any embedder but the running one, as after a restart."""
    async with open_embedders(services.embedder, services.settings.embedding) as embedders:
        shelves = Shelves(services.pool, embedders, services.indexes)
        yield Search(services.pool, shelves, LexicalEncoder(), candidates=50)


async def names(search: Search, query: str, scope: Scope, options: SearchOptions | None = None) -> set[str]:
    result = await search(query, scope=scope, limit=10, options=options or SearchOptions())
    return {hit.document_name for hit in result.hits}


async def test_collections_of_two_embedders_are_searched_together(
    tenant: Tenant, services: Services, small_model: Path
) -> None:
    assert (await tenant.http.post("/collections", json={"name": "sea"})).status_code == 201
    await tenant.upload("lighthouse.md", LIGHTHOUSE.encode())
    await tenant.upload("ferries.txt", FERRIES.encode(), collection="sea")
    changed = await change(tenant, "sea", embedder=str(small_model))
    assert changed["dimension"] == 32
    both = Scope(tenant=tenant.principal.tenant)
    query = "Tornby harbour office, and bicycles on ferries"
    async with fresh_search(services) as search:
        assert await names(search, query, both) == {"lighthouse.md", "ferries.txt"}
        assert await names(search, query, both, SearchOptions(mode="dense")) == {"lighthouse.md", "ferries.txt"}
        assert await names(search, query, both, SearchOptions(diversity=0.5)) == {"lighthouse.md", "ferries.txt"}
        own = Scope(tenant=both.tenant, collections=await services.collections.ids(both.tenant, ["sea"]))
        assert await names(search, query, own) == {"ferries.txt"}
    response = await tenant.http.post("/search", json={"query": query, "collections": ["default", "sea"]})
    assert {hit["document_name"] for hit in response.json()["hits"]} == {"lighthouse.md", "ferries.txt"}


async def test_a_search_notices_that_a_collection_was_changed_since_the_last_one(
    tenant: Tenant, services: Services, small_model: Path
) -> None:
    await tenant.upload("lighthouse.md", LIGHTHOUSE.encode())
    scope = Scope(tenant=tenant.principal.tenant)
    async with fresh_search(services) as search:
        for body in ({"embedder": str(small_model)}, {"chunker": {"strategy": "structure", "tokens": 40}}):
            assert await names(search, "lighthouse", scope) == {"lighthouse.md"}
            await change(tenant, "default", **body)
            assert await names(search, "lighthouse", scope) == {"lighthouse.md"}
        # A collection that is made meanwhile, and a document in it.
        assert (await tenant.http.post("/collections", json={"name": "sea"})).status_code == 201
        await tenant.upload("ferries.txt", FERRIES.encode(), collection="sea")
        assert await names(search, "ferries lighthouse", scope) == {"lighthouse.md", "ferries.txt"}


async def test_stamps_cost_no_question_of_their_own_once_they_are_known(
    tenant: Tenant, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tenant.upload("lighthouse.md", LIGHTHOUSE.encode())
    scope = Scope(tenant=tenant.principal.tenant)
    # A pool of its own, so that nobody else's questions are counted.
    async with open_pool(services.settings.database) as pool:
        search = Search(pool, Shelves(pool, services.embedders, services.indexes), LexicalEncoder(), candidates=50)
        borrow, borrowed = pool.connection, 0

        def counting(*arguments: Any, **options: Any) -> Any:
            nonlocal borrowed
            borrowed += 1
            return borrow(*arguments, **options)

        monkeypatch.setattr(pool, "connection", counting)
        counts = []
        for _ in range(3):
            borrowed = 0
            assert await names(search, "lighthouse", scope) == {"lighthouse.md"}
            counts.append(borrowed)
    assert counts == [2, 1, 1]


async def test_an_embedder_that_is_gone_is_named_with_the_command_that_brings_the_collection_back(
    tenant: Tenant, services: Services, small_model: Path
) -> None:
    await tenant.upload("lighthouse.md", LIGHTHOUSE.encode())
    made = await change(tenant, "default", embedder=str(small_model))
    folder = services.settings.data_dir / "qdrant" / folder_name(stamp(made))
    assert folder.is_dir()
    shutil.rmtree(small_model)
    scope = Scope(tenant=tenant.principal.tenant)
    async with fresh_search(services) as search:
        with pytest.raises(StampGone, match="`python -m ingest reembed default`"):
            await search("lighthouse", scope=scope, limit=5)
        await change(tenant, "default")
        assert await names(search, "lighthouse", scope) == {"lighthouse.md"}
    index: VectorIndex | None = await services.indexes.find(stamp(made))
    assert (index, folder.exists()) == (None, False), "the old index goes when nobody uses it"
