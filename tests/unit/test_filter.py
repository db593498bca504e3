from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import FieldKind, NamedSchema, moment_of
from core.errors import InvalidInput
from tools.filter import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    AllOf,
    AnyOf,
    Condition,
    Not,
    check_filter,
    conditions,
    parse_filter,
)

SCHEMA = {
    "author": FieldKind.STRING,
    "year": FieldKind.NUMBER,
    "draft": FieldKind.BOOLEAN,
    "published": FieldKind.DATE,
    "topics": FieldKind.TAGS,
}
ACME = NamedSchema("reports", SCHEMA)


def refusal(value: Any, *schemas: NamedSchema) -> str:
    with pytest.raises(InvalidInput) as caught:
        check_filter(parse_filter(value), schemas)
    return str(caught.value)


def test_a_value_stands_for_equality() -> None:
    assert parse_filter({"year": 2024}) == Condition("filter.year", "year", "$eq", 2024)


def test_the_entries_of_an_object_must_all_hold() -> None:
    parsed = parse_filter({"year": {"$gte": 2020, "$lt": 2024}, "author": "Ann"})
    assert parsed == AllOf(
        [
            AllOf(
                [
                    Condition("filter.year.$gte", "year", "$gte", 2020),
                    Condition("filter.year.$lt", "year", "$lt", 2024),
                ]
            ),
            Condition("filter.author", "author", "$eq", "Ann"),
        ]
    )
    assert parse_filter({}) == AllOf([])


def test_filters_are_joined_and_negated() -> None:
    parsed = parse_filter({"$or": [{"year": 1}, {"$not": {"year": 2}}]})
    assert parsed == AnyOf(
        [
            Condition("filter.$or[0].year", "year", "$eq", 1),
            Not(Condition("filter.$or[1].$not.year", "year", "$eq", 2)),
        ]
    )


def test_what_every_document_has_is_meant_where_metadata_has_the_same_name() -> None:
    (built_in,) = conditions(parse_filter({"name": "a.pdf"}))
    (metadata,) = conditions(parse_filter({"metadata.name": "a.pdf"}))
    assert (built_in.field, built_in.built_in) == ("name", True)
    assert (metadata.field, metadata.built_in) == ("name", False)


def test_the_bounds_of_a_range_of_texts_are_dates() -> None:
    (condition,) = conditions(parse_filter({"published": {"$gte": "2024-05-31"}}))
    assert condition.operand == datetime(2024, 5, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "path", "hint"),
    [
        ([], "filter:", "expected an object"),
        ({"$and": []}, "filter.$and:", "one or more"),
        ({"$and": {"a": 1}}, "filter.$and:", "a list of one or more filters, got an object"),
        ({"$or": [{"a": 1}, 5]}, "filter.$or[1]:", "expected an object"),
        ({"$nor": [{"a": 1}]}, "filter.$nor:", "$and, $or, $not"),
        ({"$eq": 5}, "filter.$eq:", "below a field"),
        ({"year": {}}, "filter.year:", "$gte"),
        ({"year": {"$near": 5}}, "filter.year.$near:", "$eq, $ne"),
        ({"year": {"gte": 5}}, "filter.year.gte:", "unknown operator"),
        ({"year": {"$gte": True}}, "filter.year.$gte:", "a number or a date"),
        ({"year": {"$gte": "last year"}}, "filter.year.$gte:", "ISO 8601"),
        ({"year": {"$gte": "2024-02-30"}}, "filter.year.$gte:", "ISO 8601"),
        ({"year": None}, "filter.year:", "$exists"),
        ({"year": {"$eq": [1]}}, "filter.year.$eq:", "got a list"),
        ({"year": {"$in": []}}, "filter.year.$in:", "1 to 1000"),
        ({"year": {"$in": [1, None]}}, "filter.year.$in[1]:", "got null"),
        ({"year": {"$in": [0] * 1001}}, "filter.year.$in:", "1 to 1000"),
        ({"year": {"$exists": 1}}, "filter.year.$exists:", "true or false"),
        ({"year": float("inf")}, "filter.year:", "finite"),
        ({"year": "x" * 1001}, "filter.year:", "1000 characters"),
        ({"year": "a\0b"}, "filter.year", "cannot be stored"),
        ({"year": "a\ud800b"}, "filter.year", "cannot be stored"),
        ({"size": "big"}, "filter.size:", "'size' is a number"),
        ({"name": {"$gt": 5}}, "filter.name.$gt:", "'name' is a string; allowed: $eq, $ne, $in"),
        ({"created_at": 5}, "filter.created_at:", "ISO 8601"),
    ],
)
def test_a_refusal_names_the_path_and_what_is_allowed(value: Any, path: str, hint: str) -> None:
    message = refusal(value)
    assert path in message
    assert hint in message


def test_depth_and_size_are_bounded() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(MAX_DEPTH):
        deep = {"$not": deep}
    assert "nested more than 8" in refusal(deep)
    assert parse_filter(deep["$not"])
    wide = {"$or": [{"a": number} for number in range(MAX_CONDITIONS + 1)]}
    assert "101 conditions" in refusal(wide)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ({"autor": "Ann"}, "the searched collections have: author, created_at, draft"),
        ({"author": {"$gt": 5}}, "'author' is a string in the collection 'reports'; allowed: $eq, $ne, $in, $nin"),
        ({"author": 5}, "'author' is a string"),
        ({"year": "2024"}, "'year' is a number"),
        ({"year": True}, "'year' is a number"),
        ({"draft": 1}, "'draft' is a boolean"),
        ({"draft": {"$in": [True]}}, "allowed: $eq, $ne, $exists"),
        ({"published": "soon"}, "ISO 8601"),
        ({"topics": {"$all": [1]}}, "'topics' is a tags"),
        ({"topics": {"$gt": 1}}, "'topics' is a tags"),
        ({"author": {"$all": ["Ann"]}}, "'author' is a string"),
    ],
)
def test_what_does_not_fit_the_schema_is_refused(value: Any, hint: str) -> None:
    assert hint in refusal(value, ACME)


def test_what_fits_the_schema_gets_its_kind() -> None:
    value = {
        "author": {"$in": ["Ann", "Bob"]},
        "year": {"$gte": 2020.5},
        "draft": False,
        "published": {"$eq": "2024-05-31", "$exists": True},
        "topics": {"$all": ["law"]},
    }
    checked = conditions(check_filter(parse_filter(value), [ACME]))
    assert [condition.kind for condition in checked] == ["string", "number", "boolean", "date", "date", "tags"]
    assert checked[3].operand == datetime(2024, 5, 31, tzinfo=UTC)


def test_a_collection_without_a_schema_lets_every_field_through() -> None:
    free = NamedSchema("notes", None)
    assert check_filter(parse_filter({"colour": "red"}), [free, ACME]) == parse_filter({"colour": "red"})
    assert "'year' is a number" in refusal({"year": "2024"}, free, ACME)


def test_collections_that_disagree_about_a_field_are_named() -> None:
    other = NamedSchema("letters", {"year": FieldKind.STRING})
    assert "in the collection 'letters'" in refusal({"year": 2024}, ACME, other)


@pytest.mark.parametrize(
    "text",
    [
        "2024",
        "2024-5-1",
        "2024-13-01",
        "2023-02-29",
        "0000-01-01",
        "20240501",
        "2024-05-01 10:00",
        "2024-05-01T24:00",
        "2024-05-01T10:00:60",
        "2024-05-01T10",
        "now",
        "2024-05-01Z",
        "٢٠٢٤-٠٥-٠١",
        "2024-05-01\n",
        "",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert moment_of(text) is None


def test_a_date_is_its_first_moment_and_a_time_without_a_zone_is_in_utc() -> None:
    assert moment_of("2024-02-29") == datetime(2024, 2, 29, tzinfo=UTC)
    assert moment_of("2024-02-29T10:30") == datetime(2024, 2, 29, 10, 30, tzinfo=UTC)
    assert moment_of("2024-02-29T10:30:05.25+05:30") == datetime(
        2024, 2, 29, 10, 30, 5, 250_000, tzinfo=timezone(timedelta(hours=5, minutes=30))
    )


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_moment_is_read_as_it_was_written(moment: datetime) -> None:
    assert moment_of(moment.isoformat()) == moment
    assert moment_of(moment.date().isoformat()) == moment.replace(hour=0, minute=0, second=0, microsecond=0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["$and", "$or", "$not", "$eq", "$in", "$gte", "$exists", "a", "size"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_filter_or_refused_with_its_path(value: Any) -> None:
    message = None
    try:
        parsed = check_filter(parse_filter(value), [])
    except InvalidInput as error:
        message = str(error)
    else:
        assert isinstance(value, dict)
        assert all(condition.path.startswith("filter.") for condition in conditions(parsed))
    if message is not None:
        assert "filter" in message
        message.encode()
