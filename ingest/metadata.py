"""Metadata of documents held against their collection's schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.domain import FieldKind, Schema, moment_of
from core.errors import InvalidInput

EXPECTED: Mapping[FieldKind, str] = {
    FieldKind.STRING: "a text",
    FieldKind.NUMBER: "a number",
    FieldKind.BOOLEAN: "true or false",
    FieldKind.DATE: "a date as ISO 8601 has it, such as 2024-05-31 or 2024-05-31T18:30:00Z",
    FieldKind.TAGS: 'a list of texts, such as ["law", "draft"]',
}


def check_metadata(metadata: Mapping[str, Any], schema: Schema | None, collection: str) -> None:
    """Refuse metadata that does not fit the collection's schema; a field may be missing or null.

    Raises:
        InvalidInput: naming the field and what is expected.
    """
    if schema is None:
        return
    for field, value in metadata.items():
        if field not in schema:
            known = ", ".join(sorted(schema)) or "none"
            raise InvalidInput(
                f"The collection {collection!r} has no metadata field {field!r}. Its fields: {known}. Leave the field "
                "out, or add it with PATCH /collections."
            )
        if value is not None and not fits(value, schema[field]):
            raise InvalidInput(
                f"The metadata field {field!r} of the collection {collection!r} is a {schema[field]}: give "
                f"{EXPECTED[schema[field]]}."
            )


def fits(value: Any, kind: FieldKind) -> bool:
    """Whether a JSON value is of the kind."""
    match kind:
        case FieldKind.STRING:
            return isinstance(value, str)
        case FieldKind.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case FieldKind.BOOLEAN:
            return isinstance(value, bool)
        case FieldKind.DATE:
            return isinstance(value, str) and moment_of(value) is not None
        case FieldKind.TAGS:
            return isinstance(value, list) and all(isinstance(tag, str) for tag in value)
