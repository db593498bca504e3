"""Our store and LangGraph's own, in memory: the same operations give the same."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import Item, ListNamespacesOp, MatchCondition, Op, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from app.services import Services
from core.domain import TenantId

LABELS = st.sampled_from(["a", "b", "ab", "a%", "_", "A", "é", "\x01"])
PATHS = st.lists(LABELS, max_size=3).map(tuple)
SCALARS = st.none() | st.integers(-2, 11) | st.sampled_from(["", "a", "9", "ä"])
VALUES = st.fixed_dictionaries(
    {"n": st.integers(-2, 11)},
    optional={
        "x": SCALARS,
        "list": st.lists(SCALARS, max_size=2),
        "deep": st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2),
    },
)
ORDERS = st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$ne", "$eq"]), st.integers(-2, 11), min_size=1)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "n": ORDERS | st.integers(-2, 11),
        "x": SCALARS | SCALARS.map(lambda value: {"$ne": value}) | SCALARS.map(lambda value: {"$eq": value}),
        "list": st.lists(SCALARS, max_size=2),
        "deep": st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2),
    },
)
WRITES = st.lists(
    st.tuples(PATHS.filter(bool), st.sampled_from(["k", "l"]), st.none() | VALUES), min_size=1, max_size=8
)
PLACES = st.lists(LABELS | st.just("*"), max_size=2).map(tuple)


def said(items: Any) -> dict[tuple[tuple[str, ...], str], Mapping[str, Any]]:
    """Items by where they are; their order is each store's own."""
    return {(item.namespace, item.key): item.value for item in items}


def left_of(items: list[Item]) -> InMemoryStore:
    """A store in memory that never had anything else: one that had still lists the namespaces of what is gone."""
    store = InMemoryStore()
    store.batch([PutOp(item.namespace, item.key, item.value) for item in items])
    return store


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITES, PATHS, FILTERS, PLACES, PLACES, st.none() | st.integers(1, 3))
async def test_both_stores_give_the_same(
    services: Services,
    writes: list[tuple[tuple[str, ...], str, dict[str, Any] | None]],
    prefix: tuple[str, ...],
    wanted: dict[str, Any],
    start: tuple[str, ...],
    end: tuple[str, ...],
    depth: int | None,
) -> None:
    tenant = TenantId(uuid.uuid4())
    async with services.pool.connection() as connection:
        await connection.execute("INSERT INTO tenants (id, name) VALUES (%s, %s)", (tenant, str(tenant)))
    puts = [PutOp(namespace, key, value, index=False) for namespace, key, value in writes]
    theirs = InMemoryStore()
    for put in puts:
        theirs.batch([put])
    await services.items.carry_out(tenant, puts)
    everything: Any = theirs.batch([SearchOp((), limit=100)])[0]
    conditions = tuple(MatchCondition("prefix" if path is start else "suffix", path) for path in (start, end) if path)
    questions: list[Op] = [
        SearchOp((), limit=100),
        SearchOp(prefix, wanted, limit=100),
        ListNamespacesOp(conditions, depth),
    ]
    ours: list[Any] = await services.items.carry_out(tenant, questions)
    expected: list[Any] = left_of(everything).batch(questions)
    assert said(ours[0]) == said(expected[0])
    assert said(ours[1]) == said(expected[1])
    assert set(ours[2]) == set(expected[2])
    pages: list[Any] = await services.items.carry_out(
        tenant, [SearchOp((), limit=2, offset=offset) for offset in range(0, len(everything), 2)]
    )
    assert [item.key for page in pages for item in page] == [item.key for item in ours[0]]
