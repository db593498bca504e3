"""The filter of a search in the store, as LangGraph's stores have it: equality, ``$ne`` and the order of two values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.store.namespace import Condition, joined
from core.errors import InvalidInput

ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
DEEPEST = 20


def filter_condition(wanted: Mapping[str, Any]) -> Condition:
    """The items whose value fits; numbers are ordered as numbers and texts as texts, other pairs do not fit.

    Raises:
        InvalidInput: an operator or what it is given is not possible.
    """
    return joined([_fits((name,), value) for name, value in wanted.items()])


def _fits(path: tuple[str, ...], wanted: Any) -> Condition:
    if not isinstance(wanted, Mapping):
        return _equals(path, wanted)
    if len(path) > DEEPEST:
        raise InvalidInput(f"The filter is nested more than {DEEPEST} times.")
    if any(name.startswith("$") for name in wanted):
        return joined([_compares(path, name, value) for name, value in wanted.items()])
    place = _place(path)
    is_object = Condition(f"jsonb_typeof({place.sql}) = 'object'", place.values)
    return joined([is_object, *(_fits((*path, name), value) for name, value in wanted.items())])


def _compares(path: tuple[str, ...], operator: str, wanted: Any) -> Condition:
    if operator == "$eq":
        return _equals(path, wanted)
    if operator == "$ne":
        equal = _equals(path, wanted)
        return Condition(f"({equal.sql}) IS NOT TRUE", equal.values)
    if operator not in ORDER:
        raise InvalidInput(f"The filter's operator {operator!r} is not known. There are: $eq, $ne, {', '.join(ORDER)}.")
    if isinstance(wanted, bool) or not isinstance(wanted, int | float | str):
        raise InvalidInput(f"The filter's operator {operator!r} takes a number or a text.")
    place = _place(path)
    kind = "string" if isinstance(wanted, str) else "number"
    return Condition(
        f"(jsonb_typeof({place.sql}) = '{kind}' AND {place.sql} {ORDER[operator]} %s::jsonb)",
        [*place.values, *place.values, _json(wanted)],
    )


def _equals(path: tuple[str, ...], wanted: Any) -> Condition:
    place = _place(path)
    if wanted is None:
        return Condition(f"coalesce({place.sql}, 'null') = 'null'", place.values)
    return Condition(f"{place.sql} = %s::jsonb", [*place.values, _json(wanted)])


def _place(path: tuple[str, ...]) -> Condition:
    return Condition("value" + " -> %s::text" * len(path), list(path))


def _json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput("The filter holds a value that JSON does not have.") from error
