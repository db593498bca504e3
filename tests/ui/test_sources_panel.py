from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.conftest import Tenant
from tests.ui.conftest import Run
from tests.ui.test_documents_page import script, texts
from tests.web_server import WebServer, respond, run_web_server


@pytest.fixture
def documents(api: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The Documents page with the tenant's key, not yet run."""
    monkeypatch.setenv("RAGSTONE_API_URL", api)
    monkeypatch.setenv("RAGSTONE_API_KEY", tenant.key)
    return AppTest.from_function(script)


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with run_web_server() as server:
        yield server


async def looked_at(tenant: Tenant) -> dict[str, Any]:
    """The tenant's only source when it is not being looked at."""
    async with asyncio.timeout(30):
        while True:
            [source] = (await tenant.http.get("/sources")).json()["sources"]
            if source["status"] in ("idle", "failed"):
                return dict(source)
            await asyncio.sleep(0.05)


async def add(page: AppTest, run: Run, address: str) -> None:
    page.text_input(key="source-address").set_value(address)
    next(button for button in page.button if button.label == "Add").click()
    await run(page)


async def test_an_address_is_added_looked_at_again_and_removed(
    documents: AppTest, run: Run, tenant: Tenant, web: WebServer
) -> None:
    web.answers["/lamp"] = respond(b"<p>The lamp burns 14 litres of oil.</p>", content_type="text/html", etag='"1"')
    await run(documents)
    await add(documents, run, web.url("/lamp"))
    source = await looked_at(tenant)
    assert (source["kind"], source["counts"]) == ("web", {"added": 1})
    await run(documents)
    assert f"**{web.url('/lamp')}**" in texts(documents)
    assert "default · 1 document · looked at just now" in texts(documents)
    documents.button(key=f"sync-{source['id']}").click()
    await run(documents)
    assert (await looked_at(tenant))["counts"] == {"unchanged": 1}
    documents.button(key=f"with-{source['id']}").click()
    await run(documents)
    assert (await tenant.http.get("/sources")).json()["sources"] == []
    assert (await tenant.http.get("/documents")).json()["documents"] == []


async def test_what_could_not_be_taken_is_said(documents: AppTest, run: Run, tenant: Tenant, web: WebServer) -> None:
    await run(documents)
    await add(documents, run, web.url("/missing"))
    await looked_at(tenant)
    await run(documents)
    assert "1 not taken" in texts(documents)
    assert "Not all taken" in texts(documents)
    assert "Up to date" not in texts(documents)
    assert "missing: The host '127.0.0.1' has nothing at this address (404)." in texts(documents)


async def test_an_address_that_is_none_is_refused_with_a_sentence(documents: AppTest, run: Run, tenant: Tenant) -> None:
    await run(documents)
    await add(documents, run, "example.org/guide")
    assert "it must begin with https:// or http://" in texts(documents)
    assert (await tenant.http.get("/sources")).json()["sources"] == []
