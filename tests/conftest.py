"""The real services that tests share: one PostgreSQL, one model server and one API per worker; a tenant per test."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from app.head import BoundedHead
from app.keys import hash_key, new_key
from app.main import create_app
from app.postgres import run_postgres
from app.services import Services, open_services
from core.database import Pool
from core.domain import Principal, PrincipalId, Role, TenantId
from core.settings import ChatSettings, DatabaseSettings, RerankerSettings, Settings, SourceSettings
from models.reranker import LATE_INTERACTION
from tests.chroma import run_chroma
from tests.documents import wait_until_done
from tests.gated import build_gated
from tests.graphs import build_agents
from tests.model_relay import Relay, run_relay, serve
from tests.model_server import TINY, models_dir, run_model_server
from tests.program import Program, run_program

# No test talks to a hub or to a tracing service.
os.environ["HF_HUB_OFFLINE"] = "1"
for variable in ("LANGSMITH_TRACING", "LANGSMITH_API_KEY", "LANGGRAPH_API_KEY", "LANGCHAIN_API_KEY"):
    os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The whole program with its user interface, started once."""
    with run_program(tmp_path_factory.mktemp("platform") / "data") as program:
        yield program


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of one test: nothing of another test is in it."""

    principal: Principal
    key: str
    http: httpx.AsyncClient
    sdk: LangGraphClient

    async def upload(self, name: str, content: bytes, **fields: str) -> dict[str, object]:
        """Upload a file and wait for the end of its way; returns the document."""
        response = await self.http.post("/documents", files={"files": (name, content)}, data=fields)
        assert response.status_code in (200, 202), response.text
        return await wait_until_done(self.http, response.json()["documents"][0]["id"])


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_chroma(tmp_path_factory.mktemp("chroma")) as url:
        yield url


@pytest.fixture(scope="session")
def model_server() -> Iterator[str]:
    with run_model_server(TINY, models_dir()) as url:
        yield url


@pytest.fixture(scope="session")
async def relay(model_server: str) -> AsyncIterator[Relay]:
    async with run_relay(model_server) as relay:
        yield relay


@pytest.fixture(scope="session")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the server that sources may lie in."""
    return tmp_path_factory.mktemp("offered")


@pytest.fixture(scope="session")
def settings(postgres: str, relay: Relay, offered: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        _env_file=None,
        data_dir=tmp_path_factory.mktemp("data"),
        database=DatabaseSettings.model_validate({"url": postgres}),
        chat=ChatSettings.model_validate({"base_url": relay.url, "model": TINY, "max_tokens": 48}),
        # What tests serve themselves; `offered` is below the folder that each of them may take documents from.
        sources=SourceSettings(allowed_hosts="127.0.0.1", folders=str(offered), prefixes="memory://offered"),
        reranker=RerankerSettings(model=LATE_INTERACTION),
    )


@pytest.fixture(scope="session")
async def services(settings: Settings) -> AsyncIterator[Services]:
    async with open_services(settings, lambda ground: [*build_agents(ground), *build_gated(ground)]) as services:
        yield services


@pytest.fixture(scope="session")
async def api(services: Services, settings: Settings) -> AsyncIterator[str]:
    """The address of the API over the shared services."""
    app = create_app(settings, lambda _: _borrowed(services))
    async with serve(app, BoundedHead) as url:
        yield url


class _borrowed:  # noqa: N801 (used like a function)
    """Services that somebody else opened and closes."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __aenter__(self) -> Services:
        return self._services

    async def __aexit__(self, *_: object) -> None:
        return None


async def make_principal(
    pool: Pool, tenant: TenantId | None = None, role: Role = Role.ADMINISTRATOR
) -> tuple[Principal, str]:
    """A principal with a key, in a tenant of its own unless one is given."""
    key, name = new_key(), f"test-{uuid.uuid4()}"
    async with pool.connection() as connection:
        if tenant is None:
            cursor = await connection.execute("INSERT INTO tenants (name) VALUES (%s) RETURNING id", (name,))
            row = await cursor.fetchone()
            assert row is not None
            tenant = TenantId(row["id"])
        cursor = await connection.execute(
            "INSERT INTO principals (tenant_id, name, role) VALUES (%s, %s, %s) RETURNING id", (tenant, name, role)
        )
        row = await cursor.fetchone()
        assert row is not None
        await connection.execute(
            "INSERT INTO api_keys (principal_id, name, hash) VALUES (%s, %s, %s)", (row["id"], name, hash_key(key))
        )
    return Principal(id=PrincipalId(row["id"]), tenant=tenant, name=name, role=role), key


async def open_tenant(
    services: Services, api: str, tenant: TenantId | None = None, role: Role = Role.ADMINISTRATOR
) -> AsyncIterator[Tenant]:
    principal, key = await make_principal(services.pool, tenant, role)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx.AsyncClient(base_url=api, headers=headers, timeout=60) as http,
        get_client(url=api, api_key=key) as sdk,
    ):
        yield Tenant(principal, key, http, sdk)


@pytest.fixture
async def tenant(services: Services, api: str) -> AsyncIterator[Tenant]:
    async for made in open_tenant(services, api):
        yield made


@pytest.fixture
async def stranger(services: Services, api: str) -> AsyncIterator[Tenant]:
    """A principal of another tenant."""
    async for made in open_tenant(services, api):
        yield made


@pytest.fixture
async def colleague(services: Services, api: str, tenant: Tenant) -> AsyncIterator[Tenant]:
    """Another principal of the same tenant."""
    async for made in open_tenant(services, api, tenant.principal.tenant, Role.MEMBER):
        yield made


@pytest.fixture
async def viewer(services: Services, api: str, tenant: Tenant) -> AsyncIterator[Tenant]:
    """A principal of the same tenant who may only read."""
    async for made in open_tenant(services, api, tenant.principal.tenant, Role.VIEWER):
        yield made
