"""Threads as rows, seen by their own principal only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from app.checkpoints import copy_checkpoints, delete_checkpoints
from app.listing import Window
from core.database import Pool
from core.domain import Principal
from core.errors import Conflict, NotFound

COLUMNS = "id AS thread_id, status, metadata, created_at, updated_at, state_updated_at, ttl_minutes, ttl_strategy"
STATE = ', state AS "values", interrupts'
SORTS = {
    "thread_id": "id",
    "status": "status",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "state_updated_at": "state_updated_at",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ttl:
    """How long a thread stays after its last change, and what happens then: ``delete`` or ``keep_latest``."""

    minutes: float
    strategy: str = "delete"

    def wire(self, changed: datetime) -> dict[str, Any]:
        """The protocol's ttl of a thread that was last changed then."""
        expires = changed + timedelta(minutes=self.minutes)
        return {"strategy": self.strategy, "ttl_minutes": self.minutes, "expires_at": expires}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadFilter:
    """Which threads fit: all that is given must be so; ``values`` and ``metadata`` name what they must hold."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    status: str | None = None
    ids: Collection[UUID] | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """The SQL condition and its values."""
        condition = "metadata @> %s AND (%s::text IS NULL OR status = %s) AND (%s::uuid[] IS NULL OR id = ANY(%s))"
        ids = None if self.ids is None else list(self.ids)
        given: list[Any] = [Jsonb(self.metadata), self.status, self.status, ids, ids]
        if self.values:
            return f"{condition} AND state @> %s", [*given, Jsonb(self.values)]
        return condition, given


class Threads:
    """The rows of ``threads`` and what hangs on them."""

    def __init__(self, pool: Pool, ttl: Ttl | None = None) -> None:
        self._pool = pool
        self._ttl = ttl

    async def create(
        self,
        principal: Principal,
        thread: UUID,
        metadata: Mapping[str, Any],
        *,
        if_exists: str,
        ttl: Ttl | None = None,
    ) -> bool:
        """Make a thread; without a ``ttl`` of its own it has the one that the settings say.

        Returns:
            Whether it was made; false when it was there and ``if_exists`` is ``do_nothing``.

        Raises:
            Conflict: the id is taken and ``if_exists`` is not ``do_nothing``, or it is somebody else's.
        """
        ttl = ttl or self._ttl
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "INSERT INTO threads (id, tenant_id, principal_id, metadata, ttl_minutes, ttl_strategy, "
                "state_updated_at) VALUES (%s, %s, %s, %s, %s, %s, now()) ON CONFLICT (id) DO NOTHING",
                (thread, principal.tenant, principal.id, Jsonb(metadata), *_columns(ttl)),
            )
        if cursor.rowcount == 0 and if_exists != "do_nothing":
            raise Conflict(f"The thread {str(thread)!r} exists already. Pass if_exists='do_nothing' to use it.")
        try:
            await self.get(principal, thread, with_state=False)
        except NotFound as error:
            raise Conflict(f"The thread id {str(thread)!r} is taken. Choose another.") from error
        return cursor.rowcount == 1

    async def get(self, principal: Principal, thread: UUID, *, with_state: bool = True) -> dict[str, Any]:
        """One thread, with the values and interrupts that it has come to.

        Raises:
            NotFound: the principal has no such thread.
        """
        rows = await self._select("id = %s", [thread], principal, "id LIMIT 1", with_state=with_state)
        if not rows:
            raise NotFound(f"There is no thread {str(thread)!r}.")
        return rows[0]

    async def search(
        self, principal: Principal, asked: ThreadFilter, window: Window, *, with_state: bool = True
    ) -> list[dict[str, Any]]:
        """The principal's threads that fit, of one page."""
        order = f"{window.order} LIMIT %s OFFSET %s"
        return await self._select(
            *asked.condition(), principal, order, window.limit, window.offset, with_state=with_state
        )

    async def count(self, principal: Principal, asked: ThreadFilter) -> int:
        """How many of the principal's threads fit."""
        condition, values = asked.condition()
        query = f"SELECT count(*) AS found FROM threads WHERE {condition} AND tenant_id = %s AND principal_id = %s"  # noqa: S608
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), [*values, principal.tenant, principal.id])
            row = await cursor.fetchone()
        return int(row["found"]) if row else 0

    async def of_assistant(self, principal: Principal, assistant: UUID) -> list[UUID]:
        """The principal's threads whose last run was the assistant's."""
        asked = ThreadFilter(metadata={"assistant_id": str(assistant)})
        rows = await self._select(*asked.condition(), principal, "id", with_state=False)
        return [row["thread_id"] for row in rows]

    async def update(
        self, principal: Principal, thread: UUID, metadata: Mapping[str, Any], ttl: Ttl | None = None
    ) -> None:
        """Merge keys into the thread's metadata, and give it another ``ttl`` when there is one.

        Raises:
            NotFound: the principal has no such thread.
        """
        minutes, strategy = _columns(ttl)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE threads SET metadata = metadata || %s, updated_at = now(), "
                "ttl_minutes = coalesce(%s, ttl_minutes), ttl_strategy = coalesce(%s, ttl_strategy) "
                "WHERE id = %s AND tenant_id = %s AND principal_id = %s",
                (Jsonb(metadata), minutes, strategy, thread, principal.tenant, principal.id),
            )
        if cursor.rowcount == 0:
            raise NotFound(f"There is no thread {str(thread)!r}.")

    async def copy(self, principal: Principal, thread: UUID, copied: UUID) -> None:
        """Make a thread like the other: its metadata, its states and what its tool calls did, without its runs.

        Raises:
            NotFound: the principal has no such thread.
        """
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor = await connection.execute(
                "INSERT INTO threads (id, tenant_id, principal_id, metadata, status, state, interrupts, "
                "state_updated_at, ttl_minutes, ttl_strategy) "
                "SELECT %s, tenant_id, principal_id, metadata, "
                "CASE status WHEN 'busy' THEN 'idle' ELSE status END, state, interrupts, "
                "CASE status WHEN 'busy' THEN NULL ELSE state_updated_at END, ttl_minutes, ttl_strategy FROM threads "
                "WHERE id = %s AND tenant_id = %s AND principal_id = %s",
                (copied, thread, principal.tenant, principal.id),
            )
            if cursor.rowcount == 0:
                raise NotFound(f"There is no thread {str(thread)!r}.")
            await copy_checkpoints(connection, thread, copied)
            # What was done stays done; what waits for a decision asks anew, for one of its own.
            await connection.execute(
                "INSERT INTO tool_calls SELECT (jsonb_populate_record(c, jsonb_build_object("
                "'id', gen_random_uuid(), 'thread_id', %s::uuid, "
                "'status', CASE status WHEN 'running' THEN 'unknown' ELSE status END))).* FROM tool_calls c "
                "WHERE thread_id = %s AND status IN ('done', 'failed', 'running', 'unknown')",
                (copied, thread),
            )

    async def delete(self, principal: Principal, thread: UUID) -> None:
        """Remove the thread with its runs, events and checkpoints, in one transaction.

        Raises:
            NotFound: the principal has no such thread.
        """
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "DELETE FROM threads WHERE id = %s AND tenant_id = %s AND principal_id = %s",
                (thread, principal.tenant, principal.id),
            )
            if cursor.rowcount == 0:
                raise NotFound(f"There is no thread {str(thread)!r}.")
            await delete_checkpoints(connection, thread)

    async def _select(
        self,
        condition: str,
        values: list[Any],
        principal: Principal,
        order: str,
        *window: int,
        with_state: bool = True,
    ) -> list[dict[str, Any]]:
        query = (
            f"SELECT {COLUMNS}{STATE if with_state else ''} FROM threads WHERE {condition} "  # noqa: S608
            f"AND tenant_id = %s AND principal_id = %s ORDER BY {order}"
        )
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), [*values, principal.tenant, principal.id, *window])
            return [dict(row) for row in await cursor.fetchall()]


def _columns(ttl: Ttl | None) -> tuple[float | None, str | None]:
    return (None, None) if ttl is None else (ttl.minutes, ttl.strategy)


async def lock_idle(connection: psycopg.AsyncConnection[DictRow], principal: Principal, thread: UUID) -> None:
    """Keep runs off the thread until the transaction ends.

    Raises:
        NotFound: the principal has no such thread.
        Conflict: a run is active on it.
    """
    cursor = await connection.execute(
        "SELECT status FROM threads WHERE id = %s AND tenant_id = %s AND principal_id = %s FOR NO KEY UPDATE",
        (thread, principal.tenant, principal.id),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"There is no thread {str(thread)!r}.")
    if row["status"] == "busy":
        raise Conflict("A run is active on this thread. Wait for it or cancel it.")
