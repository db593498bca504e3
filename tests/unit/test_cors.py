"""Web pages that may call the API."""

from __future__ import annotations

import httpx
import pytest

from app.main import create_app
from core.errors import InvalidInput
from core.settings import ApiSettings, Settings

PAGE = "https://chat.example.org"
ASKING = {"Origin": PAGE, "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "x-api-key"}


async def preflight(origins: str | None, headers: dict[str, str]) -> httpx.Response:
    app = create_app(Settings(_env_file=None, api=ApiSettings(cors_origins=origins)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http:
        return await http.options("/threads", headers=headers)


@pytest.mark.parametrize("origins", [PAGE, f"http://localhost:3000, {PAGE}", "*"])
async def test_a_page_of_a_set_origin_may_call(origins: str) -> None:
    answer = await preflight(origins, ASKING)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] in (PAGE, "*")
    assert "DELETE" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "x-api-key"


async def test_a_page_of_another_origin_may_not() -> None:
    answer = await preflight(PAGE, {**ASKING, "Origin": "https://evil.example.org"})
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (400, False)


async def test_without_origins_no_page_may() -> None:
    answer = await preflight(None, ASKING)
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (405, False)


async def test_an_answer_says_which_headers_a_page_may_read() -> None:
    app = create_app(Settings(_env_file=None, api=ApiSettings(cors_origins=PAGE)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http:
        answer = await http.get("/ok", headers={"Origin": PAGE})
    assert "Content-Location" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin", ["chat.example.org", "https://chat.example.org/", "ftp://x", "https://", "https://A"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(InvalidInput, match="API__CORS_ORIGINS"):
        create_app(Settings(_env_file=None, api=ApiSettings(cors_origins=origin)))
