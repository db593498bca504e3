from __future__ import annotations

import httpx

from app.services import Services
from tests.conftest import Tenant


async def test_health_names_every_part(api: str) -> None:
    async with httpx.AsyncClient(base_url=api) as http:
        response = await http.get("/health/ready")
        assert set(response.json()["parts"]) == {"database", "index", "embedder", "worker", "chat_model"}
        assert (response.status_code, response.json()["status"]) == (200, "ready")
        assert (await http.get("/ok")).json() == {"ok": True}
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/info")).json()["flags"]["assistants"] is True


async def test_the_api_describes_itself(api: str) -> None:
    async with httpx.AsyncClient(base_url=api) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    assert {"/documents", "/search", "/threads/{thread_id}/runs/stream", "/v1/chat/completions"} <= set(paths)
    assert "multipart/form-data" in paths["/documents"]["post"]["requestBody"]["content"]


async def test_keys_are_stored_as_hashes_only(tenant: Tenant, services: Services) -> None:
    async with services.pool.connection() as connection:
        cursor = await connection.execute("SELECT k::text AS row FROM api_keys k")
        assert all(tenant.key not in row["row"] for row in await cursor.fetchall())
