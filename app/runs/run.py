"""Runs as rows: read by their principals, claimed, kept and ended by runners, a run and its thread in one transaction.

Whoever changes both locks the thread first, so that no two wait for each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import psycopg
import psycopg.errors
from langgraph.types import StateSnapshot
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from app.runs.life import ACTIVE, Action, Limits, Status
from app.state import SHOW, shown
from core.database import Pool
from core.domain import Principal, PrincipalId, Role, TenantId
from core.errors import Conflict, NotFound

LEASE_S = 12

Connection = psycopg.AsyncConnection[DictRow]
OnEnd: TypeAlias = Callable[[Connection, UUID], Awaitable[None]]
"""What is done in the transaction that ends a run which names a webhook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run's row with its principal; ``kwargs`` is what is to be executed, checked and plain (`app.runs.order`)."""

    id: UUID
    thread_id: UUID
    assistant_id: UUID
    principal: Principal
    status: str
    metadata: Mapping[str, Any]
    kwargs: Mapping[str, Any]
    multitask_strategy: str
    attempt: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    error: Mapping[str, Any] | None = None
    cancel: Action | None = None
    cancel_reason: str | None = None
    checkpoint_id: str | None = None
    alone: bool = False

    @property
    def ended(self) -> bool:
        """Whether it never changes again."""
        return self.status not in ACTIVE

    def wire(self) -> dict[str, Any]:
        """The protocol's Run."""
        return {
            "run_id": self.id,
            "thread_id": self.thread_id,
            "assistant_id": self.assistant_id,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "status": self.status,
            "metadata": self.metadata,
            "kwargs": self.kwargs,
            "multitask_strategy": self.multitask_strategy,
            "cancel_reason": self.cancel_reason,
        }


OWN = (
    "r.id, r.thread_id, r.assistant_id, r.status, r.metadata, r.kwargs, r.multitask_strategy, r.attempt, r.error, "
    "r.cancel, r.cancel_reason, r.checkpoint_id, r.alone, r.created_at, r.updated_at, r.started_at"
)
WITH_PRINCIPAL = f"{OWN}, t.tenant_id, t.principal_id, p.name AS principal_name, p.role"
SELECT = (
    f"SELECT {WITH_PRINCIPAL} FROM runs r JOIN threads t ON t.id = r.thread_id "  # noqa: S608
    "JOIN principals p ON p.id = t.principal_id"
)
# The next run of a thread that is free, of a tenant that has room.
FIRST_IN_LINE = (
    "r.status = 'pending' AND r.due_at <= now() AND NOT EXISTS (SELECT FROM runs o WHERE o.thread_id = r.thread_id "
    "AND (o.status = 'running' OR o.status = 'pending' AND o.due_at <= now() AND o.ordinal < r.ordinal)) "
    "AND r.tenant_id IN (SELECT tenant_id FROM runs WHERE status IN ('pending', 'running') GROUP BY tenant_id "
    "HAVING count(*) FILTER (WHERE status = 'running') < %(running)s)"
)


def read_run(row: Mapping[str, Any]) -> Run:
    """A run from its row."""
    principal = Principal(
        id=PrincipalId(row["principal_id"]),
        tenant=TenantId(row["tenant_id"]),
        name=row["principal_name"],
        role=Role(row["role"]),
    )
    names = Run.__dataclass_fields__
    return Run(principal=principal, **{key: value for key, value in row.items() if key in names})


class Runs:
    """The rows of ``runs`` for their principals: every read names the principal whose thread it is."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, principal: Principal, thread: UUID, run: UUID) -> Run:
        """One run.

        Raises:
            NotFound: the principal has no such run.
        """
        rows = await self._select("r.id = %s AND r.thread_id = %s", (run, thread), principal, 1, 0)
        if not rows:
            raise NotFound(f"There is no run {str(run)!r} on this thread.")
        return rows[0]

    async def of_thread(
        self, principal: Principal, thread: UUID, *, status: str | None, limit: int, offset: int = 0
    ) -> list[Run]:
        """The thread's runs, newest first."""
        condition = "r.thread_id = %s AND (%s::text IS NULL OR r.status = %s)"
        return await self._select(condition, (thread, status, status), principal, limit, offset)

    async def active(
        self, principal: Principal, *, thread: UUID | None, runs: Sequence[UUID] | None, status: str | None
    ) -> list[Run]:
        """The runs that have not ended: of a thread, of a list, in a status."""
        condition = (
            "r.status IN ('pending', 'running') AND (%s::uuid IS NULL OR r.thread_id = %s) "
            "AND (%s::uuid[] IS NULL OR r.id = ANY(%s)) AND (%s::text IS NULL OR r.status = %s)"
        )
        listed = None if runs is None else list(runs)
        return await self._select(condition, (thread, thread, listed, listed, status, status), principal, None, 0)

    async def delete(self, run: Run) -> None:
        """Remove the row of a run that has ended, with its events.

        Raises:
            Conflict: it has not ended.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM runs WHERE id = %s AND status NOT IN ('pending', 'running')", (run.id,)
            )
        if cursor.rowcount == 0:
            raise Conflict("The run has not ended. Cancel it first, or wait for it.")

    async def _select(
        self, condition: str, values: tuple[object, ...], principal: Principal, limit: int | None, offset: int
    ) -> list[Run]:
        query = (
            f"{SELECT} WHERE {condition} AND t.tenant_id = %s AND t.principal_id = %s "
            "ORDER BY r.ordinal DESC LIMIT %s OFFSET %s"
        )
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), (*values, principal.tenant, principal.id, limit, offset))
            return [read_run(row) for row in await cursor.fetchall()]


class Ended(NamedTuple):
    """Whether the run was ours to end, and whether any waits."""

    ours: bool
    waiting: bool


class Leases:
    """The rows of ``runs`` for a runner: what it claims it holds by a lease, and only the holder ends a run."""

    def __init__(self, pool: Pool, worker: UUID, limits: Limits, on_end: OnEnd) -> None:
        self._pool = pool
        self._worker = worker
        self._limits = limits
        self._on_end = on_end

    async def claim(self, run: UUID | None = None) -> Run | None:
        """Claim a run that waits, this one or the one that has waited longest; ``None`` when there is nothing to do."""
        which = "true" if run is None else "r.id = %(run)s"
        skip = "SKIP LOCKED" if run is None else ""
        query = (
            "WITH chosen AS (SELECT r.id AS run_id FROM runs r JOIN threads t ON t.id = r.thread_id "  # noqa: S608
            f"WHERE {which} AND {FIRST_IN_LINE} ORDER BY r.ordinal LIMIT 1 FOR NO KEY UPDATE OF t {skip}), "
            "r AS (UPDATE runs SET status = 'running', worker = %(worker)s, updated_at = now(), "
            "  attempt = attempt + (started_at IS NOT NULL)::int, started_at = coalesce(started_at, now()), "
            "  lease_until = now() + make_interval(secs => %(lease)s) "
            "  FROM chosen WHERE id = run_id AND status = 'pending' RETURNING runs.*), "
            "busy AS (UPDATE threads SET status = 'busy', updated_at = now(), "
            "  rest = CASE threads.status WHEN 'busy' THEN rest ELSE threads.status END "
            "  FROM r WHERE threads.id = r.thread_id) "
            f"SELECT {WITH_PRINCIPAL} FROM r JOIN threads t ON t.id = r.thread_id "
            "JOIN principals p ON p.id = t.principal_id"
        )
        values = {"run": run, "worker": self._worker, "lease": LEASE_S, "running": self._limits.running}
        try:
            async with self._pool.connection() as connection:
                row = await (await connection.execute(query.encode(), values)).fetchone()
        except psycopg.errors.UniqueViolation:
            return None  # Another run of the thread was quicker.
        return None if row is None else read_run(row)

    async def take_over(self, limit: int) -> list[Run]:
        """Claim runs whose process is gone, at most ``limit``."""
        query = (
            "WITH r AS (UPDATE runs SET worker = %s, attempt = attempt + 1, "  # noqa: S608
            "lease_until = now() + make_interval(secs => %s) WHERE id IN ("
            "  SELECT id FROM runs WHERE status = 'running' AND lease_until < now() ORDER BY ordinal "
            "  LIMIT %s FOR NO KEY UPDATE SKIP LOCKED) RETURNING *) "
            f"SELECT {WITH_PRINCIPAL} FROM r JOIN threads t ON t.id = r.thread_id "
            "JOIN principals p ON p.id = t.principal_id"
        )
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), (self._worker, LEASE_S, limit))
            return [read_run(row) for row in await cursor.fetchall()]

    async def renew(self, executed: Sequence[UUID]) -> dict[UUID, Action | None]:
        """Extend the leases of the runs that this process executes; those it still holds, and what they are asked.

        The lease of a run that it has claimed and yet does not execute runs out, and the run is taken over.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "WITH alive AS (INSERT INTO runners (id) VALUES (%(worker)s) "
                "  ON CONFLICT (id) DO UPDATE SET heartbeat = now()) "
                "UPDATE runs SET lease_until = now() + make_interval(secs => %(lease)s) "
                "WHERE worker = %(worker)s AND id = ANY(%(runs)s) AND status = 'running' RETURNING id, cancel",
                {"worker": self._worker, "lease": LEASE_S, "runs": list(executed)},
            )
            return {row["id"]: row["cancel"] for row in await cursor.fetchall()}

    async def release(self, run: Run) -> None:
        """Give the run up, so that it waits again and the next process goes on with it."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE runs SET status = 'pending', worker = NULL, lease_until = NULL, updated_at = now() "
                "WHERE id = %s AND worker = %s AND status = 'running'",
                (run.id, self._worker),
            )

    async def end(
        self,
        run: Run,
        status: Status,
        thread_status: str,
        error: Mapping[str, Any] | None,
        state: StateSnapshot | None,
    ) -> bool:
        """End the run, free its thread and show the state that it has come to; whether others wait.

        Nothing happens when the run is no longer ours.
        """
        said = {**shown(state), "status": status, "thread_status": thread_status, "error": error and Jsonb(error)}
        async with self._pool.connection() as connection:
            if not run.kwargs.get("webhook"):
                return (await self._end(connection, run, said)).waiting
            async with connection.transaction():
                ended = await self._end(connection, run, said)
                if ended.ours:
                    await self._on_end(connection, run.id)
        return ended.waiting

    async def _end(self, connection: Connection, run: Run, said: Mapping[str, Any]) -> Ended:
        cursor = await connection.execute(
            "WITH t AS (SELECT id FROM threads WHERE id = %(thread)s FOR NO KEY UPDATE), "  # noqa: S608
            "ended AS (UPDATE runs SET status = %(status)s, error = %(error)s, updated_at = clock_timestamp(), "
            "  lease_until = NULL, checkpoint_id = (SELECT checkpoint_id FROM checkpoints "
            "    WHERE thread_id = %(thread)s::text AND checkpoint_ns = '' ORDER BY checkpoint_id DESC LIMIT 1) "
            "  FROM t WHERE runs.id = %(run)s AND thread_id = t.id AND worker = %(worker)s "
            "  AND status = 'running' RETURNING thread_id), "
            f"free AS (UPDATE threads SET {SHOW}, status = CASE WHEN EXISTS (SELECT FROM runs o "
            "    WHERE o.thread_id = ended.thread_id AND o.status = 'pending' AND o.due_at <= now()) "
            "    THEN 'busy' ELSE %(thread_status)s END, rest = %(thread_status)s, updated_at = now() "
            "  FROM ended WHERE threads.id = ended.thread_id), "
            "job AS (DELETE FROM procrastinate_jobs WHERE queueing_lock = %(job)s AND status = 'todo') "
            "SELECT EXISTS (SELECT FROM ended) AS ours, "
            "EXISTS (SELECT FROM runs WHERE status = 'pending' AND due_at <= now()) AS waiting",
            {**self._values(run), **said},
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 (there is a row in any case)
        return Ended(**row)

    async def remove(self, run: Run) -> bool:
        """Remove the run that is rolled back: its thread is what it was before; whether others wait."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "WITH t AS (SELECT id FROM threads WHERE id = %(thread)s FOR NO KEY UPDATE), "
                "gone AS (DELETE FROM runs USING t WHERE runs.id = %(run)s AND thread_id = t.id "
                "  AND worker = %(worker)s AND runs.status = 'running' RETURNING thread_id), "
                "free AS (UPDATE threads SET status = CASE WHEN EXISTS (SELECT FROM runs o "
                "    WHERE o.thread_id = gone.thread_id AND o.status = 'pending' AND o.due_at <= now()) "
                "    THEN 'busy' ELSE rest END, updated_at = now() FROM gone WHERE threads.id = gone.thread_id), "
                "job AS (DELETE FROM procrastinate_jobs WHERE queueing_lock = %(job)s AND status = 'todo') "
                "SELECT EXISTS (SELECT FROM runs WHERE status = 'pending' AND due_at <= now()) AS waiting",
                self._values(run),
            )
            row = await cursor.fetchone()
        return row is not None and bool(row["waiting"])

    async def leave(self) -> None:
        """Tell that this process executes nothing any more."""
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM runners WHERE id = %s", (self._worker,))

    def _values(self, run: Run) -> dict[str, Any]:
        return {"thread": run.thread_id, "run": run.id, "worker": self._worker, "job": str(run.id)}
