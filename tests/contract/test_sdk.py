"""The stock SDK is the contract: every public method of its async and its sync client is called through a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from langgraph_sdk import get_client, get_sync_client

from app.services import Services
from tests.conftest import Tenant, open_tenant
from tests.contract import sdk_calls, sdk_run_calls
from tests.contract.sdk_clients import AsyncClient, Client, SyncClient, methods
from tests.contract.sdk_scene import CALLS, HELLO, Scene

MODULES = (sdk_calls, sdk_run_calls)
"""Importing them lists their calls."""

PENDING: dict[str, str] = {}
"""Methods that are not answered yet, and what is missing. One that is answered must not be listed any more."""


@pytest.fixture(scope="module")
async def owner(services: Services, api: str) -> AsyncIterator[Tenant]:
    async for made in open_tenant(services, api):
        yield made


@pytest.fixture(scope="module")
async def scene(owner: Tenant) -> Scene:
    thread = (await owner.sdk.threads.create())["thread_id"]
    await owner.sdk.runs.wait(thread, "echo", input=HELLO)
    (run,) = await owner.sdk.runs.list(thread)
    made = await owner.sdk.assistants.create("echo", name="Parrot")
    return Scene(thread, run["run_id"], made["assistant_id"])


@pytest.fixture(scope="module", params=["async", "sync"])
async def client(request: pytest.FixtureRequest, owner: Tenant, api: str) -> AsyncIterator[Client]:
    if request.param == "async":
        yield AsyncClient(owner.sdk)
    else:
        with get_sync_client(url=api, api_key=owner.key) as sync:
            yield SyncClient(sync)


async def test_every_method_of_both_clients_is_called() -> None:
    async with get_client(url="http://127.0.0.1:9") as client:
        assert methods(client) == set(CALLS)
    with get_sync_client(url="http://127.0.0.1:9") as sync:
        assert methods(sync) == set(CALLS)
    assert set(CALLS) >= set(PENDING)


@pytest.mark.parametrize("method", [method for method in CALLS if method not in PENDING])
async def test_the_method_does_what_it_says(method: str, client: Client, scene: Scene) -> None:
    await CALLS[method](client, scene)


@pytest.mark.parametrize("method", PENDING)
async def test_the_method_is_still_not_answered(method: str, client: Client, scene: Scene) -> None:
    try:
        await CALLS[method](client, scene)
    except Exception:  # noqa: BLE001 (however it fails)
        return
    pytest.fail(f"{method} is answered now: take it out of PENDING.")
