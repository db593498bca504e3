"""Metadata filters: which documents a search may find, in a subset of MongoDB's query language.

    filter    = {field: value | {operator: operand, …}, …, "$and": [filter, …], "$or": [filter, …], "$not": filter}
    operator  = $eq $ne $gt $gte $lt $lte $in $nin $all $exists

All entries of an object must hold. A field is a key of the documents' metadata, or one of what every document has
(`BUILT_IN`), which is meant where both have the name; ``metadata.`` before a name means the key. `parse_filter` reads
the JSON, `check_filter` holds it against the collections' schemas; ``tools.predicate`` asks PostgreSQL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from core.domain import FieldKind, NamedSchema, moment_of
from core.errors import InvalidInput

BUILT_IN: Mapping[str, FieldKind] = {
    "name": FieldKind.STRING,
    "media_type": FieldKind.STRING,
    "size": FieldKind.NUMBER,
    "created_at": FieldKind.DATE,
    "source": FieldKind.STRING,
}
METADATA = "metadata."
MAX_DEPTH = 8
MAX_CONDITIONS = 100
MAX_LIST = 1000
MAX_CHARS = 1000

EQUALITIES = ("$eq", "$ne")
RANGES = ("$gt", "$gte", "$lt", "$lte")
LISTS = ("$in", "$nin", "$all")
OPERATORS = (*EQUALITIES, *RANGES, *LISTS, "$exists")
COMBINATIONS = ("$and", "$or", "$not")

ALLOWED: Mapping[FieldKind, Sequence[str]] = {
    FieldKind.STRING: (*EQUALITIES, "$in", "$nin", "$exists"),
    FieldKind.NUMBER: (*EQUALITIES, *RANGES, "$in", "$nin", "$exists"),
    FieldKind.BOOLEAN: (*EQUALITIES, "$exists"),
    FieldKind.DATE: (*EQUALITIES, *RANGES, "$in", "$nin", "$exists"),
    FieldKind.TAGS: (*EQUALITIES, *LISTS, "$exists"),
}

Scalar: TypeAlias = str | int | float | bool | datetime


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one field. ``path`` says where it stands; ``kind`` is what a schema says of the field."""

    path: str
    field: str
    operator: str
    operand: Scalar | list[Scalar]
    built_in: bool = False
    kind: FieldKind | None = None


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds; without parts it always does."""

    parts: Sequence[Filter]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: Sequence[Filter]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


Filter: TypeAlias = Condition | AllOf | AnyOf | Not


def parse_filter(value: Any) -> Filter:
    """The filter that the JSON value is.

    Raises:
        InvalidInput: naming the path of what is wrong, and what is allowed there.
    """
    parsed = _parse(value, "filter", 1)
    count = len(conditions(parsed))
    if count > MAX_CONDITIONS:
        raise InvalidInput(f"filter: {count} conditions are more than the {MAX_CONDITIONS} that a filter may have.")
    return parsed


def conditions(parsed: Filter) -> list[Condition]:
    """All conditions of a filter, from left to right."""
    match parsed:
        case Condition():
            return [parsed]
        case Not(part):
            return conditions(part)
        case _:
            return [condition for part in parsed.parts for condition in conditions(part)]


def check_filter(parsed: Filter, schemas: Sequence[NamedSchema]) -> Filter:
    """The filter with the kind of each field, as the schemas of the searched collections have it.

    Where every collection has a schema, a field must be in one of them; what a schema says of a field binds.

    Raises:
        InvalidInput: naming the path of what does not fit, and what is allowed there.
    """
    match parsed:
        case Condition():
            return _checked(parsed, schemas)
        case Not(part):
            return Not(check_filter(part, schemas))
        case _:
            return replace(parsed, parts=[check_filter(part, schemas) for part in parsed.parts])


def _parse(value: Any, path: str, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidInput(f"{path}: the filter is nested more than {MAX_DEPTH} levels deep.")
    if not isinstance(value, dict):
        raise InvalidInput(f'{path}: expected an object such as {{"year": {{"$gte": 2020}}}}, got {_kind_of(value)}.')
    parts = [_entry(str(key), entry, f"{path}.{key}", depth) for key, entry in value.items()]
    return parts[0] if len(parts) == 1 else AllOf(parts)


def _entry(key: str, value: Any, path: str, depth: int) -> Filter:
    if key == "$not":
        return Not(_parse(value, path, depth + 1))
    if key in ("$and", "$or"):
        if not isinstance(value, list) or not value:
            raise InvalidInput(f"{path}: expected a list of one or more filters, got {_kind_of(value)}.")
        parts = [_parse(part, f"{path}[{place}]", depth + 1) for place, part in enumerate(value)]
        return AllOf(parts) if key == "$and" else AnyOf(parts)
    if key.startswith("$"):
        raise InvalidInput(
            f"{path}: unknown; {', '.join(COMBINATIONS)} join filters. An operator such as $eq stands below a field, "
            'as in {"year": {"$eq": 2020}}; a field whose name starts with $ is written "metadata.$name".'
        )
    _check_text(key, path)
    built_in = key in BUILT_IN
    field = key.removeprefix(METADATA)
    if not isinstance(value, dict):
        return Condition(f"{path}", field, "$eq", _scalar(value, path), built_in)
    if not value:
        raise InvalidInput(f"{path}: expected a value or operators: {', '.join(OPERATORS)}.")
    parts = [
        Condition(f"{path}.{operator}", field, operator, _operand(operator, operand, f"{path}.{operator}"), built_in)
        for operator, operand in value.items()
    ]
    return parts[0] if len(parts) == 1 else AllOf(parts)


def _operand(operator: str, value: Any, path: str) -> Scalar | list[Scalar]:
    if operator == "$exists":
        if not isinstance(value, bool):
            raise InvalidInput(f"{path}: expected true or false, got {_kind_of(value)}.")
        return value
    if operator in LISTS:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_LIST:
            raise InvalidInput(f"{path}: expected a list of 1 to {MAX_LIST} values, got {_kind_of(value)}.")
        return [_scalar(item, f"{path}[{place}]") for place, item in enumerate(value)]
    if operator in RANGES:
        return _bound(value, path)
    if operator in EQUALITIES:
        return _scalar(value, path)
    raise InvalidInput(f"{path}: unknown operator; allowed: {', '.join(OPERATORS)}.")


def _bound(value: Any, path: str) -> Scalar:
    if isinstance(value, str):
        return _moment(value, path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{path}: expected a number or a date, got {_kind_of(value)}.")
    return _scalar(value, path)


def _moment(value: str, path: str) -> datetime:
    moment = moment_of(value)
    if moment is None:
        raise InvalidInput(
            f"{path}: expected a date as ISO 8601 has it, such as 2024-05-31 or 2024-05-31T18:30:00Z, got another text."
        )
    return moment


def _scalar(value: Any, path: str) -> Scalar:
    if isinstance(value, str):
        _check_text(value, path)
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"{path}: expected a finite number.")
    if isinstance(value, bool | int | float):
        return value
    hint = "; a field without a value is found with $exists" if value is None else ""
    raise InvalidInput(f"{path}: expected a text, a number, true or false, got {_kind_of(value)}{hint}.")


def _check_text(value: str, path: str) -> None:
    if len(value) > MAX_CHARS:
        raise InvalidInput(f"{path[:80]}: a text of more than {MAX_CHARS} characters.")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInput(f"{path!a}: a text with characters that cannot be stored.")


def _kind_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")


def _checked(condition: Condition, schemas: Sequence[NamedSchema]) -> Condition:
    if condition.built_in:
        return _typed(condition, BUILT_IN[condition.field], "")
    found = False
    typed = condition
    for collection, schema in schemas:
        if schema is None:
            found = True
        elif condition.field in schema:
            found = True
            typed = _typed(condition, schema[condition.field], f" in the collection {collection!r}")
    if not found and schemas:
        known = sorted({*BUILT_IN, *(name for _, schema in schemas for name in schema or ())})
        raise InvalidInput(f"{condition.path}: unknown field; the searched collections have: {', '.join(known)}.")
    return typed


def _typed(condition: Condition, kind: FieldKind, where: str) -> Condition:
    """The condition with its kind; the texts of a date become moments."""
    if condition.operator not in ALLOWED[kind]:
        raise InvalidInput(
            f"{condition.path}: {condition.field!r} is a {kind}{where}; allowed: {', '.join(ALLOWED[kind])}."
        )
    if condition.operator == "$exists":
        return replace(condition, kind=kind)
    operand = condition.operand
    if isinstance(operand, list):
        return replace(condition, kind=kind, operand=[_fitting(value, kind, condition, where) for value in operand])
    return replace(condition, kind=kind, operand=_fitting(operand, kind, condition, where))


def _fitting(value: Any, kind: FieldKind, condition: Condition, where: str) -> Scalar:
    if kind is FieldKind.DATE:
        return (
            value if isinstance(value, datetime) else _moment(value if isinstance(value, str) else "", condition.path)
        )
    fits = {
        FieldKind.STRING: isinstance(value, str),
        FieldKind.TAGS: isinstance(value, str),
        FieldKind.BOOLEAN: isinstance(value, bool),
        FieldKind.NUMBER: isinstance(value, int | float) and not isinstance(value, bool),
    }
    if not fits[kind]:
        raise InvalidInput(f"{condition.path}: {condition.field!r} is a {kind}{where}, got another kind of value.")
    fitting: Scalar = value
    return fitting
