"""The long-term store over HTTP, as the protocol's client speaks it, and as graphs have it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from langgraph.store.base import GetOp, PutOp, SearchOp
from langgraph_sdk.errors import UnprocessableEntityError

from app.services import Services
from app.store.item import Items, sweep_items
from core.errors import Forbidden, Unavailable
from tests.conftest import Tenant


async def test_an_item_is_put_read_replaced_and_deleted(tenant: Tenant) -> None:
    store = tenant.sdk.store
    await store.put_item(["users", "ann"], "likes", {"food": "figs"})
    first = await store.get_item(["users", "ann"], "likes")
    assert first["value"] == {"food": "figs"}
    assert (first["namespace"], first["key"]) == (["users", "ann"], "likes")
    await store.put_item(["users", "ann"], "likes", {"food": "plums"})
    second = await store.get_item(["users", "ann"], "likes")
    assert second["value"] == {"food": "plums"}
    assert second["created_at"] == first["created_at"]
    assert second["updated_at"] > first["updated_at"]
    await store.delete_item(["users", "ann"], key="likes")
    assert await store.get_item(["users", "ann"], "likes") is None
    await store.delete_item(["users", "ann"], key="likes")


async def test_a_search_finds_what_lies_below_a_namespace_and_fits(tenant: Tenant) -> None:
    store = tenant.sdk.store
    await store.put_item(["a"], "1", {"n": 9, "kind": "x"})
    await store.put_item(["a", "b"], "2", {"n": 10, "kind": "y", "deep": {"here": [1, None]}})
    await store.put_item(["ab"], "3", {"n": 11})

    async def keys(prefix: list[str], **fields: Any) -> list[str]:
        return [item["key"] for item in (await store.search_items(prefix, **fields))["items"]]

    assert await keys(["a"]) == ["2", "1"]
    assert await keys([], limit=2) == ["3", "2"]
    assert await keys([], limit=2, offset=2) == ["1"]
    assert await keys([], filter={"n": {"$gt": 9}}) == ["3", "2"]
    assert await keys([], filter={"n": {"$gte": 9, "$lt": 11}, "kind": {"$ne": "x"}}) == ["2"]
    assert await keys([], filter={"kind": None}) == ["3"]
    assert await keys([], filter={"deep": {"here": [1, None]}}) == ["2"]
    assert await keys([], filter={"kind": {"$lte": "x"}}) == ["1"]


async def test_a_query_finds_by_meaning_and_what_shall_not_be_indexed_is_left_out(tenant: Tenant) -> None:
    store = tenant.sdk.store
    await store.put_item(["memories"], "ship", {"text": "Her brother builds sailing boats."})
    await store.put_item(["memories"], "bread", {"text": "She bakes rye bread on Sundays.", "note": "boats"}, ["text"])
    await store.put_item(["memories"], "hidden", {"text": "Boats, boats, sailing boats."}, index=False)
    await store.put_item(["other"], "elsewhere", {"text": "Sailing boats."})
    found = (await store.search_items(["memories"], query="sailing boats"))["items"]
    assert [item["key"] for item in found] == ["ship", "bread"]
    assert 1 >= float(found[0]["score"] or 0) > float(found[1]["score"] or 0) > -1
    page = (await store.search_items(["memories"], query="sailing boats", limit=1, offset=1))["items"]
    assert [item["key"] for item in page] == ["bread"]
    await store.put_item(["memories"], "ship", {"text": "Her brother paints."}, index=False)
    assert len((await store.search_items(["memories"], query="sailing boats"))["items"]) == 1


async def test_namespaces_are_listed_by_prefix_suffix_and_depth(tenant: Tenant) -> None:
    store = tenant.sdk.store
    for namespace in (["a", "x", "v1"], ["a", "y", "v1"], ["a", "y", "v2"], ["b", "x", "v1"]):
        await store.put_item(namespace, "k", {})

    async def listed(**fields: Any) -> list[list[str]]:
        return (await store.list_namespaces(**fields))["namespaces"]

    assert await listed(prefix=["a"], max_depth=2) == [["a", "x"], ["a", "y"]]
    assert await listed(suffix=["v1"], limit=2) == [["a", "x", "v1"], ["a", "y", "v1"]]
    assert await listed(prefix=["*", "x"]) == [["a", "x", "v1"], ["b", "x", "v1"]]
    assert await listed(offset=3) == [["b", "x", "v1"]]


async def test_what_has_expired_is_gone_and_reading_lets_the_time_begin_anew(
    tenant: Tenant, services: Services
) -> None:
    store = tenant.sdk.store
    await store.put_item(["t"], "short", {}, ttl=1)
    await store.put_item(["t"], "long", {})

    async def age(minutes: float) -> None:
        async with services.pool.connection() as connection:
            await connection.execute(
                "UPDATE store_items SET expires_at = expires_at - make_interval(secs => %s) WHERE tenant_id = %s",
                (60 * minutes, tenant.principal.tenant),
            )

    await age(0.7)
    assert await store.get_item(["t"], "short", refresh_ttl=False) is not None
    assert await store.get_item(["t"], "short") is not None
    await age(0.7)
    assert await store.get_item(["t"], "short", refresh_ttl=False) is not None
    await age(0.7)
    assert await store.get_item(["t"], "short") is None
    assert [item["key"] for item in (await store.search_items(["t"]))["items"]] == ["long"]
    assert await sweep_items(services.pool) >= 1
    assert await rows(services, tenant) == 1


async def rows(services: Services, tenant: Tenant) -> int:
    async with services.pool.connection() as connection:
        cursor = await connection.execute("SELECT FROM store_items WHERE tenant_id = %s", (tenant.principal.tenant,))
        return cursor.rowcount


@pytest.mark.parametrize(
    "item",
    [
        {"namespace": [], "key": "k", "value": {}},
        {"namespace": ["langgraph"], "key": "k", "value": {}},
        {"namespace": ["a.b"], "key": "k", "value": {}},
        {"namespace": [""], "key": "k", "value": {}},
        {"namespace": ["a" * 1501], "key": "k", "value": {}},
        {"namespace": ["a"], "key": "k" * 501, "value": {}},
        {"namespace": ["a"], "key": "k", "value": {"a": "\x00"}},
        {"namespace": ["a"], "key": "k", "value": {}, "ttl": 0},
        {"namespace": ["a"], "key": "k", "value": {}, "ttl": 1e300},
        {"namespace": ["a"], "key": "k", "value": {"t": ["x"] * 99}, "index": ["t[*]"]},
        {"namespace": ["a"], "key": "k", "value": None},
    ],
)
async def test_an_item_that_cannot_be_is_refused(tenant: Tenant, item: dict[str, Any]) -> None:
    response = await tenant.http.put("/store/items", json=item)
    assert response.status_code == 422, response.text
    assert (await tenant.http.post("/store/items/search", json={})).json() == {"items": []}


@pytest.mark.parametrize("wanted", [{"a": {"$like": 1}}, {"a": {"$gt": None}}, {"a": {"$gt": True}}])
async def test_a_filter_that_cannot_be_is_refused(tenant: Tenant, wanted: dict[str, Any]) -> None:
    with pytest.raises(UnprocessableEntityError, match="operator"):
        await tenant.sdk.store.search_items([], filter=wanted)


async def test_the_longest_place_fits(tenant: Tenant, services: Services) -> None:
    namespace, key = [f"{number:02}" + "é" * 36 for number in range(20)], "ü" * 250
    await tenant.sdk.store.put_item(namespace, key, {"a": 1})
    assert (await tenant.sdk.store.get_item(namespace, key))["value"] == {"a": 1}


async def test_the_store_is_the_tenants(tenant: Tenant, stranger: Tenant, colleague: Tenant, viewer: Tenant) -> None:
    await tenant.sdk.store.put_item(["a"], "k", {"text": "ours"})
    assert await stranger.sdk.store.get_item(["a"], "k") is None
    assert (await stranger.sdk.store.search_items([], query="ours"))["items"] == []
    assert (await stranger.sdk.store.list_namespaces())["namespaces"] == []
    await stranger.sdk.store.delete_item(["a"], key="k")
    await stranger.sdk.store.put_item(["a"], "k", {"text": "theirs"})
    assert (await colleague.sdk.store.get_item(["a"], "k"))["value"] == {"text": "ours"}
    assert (await viewer.sdk.store.get_item(["a"], "k"))["value"] == {"text": "ours"}
    put = await viewer.http.put("/store/items", json={"namespace": ["a"], "key": "k", "value": {}})
    assert put.status_code == 403
    deleted = await viewer.http.request("DELETE", "/store/items", json={"namespace": ["a"], "key": "k"})
    assert deleted.status_code == 403


async def test_a_graph_has_the_store_of_its_runs_tenant(tenant: Tenant, stranger: Tenant) -> None:
    async def told(who: Tenant, text: str) -> str:
        question: Any = {"messages": [{"role": "user", "content": text}]}
        state: Any = await who.sdk.runs.wait(None, "remembers", input=question, context={"name": "n"})
        return str(state["messages"][-1]["content"])

    assert await told(tenant, "one") == "one"
    assert await told(stranger, "two") == "two"
    assert await told(tenant, "three") == "one, three"
    assert (await tenant.sdk.store.get_item(["notes", "n"], "one"))["value"] == {"text": "one"}


async def test_outside_of_a_run_a_graphs_store_gives_nothing(services: Services) -> None:
    with pytest.raises(Forbidden, match="no run"):
        await services.memory.aget(("a",), "k")


async def test_items_of_another_embedder_are_found_when_they_are_embedded_anew(
    tenant: Tenant, services: Services
) -> None:
    await tenant.sdk.store.put_item(["m"], "k", {"text": "sailing boats"})
    async with services.pool.connection() as connection:
        await connection.execute(
            "UPDATE store_vectors SET embedder = 'another' WHERE item_id IN "
            "(SELECT id FROM store_items WHERE tenant_id = %s)",
            (tenant.principal.tenant,),
        )
    assert (await tenant.sdk.store.search_items(["m"], query="boats"))["items"] == []
    assert await services.items.renew(1000) >= 1
    assert [item["key"] for item in (await tenant.sdk.store.search_items(["m"], query="boats"))["items"]] == ["k"]
    assert await services.items.renew(1000) == 0


async def test_without_pgvector_items_are_kept_and_a_query_says_what_is_missing(
    tenant: Tenant, services: Services
) -> None:
    plain = Items(services.pool, services.embedder, services.settings.store, vectors=False)
    put, get = PutOp(("p",), "k", {"text": "sailing boats"}), GetOp(("p",), "k")
    assert (await plain.carry_out(tenant.principal.tenant, [put, get]))[1] is not None
    with pytest.raises(Unavailable, match="CREATE EXTENSION vector"):
        await plain.carry_out(tenant.principal.tenant, [SearchOp(("p",), query="boats")])
    await services.items.renew(1000)
    assert [item["key"] for item in (await tenant.sdk.store.search_items(["p"], query="boats"))["items"]] == ["k"]


async def test_of_several_operations_all_take_place_or_none(tenant: Tenant, services: Services) -> None:
    with pytest.raises(Exception, match="empty"):
        await services.items.carry_out(tenant.principal.tenant, [PutOp(("a",), "k", {}), PutOp((), "k", {})])
    assert await rows(services, tenant) == 0


async def test_a_tenants_bad_request_fails_nobody_elses(tenant: Tenant, stranger: Tenant) -> None:
    bad = {"namespace": ["a"], "key": "k", "value": {"a": "\x00"}}
    good = {"namespace": ["a"], "key": "k", "value": {"a": 1}}
    answers: list[httpx.Response] = await asyncio.gather(
        *(who.http.put("/store/items", json=item) for who, item in [(tenant, bad), (stranger, good)] * 4)
    )
    assert [answer.status_code for answer in answers] == [422, 204] * 4
