"""The metadata filter of a request, held against the schemas of the collections that it may search."""

from __future__ import annotations

from typing import Any

from core.domain import Scope
from ingest.collection import Collections
from tools.filter import Filter, check_filter, parse_filter


async def read_filter(value: dict[str, Any], scope: Scope, collections: Collections) -> Filter:
    """The filter that the JSON value is.

    Raises:
        InvalidInput: naming the path of what does not fit.
    """
    parsed = parse_filter(value)
    return check_filter(parsed, await collections.schemas(scope))
