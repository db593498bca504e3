"""Lists as the Agent Server protocol pages them: by offset, with the total and the next offset in headers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of a list is asked for, and in which order; ``sort_by`` is a column of ours, never a client's text."""

    limit: int
    offset: int
    sort_by: str
    descending: bool = True

    @property
    def order(self) -> str:
        """The SQL of the order; the id makes it one order only, so that no page repeats a row of another."""
        return f"{self.sort_by} {'DESC' if self.descending else 'ASC'} NULLS LAST, id"


def paged(response: Response, window: Window, total: int) -> None:
    """Say in the headers how many rows there are, and where the next page starts when there is one."""
    response.headers["X-Pagination-Total"] = str(total)
    if window.offset + window.limit < total:
        response.headers["X-Pagination-Next"] = str(window.offset + window.limit)


def selected(rows: Sequence[Mapping[str, Any]], select: Collection[str] | None) -> list[dict[str, Any]]:
    """The rows with the fields that were asked for; ``None``: with all."""
    return [dict(row) if select is None else {key: row[key] for key in row if key in select} for row in rows]
