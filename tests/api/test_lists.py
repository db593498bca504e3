"""Lists come in pages, and their cursors hold every place."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import Services
from tests.conftest import Tenant


async def walked(tenant: Tenant, path: str, name: str, **params: Any) -> list[list[Any]]:
    """The pages of a list."""
    pages, cursor = [], None
    while True:
        given = params if cursor is None else {**params, "cursor": cursor}
        answer = await tenant.http.get(path, params=given)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json()[name])
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return pages


async def test_collections_come_in_pages_by_name(tenant: Tenant) -> None:
    for name in ("e", "b", "a", "c"):
        await tenant.http.post("/collections", json={"name": name})
    pages = await walked(tenant, "/collections", "collections", limit=2)
    assert [[each["name"] for each in page] for page in pages] == [["a", "b"], ["c", "default"], ["e"]]


async def test_sources_of_one_moment_come_in_pages_none_twice(tenant: Tenant, services: Services) -> None:
    collection = await services.collections.get(tenant.principal.tenant, "default")
    async with services.pool.connection() as connection, connection.transaction():
        for number in range(5):
            await connection.execute(
                "INSERT INTO sources (tenant_id, collection_id, kind, address) VALUES (%s, %s, 'web', %s)",
                (tenant.principal.tenant, collection.id, f"https://example.org/{number}"),
            )
    pages = await walked(tenant, "/sources", "sources", limit=2)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({each["id"] for page in pages for each in page}) == 5


async def test_documents_come_in_pages_none_twice(tenant: Tenant) -> None:
    files = [("files", (f"{number}.txt", f"text {number}".encode())) for number in range(3)]
    await tenant.http.post("/documents", files=files)
    pages = await walked(tenant, "/documents", "documents", limit=1)
    assert [len(page) for page in pages] == [1, 1, 1]
    assert len({each["id"] for page in pages for each in page}) == 3


async def test_reports_come_in_pages_newest_first(tenant: Tenant, services: Services) -> None:
    async with services.pool.connection() as connection:
        cursor = await connection.execute(
            "INSERT INTO reconciliations (repair) SELECT false FROM generate_series(1, 21) RETURNING id"
        )
        made = [row["id"] for row in await cursor.fetchall()]
        try:
            pages = await walked(tenant, "/reconcile", "reconciliations")
        finally:
            await connection.execute("DELETE FROM reconciliations WHERE id = ANY(%s)", (made,))
    numbers = [each["id"] for page in pages for each in page]
    assert len(pages[0]) == 20
    assert numbers == sorted(set(numbers), reverse=True)
    assert set(made) <= set(numbers)


@pytest.mark.parametrize("path", ["/collections", "/sources", "/documents"])
@pytest.mark.parametrize("cursor", ["x", "WyJhIl0", "WzEsMiwzXQ==", "e30=", "ImFiIg=="])
async def test_a_cursor_that_is_none_of_ours_is_refused(tenant: Tenant, path: str, cursor: str) -> None:
    assert (await tenant.http.get(path, params={"cursor": cursor})).status_code == 422
