"""A metadata filter as a condition of PostgreSQL over ``documents d``, of the version of each that search sees.

The text is put together from constants only; every name and value of the filter is a parameter. A condition is true or
false, never null, so that ``NOT`` means what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString, NamedTuple

from psycopg.types.json import Jsonb

from core.domain import FieldKind
from tools.filter import AllOf, AnyOf, Condition, Filter, Not

COLUMNS: dict[str, LiteralString] = {
    "name": "d.live_name",
    "media_type": "d.live_media_type",
    "size": "d.live_size",
    "created_at": "d.created_at",
    "source": "d.source_id",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COMPARISONS: dict[str, LiteralString] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


class Predicate(NamedTuple):
    """A condition in SQL, and the values of its placeholders."""

    sql: LiteralString
    values: Sequence[Any]


EVERYTHING = Predicate("true", ())


def predicate(checked: Filter) -> Predicate:
    """The condition that holds for the documents that the filter lets through."""
    match checked:
        case Condition():
            return _column(checked) if checked.built_in else _metadata(checked)
        case Not(part):
            return _negated(predicate(part))
        case AllOf(parts):
            return _joined(" AND ", parts) if parts else EVERYTHING
        case AnyOf(parts):
            return _joined(" OR ", parts)


def _joined(word: LiteralString, parts: Sequence[Filter]) -> Predicate:
    made = [predicate(part) for part in parts]
    return Predicate("(" + word.join([part.sql for part in made]) + ")", [v for part in made for v in part.values])


def _negated(made: Predicate) -> Predicate:
    return Predicate("NOT " + made.sql, made.values)


def _column(condition: Condition) -> Predicate:
    column, operand = COLUMNS[condition.field], _parameter(condition.operand)
    match condition.operator:
        case "$exists":
            return Predicate("((" + column + " IS NOT NULL) = %s)", [operand])
        case "$in":
            return Predicate("coalesce(" + column + " = ANY(%s), false)", [operand])
        case "$eq":
            return Predicate("coalesce(" + column + " = %s, false)", [operand])
        case "$nin" | "$ne":
            return _negated(_column(_positive(condition)))
    return Predicate("coalesce(" + column + " " + COMPARISONS[condition.operator] + " %s, false)", [operand])


def _positive(condition: Condition) -> Condition:
    operator = {"$ne": "$eq", "$nin": "$in"}[condition.operator]
    return Condition(condition.path, condition.field, operator, condition.operand, condition.built_in, condition.kind)


def _metadata(condition: Condition) -> Predicate:
    field, operand = condition.field, condition.operand
    match condition.operator:
        case "$exists":
            there: LiteralString = "((coalesce(jsonb_typeof(d.live_metadata -> %s::text), 'null') <> 'null') = %s)"
            return Predicate(there, [field, operand])
        case "$ne" | "$nin":
            return _negated(_metadata(_positive(condition)))
        case "$eq":
            return _any(field, [operand], condition.kind)
        case "$in":
            return _any(field, _values(operand), condition.kind)
        case "$all":
            return Predicate("(d.live_metadata @> %s)", [Jsonb({field: _values(operand)})])
    return _range(condition)


def _any(field: str, values: Sequence[Any], kind: FieldKind | None) -> Predicate:
    """One of the values is the field's, or among the list that the field holds."""
    if kind is FieldKind.DATE:
        return Predicate(
            "coalesce((d.live_moments -> %s::text) = ANY(%s), false)", [field, [_micros(v) for v in values]]
        )
    forms = [Jsonb({field: form}) for value in values for form in (value, [value])]
    return Predicate("(d.live_metadata @> ANY(%s))", [forms])


def _micros(moment: datetime) -> Jsonb:
    """Microseconds since 1970, as ``documents.live_moments`` has them."""
    return Jsonb((moment - EPOCH) // timedelta(microseconds=1))


def _range(condition: Condition) -> Predicate:
    sign = COMPARISONS[condition.operator]
    if isinstance(condition.operand, datetime):
        moment: LiteralString = "coalesce((d.live_moments -> %s::text) " + sign + " %s, false)"
        return Predicate(moment, [condition.field, _micros(condition.operand)])
    # Numbers are compared as JSON, which PostgreSQL does exactly and without a cast that may fail.
    number: LiteralString = (
        "coalesce(jsonb_typeof(d.live_metadata -> %s::text) = 'number' AND (d.live_metadata -> %s::text) "
        + sign
        + " %s, false)"
    )
    return Predicate(number, [condition.field, condition.field, Jsonb(condition.operand)])


def _parameter(operand: Any) -> Any:
    """Numbers of any kind as one kind: a list of mixed ones is none that PostgreSQL knows."""
    if isinstance(operand, list):
        return [_parameter(value) for value in operand]
    return Decimal(str(operand)) if isinstance(operand, int | float) and not isinstance(operand, bool) else operand


def _values(operand: Any) -> list[Any]:
    return list(operand)
