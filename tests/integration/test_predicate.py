"""Filters asked of PostgreSQL let through what a plain reading of the same filter does."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from app.services import prepare_database
from core.database import open_pool
from core.domain import FieldKind, NamedSchema, moment_of
from core.settings import DatabaseSettings
from tools.filter import AllOf, AnyOf, Condition, Filter, Not, check_filter, parse_filter
from tools.predicate import EPOCH, predicate

Connection = psycopg.AsyncConnection[DictRow]
FIELDS = ("author", "year", "draft", "published", "topics", "weird \"field'; --", "$x", "name", "0")
SCHEMA = {"published": FieldKind.DATE}


class Row(NamedTuple):
    """A document as the evaluator sees it."""

    name: str
    media_type: str
    size: int
    created_at: datetime
    source: str | None
    metadata: dict[str, Any]


@pytest.fixture(scope="module")
async def connection(postgres: str) -> AsyncIterator[Connection]:
    """A transaction in which documents come and go."""
    async with open_pool(DatabaseSettings.model_validate({"url": postgres})) as pool:
        await prepare_database(pool)
    async with await psycopg.AsyncConnection[DictRow].connect(postgres, row_factory=dict_row) as connection:
        yield connection
        await connection.rollback()


SCALARS = (
    st.sampled_from(
        ["Ann", "Bob", "law", "2024-05-31", "2024-05-31T00:00:00Z", "2024-06-01T02:00:00+02:00", "", "true"]
    )
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0, 2.5, 2024, 2**60])
    | st.booleans()
)
VALUES = SCALARS | st.none() | st.lists(SCALARS, max_size=3) | st.just({"nested": 1}) | st.sampled_from(["2023-02-29"])
ROWS = st.builds(
    Row,
    st.sampled_from(["a.pdf", "b.md"]),
    st.sampled_from(["application/pdf", "text/markdown"]),
    st.integers(0, 5),
    st.sampled_from([datetime(2024, 5, 31, tzinfo=UTC), datetime(2024, 6, 1, 12, tzinfo=UTC)]),
    st.sampled_from([None, "file"]),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5),
)
DATES = st.sampled_from(["2024-05-31", "2024-06-01", "2024-05-31T12:00:00+02:00"])
BOUNDS = st.integers(-3, 3) | st.sampled_from([0.5, 2023.5]) | DATES
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), SCALARS),
    st.tuples(st.sampled_from(["$in", "$nin", "$all"]), st.lists(SCALARS, min_size=1, max_size=3)),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), BOUNDS),
    st.tuples(st.just("$exists"), st.booleans()),
)
OF_DATES = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), DATES),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(DATES, min_size=1, max_size=3)),
)
OF_SIZE = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), st.integers(0, 5) | st.just(2.5)),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(st.integers(0, 5) | st.just(2.5), min_size=1)),
)
OF_TEXT = st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(st.sampled_from(["a.pdf", "text/markdown"]), min_size=1))

SOURCES = st.sampled_from(["file:0", "file:1", "file"])
OF_SOURCE = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), SOURCES),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(SOURCES, min_size=1)),
    st.tuples(st.just("$exists"), st.booleans()),
)


def entries(fields: Sequence[str], operations: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda f, o: {f: dict(o)}, st.sampled_from(fields), st.lists(operations, min_size=1, max_size=2))


LEAVES = st.one_of(
    entries(["metadata." + field for field in FIELDS if field != "published"], OPERATIONS),
    entries(["published", "created_at"], OF_DATES | st.tuples(st.just("$exists"), st.booleans())),
    entries(["size"], OF_SIZE),
    entries(["name", "media_type"], OF_TEXT),
    entries(["source"], OF_SOURCE),
)
FILTERS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    LEAVES | st.just({}),
    lambda inner: (
        st.builds(lambda f: {"$not": f}, inner)
        | st.builds(lambda word, parts: {word: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1))
        | st.builds(lambda a, b: {**a, **b}, inner, inner)
    ),
    max_leaves=6,
)


def same(stored: Any, asked: Any) -> bool:
    return isinstance(stored, bool) == isinstance(asked, bool) and bool(stored == asked)


def holds(wanted: Filter, row: Row) -> bool:
    """What the filter means, said once more in Python."""
    match wanted:
        case Condition():
            return condition_holds(wanted, row)
        case Not(part):
            return not holds(part, row)
        case AllOf(parts):
            return all(holds(part, row) for part in parts)
        case AnyOf(parts):
            return any(holds(part, row) for part in parts)


def condition_holds(condition: Condition, row: Row) -> bool:
    operator = condition.operator
    if operator in ("$ne", "$nin"):
        positive = {"$ne": "$eq", "$nin": "$in"}[operator]
        return not condition_holds(
            Condition("", condition.field, positive, condition.operand, condition.built_in, condition.kind), row
        )
    stored = getattr(row, condition.field) if condition.built_in else row.metadata.get(condition.field)
    if operator == "$exists":
        return (stored is not None) == condition.operand
    if operator in ("$gt", "$gte", "$lt", "$lte"):
        return in_range(stored, operator, condition.operand)
    if condition.kind is FieldKind.DATE and not condition.built_in:
        stored = moment_of(stored) if isinstance(stored, str) else None
    held = stored if isinstance(stored, list) else [stored]
    asked = condition.operand if isinstance(condition.operand, list) else [condition.operand]
    if operator == "$all":
        return isinstance(stored, list) and all(any(same(h, a) for h in held) for a in asked)
    return any(same(h, a) for h in held for a in asked)


def in_range(stored: Any, operator: str, bound: Any) -> bool:
    if isinstance(bound, datetime) and isinstance(stored, str):
        stored = moment_of(stored)
    if isinstance(stored, bool) or not isinstance(stored, datetime if isinstance(bound, datetime) else int | float):
        return False
    return bool(
        {"$gt": stored > bound, "$gte": stored >= bound, "$lt": stored < bound, "$lte": stored <= bound}[operator]
    )


async def passing(connection: Connection, rows: Sequence[Row], wanted: Filter) -> list[int]:
    """The places of the rows that PostgreSQL lets through."""
    sql, values = predicate(wanted)
    async with connection.transaction(force_rollback=True):
        tenant, collection = uuid.uuid4(), uuid.uuid4()
        await connection.execute("INSERT INTO tenants (id, name) VALUES (%s, %s)", (tenant, str(tenant)))
        await connection.execute(
            "INSERT INTO collections (id, tenant_id, name, embedder, embedder_revision, dimension, chunker, "
            "chunker_options, lexical) VALUES (%s, %s, 'c', '', '', 1, '', '{}', '')",
            (collection, tenant),
        )
        async with connection.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO documents (tenant_id, collection_id, sha256, live_name, live_media_type, live_size, "
                "created_at, source_id, live_metadata, name, media_type, size, metadata, blob) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, "
                # A newer version that waits: nothing of it counts.
                "'b.md', 'text/x', 2, '{\"author\": \"Ann\", \"year\": 3}', '')",
                [(tenant, collection, str(n), *row[:5], Jsonb(row.metadata)) for n, row in enumerate(rows)],
            )
        found = await connection.execute(
            "SELECT d.sha256 FROM documents d WHERE d.tenant_id = %s AND " + sql, [tenant, *values]
        )
        return sorted(int(row["sha256"]) for row in await found.fetchall())


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rows=st.lists(ROWS, max_size=8), value=FILTERS)
async def test_a_filter_lets_through_what_brute_force_does(
    connection: Connection, rows: list[Row], value: dict[str, Any]
) -> None:
    # A source has one document.
    rows = [row._replace(source=row.source and f"{row.source}:{n}") for n, row in enumerate(rows)]
    wanted = check_filter(parse_filter(value), [NamedSchema("c", SCHEMA), NamedSchema("free", None)])
    expected = [place for place, row in enumerate(rows) if holds(wanted, row)]
    assert await passing(connection, rows, wanted) == expected


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.from_regex(
        r"[0-2]\d{3}-[01]\d-[0-3]\d(T[0-2]\d:[0-6]\d(:[0-6]\d)?(\.\d{1,7})?(Z|[+-][01]\d:[0-6]\d)?)?", fullmatch=True
    )
    | st.sampled_from(["now", "infinity", "2024-02-29", "2023-02-29", "٢٠٢٤-٠٥-٠١", "2024-05-31\n"])
)
async def test_the_database_reads_dates_as_the_program_does(connection: Connection, text: str) -> None:
    # In a session of another zone, because what is stored must not depend on it.
    query = "SELECT moments_of(jsonb_build_object('at', %s::text, 'n', 7)) AS moments"
    async with connection.transaction(force_rollback=True):
        await connection.execute("SET LOCAL timezone = 'America/Caracas'")
        row = await (await connection.execute(query, (text,))).fetchone()
    assert row is not None
    moment = moment_of(text)
    assert row["moments"] == ({} if moment is None else {"at": (moment - EPOCH) // timedelta(microseconds=1)})


async def test_a_list_is_let_through_by_one_of_its_values(connection: Connection) -> None:
    moment = datetime(2024, 5, 31, tzinfo=UTC)
    fields: list[dict[str, Any]] = [{"t": ["law", 7]}, {"t": "law"}, {"t": []}, {}, {"t": [["law"]]}]
    rows = [Row("a", "text/plain", 1, moment, None, metadata) for metadata in fields]
    for value, expected in (
        ({"t": "law"}, [0, 1]),
        ({"t": {"$in": [7, 8]}}, [0]),
        ({"t": {"$ne": "law"}}, [2, 3, 4]),
        ({"t": {"$all": ["law", 7]}}, [0]),
        ({"t": {"$exists": True}}, [0, 1, 2, 4]),
    ):
        wanted = check_filter(parse_filter(value), [])
        assert (value, await passing(connection, rows, wanted)) == (value, expected)
