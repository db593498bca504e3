"""Cursors: the place behind the last thing of a page, as an opaque text that fetches the next page."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import orjson

from core.errors import InvalidInput

T = TypeVar("T")


def write_cursor(*place: object) -> str:
    """The values that a list is ordered by, of the last thing of a page."""
    return urlsafe_b64encode(orjson.dumps([str(value) for value in place])).decode()


def read_name(cursor: str) -> str:
    """The name that a cursor stands for.

    Raises:
        InvalidInput: it was not made by us.
    """
    return _read(cursor, lambda name: f"{name}")


def read_moment(cursor: str) -> tuple[datetime, UUID]:
    """The moment and the id that a cursor stands for.

    Raises:
        InvalidInput: it was not made by us.
    """
    return _read(cursor, lambda moment, item: (datetime.fromisoformat(moment), UUID(item)))


def _read(cursor: str, parse: Callable[..., T]) -> T:
    try:
        return parse(*orjson.loads(urlsafe_b64decode(cursor.encode())))
    except (ValueError, TypeError) as error:
        raise InvalidInput("The cursor is not one of ours. Pass 'next_cursor' of the page before.") from error
