"""Crons as rows, seen by their own principal only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from app.crons.schedule import check_schedule, next_tick
from app.listing import Window
from core.database import Pool
from core.domain import Principal
from core.errors import InvalidInput, NotFound

COLUMNS = (
    "id AS cron_id, assistant_id, thread_id, principal_id AS user_id, schedule, timezone, end_time, enabled, "
    "CASE WHEN thread_id IS NULL THEN on_run_completed END AS on_run_completed, payload, metadata, "
    "CASE WHEN enabled THEN next_run_at END AS next_run_date, last_run_at, last_error, created_at, updated_at"
)
SORTS = {
    "cron_id": "id",
    "assistant_id": "assistant_id",
    "thread_id": "thread_id",
    "next_run_date": "next_run_at",
    "end_time": "end_time",
    "created_at": "created_at",
    "updated_at": "updated_at",
}
OWN = "tenant_id = %s AND principal_id = %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class CronContent:
    """What a cron says; ``payload`` is what each of its runs is asked to do."""

    assistant: UUID
    thread: UUID | None
    schedule: str
    timezone: str | None = None
    end_time: datetime | None = None
    enabled: bool = True
    on_run_completed: str = "delete"
    payload: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """The content in its columns, and the next moment at which it is due.

        Raises:
            InvalidInput: the schedule is not possible, or ends before it begins.
        """
        check_schedule(self.schedule, self.timezone)
        due = next_tick(self.schedule, self.timezone, datetime.now(UTC))
        if self.end_time is not None and self.end_time.tzinfo is None:
            raise InvalidInput("end_time has no time zone. Write it like 2026-12-31T18:00:00Z.")
        if due is not None and self.end_time is not None and due > self.end_time:
            due = None
        return {
            "assistant_id": self.assistant,
            "schedule": self.schedule,
            "timezone": self.timezone,
            "end_time": self.end_time,
            "enabled": self.enabled,
            "on_run_completed": self.on_run_completed,
            "payload": Jsonb(self.payload),
            "metadata": Jsonb(self.metadata),
            "next_run_at": due,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CronFilter:
    """Which crons fit; ``metadata`` is what they hold."""

    assistant: UUID | None = None
    thread: UUID | None = None
    enabled: bool | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Crons:
    """The rows of ``crons``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, principal: Principal, content: CronContent) -> dict[str, Any]:
        """Make a cron.

        Raises:
            InvalidInput: its schedule is not possible.
        """
        values = {"tenant_id": principal.tenant, "principal_id": principal.id, "thread_id": content.thread}
        values |= content.values()
        places = ", ".join(f"%({name})s" for name in values)
        query = f"INSERT INTO crons ({', '.join(values)}) VALUES ({places}) RETURNING {COLUMNS}"  # noqa: S608
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), values)
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 (an insertion gives its row)
        return dict(row)

    async def get(self, principal: Principal, cron: UUID) -> dict[str, Any]:
        """One cron.

        Raises:
            NotFound: the principal has no such cron.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {COLUMNS} FROM crons WHERE id = %s AND {OWN}".encode(),  # noqa: S608
                (cron, principal.tenant, principal.id),
            )
            row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"There is no cron {str(cron)!r}.")
        return dict(row)

    async def change(self, principal: Principal, cron: UUID, content: CronContent) -> dict[str, Any]:
        """Replace what a cron says; when it is due next is reckoned from now on.

        Raises:
            NotFound: the principal has no such cron.
            InvalidInput: its schedule is not possible.
        """
        values = content.values()
        assignments = ", ".join(f"{name} = %({name})s" for name in values)
        query = (
            f"UPDATE crons SET {assignments}, updated_at = clock_timestamp() "  # noqa: S608
            f"WHERE id = %(id)s AND tenant_id = %(tenant)s AND principal_id = %(principal)s RETURNING {COLUMNS}"
        )
        own = {"id": cron, "tenant": principal.tenant, "principal": principal.id}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), values | own)
            row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"There is no cron {str(cron)!r}.")
        return dict(row)

    async def delete(self, principal: Principal, cron: UUID) -> None:
        """Remove a cron; its runs stay.

        Raises:
            NotFound: the principal has no such cron.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"DELETE FROM crons WHERE id = %s AND {OWN}".encode(),  # noqa: S608
                (cron, principal.tenant, principal.id),
            )
        if cursor.rowcount == 0:
            raise NotFound(f"There is no cron {str(cron)!r}.")

    async def search(self, principal: Principal, asked: CronFilter, window: Window) -> list[dict[str, Any]]:
        """The crons that fit, of one page."""
        condition, values = _condition(principal, asked)
        query = f"SELECT {COLUMNS} FROM crons WHERE {condition} ORDER BY {window.order} LIMIT %s OFFSET %s"  # noqa: S608
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), [*values, window.limit, window.offset])
            return [dict(row) for row in await cursor.fetchall()]

    async def count(self, principal: Principal, asked: CronFilter) -> int:
        """How many crons fit."""
        condition, values = _condition(principal, asked)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"SELECT count(*) AS found FROM crons WHERE {condition}".encode(),  # noqa: S608
                values,
            )
            row = await cursor.fetchone()
        return int(row["found"]) if row else 0


def _condition(principal: Principal, asked: CronFilter) -> tuple[str, list[Any]]:
    parts: list[tuple[str, list[Any]]] = [
        (OWN, [principal.tenant, principal.id]),
        ("metadata @> %s", [Jsonb(asked.metadata)]),
    ]
    given = {"assistant_id": asked.assistant, "thread_id": asked.thread, "enabled": asked.enabled}
    parts += [(f"{name} = %s", [value]) for name, value in given.items() if value is not None]
    return " AND ".join(sql for sql, _ in parts), [value for _, values in parts for value in values]
