"""Namespaces: the paths that items lie under, checked, and as conditions of a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from langgraph.store.base import MatchCondition

from core.errors import InvalidInput

DEEPEST = 20
LONGEST = 1500  # bytes: with the key it must fit into an entry of PostgreSQL's index
LONGEST_KEY = 500  # bytes


class Condition(NamedTuple):
    """A part of a WHERE clause and its values."""

    sql: str
    values: list[object]


ALL = Condition("true", [])


def joined(conditions: Sequence[Condition]) -> Condition:
    """All of the conditions at once."""
    if not conditions:
        return ALL
    sql = " AND ".join(condition.sql for condition in conditions)
    return Condition(sql, [value for condition in conditions for value in condition.values])


def check_namespace(labels: Sequence[str]) -> list[str]:
    """The namespace of an item, when it can be one.

    Raises:
        InvalidInput: it is empty or too long, or a label is.
    """
    if not labels:
        raise InvalidInput("The namespace is empty. Give it at least one label.")
    if labels[0] == "langgraph":
        raise InvalidInput("The namespace may not begin with 'langgraph': LangGraph keeps that for itself.")
    return check_prefix(labels)


def check_prefix(labels: Sequence[str]) -> list[str]:
    """The beginning or end of a namespace, when it can be one; empty: of every namespace.

    Raises:
        InvalidInput: it is too long, or a label is empty or holds a period.
    """
    for label in labels:
        if not label or "." in label:
            raise InvalidInput(f"A namespace cannot have the label {label!r}. Labels are not empty and hold no period.")
    if len(labels) > DEEPEST or sum(len(label.encode()) for label in labels) > LONGEST:
        raise InvalidInput(f"The namespace is too long: at most {DEEPEST} labels with {LONGEST} bytes are possible.")
    return list(labels)


def check_key(key: str) -> str:
    """The key of an item, when it can be one.

    Raises:
        InvalidInput: it is empty or too long.
    """
    if not key or len(key.encode()) > LONGEST_KEY:
        raise InvalidInput(f"A key has 1 to {LONGEST_KEY} bytes.")
    return key


def below(prefix: Sequence[str]) -> Condition:
    """The items of a namespace and of all below it: one range of the index.

    U+0000 cannot be stored, so that nothing lies between a label and the label followed by U+0001 but what begins
    with the label's namespace.
    """
    labels = check_prefix(prefix)
    if not labels:
        return ALL
    return Condition("namespace >= %s AND namespace < %s", [labels, [*labels[:-1], labels[-1] + "\x01"]])


def matching(condition: MatchCondition) -> Condition:
    """The namespaces that begin or end with a path; its label ``*`` is any one label.

    Raises:
        InvalidInput: the path cannot be part of a namespace.
    """
    path = check_prefix(condition.path)
    first = "0" if condition.match_type == "prefix" else "cardinality(namespace) - %s"
    offset = [] if condition.match_type == "prefix" else [len(path)]
    parts = [Condition("cardinality(namespace) >= %s", [len(path)])]
    for place, label in enumerate(path, start=1):
        if label != "*":
            parts.append(Condition(f"namespace[{first} + %s] = %s", [*offset, place, label]))
    return joined(parts)
