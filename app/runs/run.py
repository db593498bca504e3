"""Runs and threads as rows: admitted, moved along and ended, a run and its thread always in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg.errors
from psycopg.types.json import Jsonb

from core.database import Pool
from core.domain import Principal, PrincipalId, Role, TenantId
from core.errors import Conflict, NotFound

LEASE_S = 12
TERMINAL = ("success", "error", "timeout", "interrupted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run's row with its principal; ``kwargs`` is what the client asked for, checked and plain."""

    id: UUID
    thread_id: UUID
    assistant_id: UUID
    principal: Principal
    status: str
    metadata: Mapping[str, Any]
    kwargs: Mapping[str, Any]
    attempt: int
    created_at: datetime
    updated_at: datetime
    error: Mapping[str, Any] | None = None

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
            "multitask_strategy": "reject",
        }


SELECT = (
    "SELECT r.id, r.thread_id, r.assistant_id, r.status, r.metadata, r.kwargs, r.attempt, r.error, r.created_at, "
    "r.updated_at, t.tenant_id, t.principal_id, p.name AS principal_name, p.role "
    "FROM runs r JOIN threads t ON t.id = r.thread_id JOIN principals p ON p.id = t.principal_id"
)


def _run(row: Mapping[str, Any]) -> Run:
    principal = Principal(
        id=PrincipalId(row["principal_id"]),
        tenant=TenantId(row["tenant_id"]),
        name=row["principal_name"],
        role=Role(row["role"]),
    )
    names = Run.__dataclass_fields__
    return Run(principal=principal, **{key: value for key, value in row.items() if key in names})


class Runs:
    """The rows of ``runs``; every read names the principal whose thread it is."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def admit(
        self, principal: Principal, thread: UUID, assistant: UUID, *, worker: UUID, kwargs: Any, metadata: Any
    ) -> Run:
        """Insert a run that this process will execute, and make its thread busy.

        Raises:
            NotFound: the principal has no such thread.
            Conflict: a run is active on it.
        """
        async with self._pool.connection() as connection:
            try:
                async with connection.transaction():
                    cursor = await connection.execute(
                        "UPDATE threads SET status = 'busy', updated_at = now(), metadata = metadata || %s "
                        "WHERE id = %s AND tenant_id = %s AND principal_id = %s",
                        (_agent_of(metadata), thread, principal.tenant, principal.id),
                    )
                    if cursor.rowcount == 0:
                        raise NotFound(f"There is no thread {str(thread)!r}.")
                    cursor = await connection.execute(
                        "INSERT INTO runs (thread_id, assistant_id, kwargs, metadata, worker, lease_until) "
                        "VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s)) RETURNING id",
                        (thread, assistant, Jsonb(kwargs), Jsonb(metadata), worker, LEASE_S),
                    )
                    row = await cursor.fetchone()
            except psycopg.errors.UniqueViolation as error:
                raise Conflict(
                    "A run is active on this thread. Wait for it, cancel it, or start another thread."
                ) from error
        if row is None:
            raise Conflict("The run could not be stored.")
        return await self.get(principal, thread, row["id"])

    async def get(self, principal: Principal, thread: UUID, run: UUID) -> Run:
        """One run.

        Raises:
            NotFound: the principal has no such run.
        """
        rows = await self._select("r.id = %s AND r.thread_id = %s", (run, thread), principal, 1)
        if not rows:
            raise NotFound(f"There is no run {str(run)!r} on this thread.")
        return rows[0]

    async def of_thread(self, principal: Principal, thread: UUID, *, status: str | None, limit: int) -> list[Run]:
        """The thread's runs, newest first."""
        return await self._select(
            "r.thread_id = %s AND (%s::text IS NULL OR r.status = %s)",
            (thread, status, status),
            principal,
            limit,
        )

    async def start(self, run: UUID) -> None:
        """Record that the run is being executed."""
        await self._execute("UPDATE runs SET status = 'running', updated_at = now() WHERE id = %s", (run,))

    async def renew(self, worker: UUID, executed: Sequence[UUID]) -> list[UUID]:
        """Extend the leases of the runs that this process executes; returns those that somebody asked to cancel.

        The lease of a run that it has claimed and yet does not execute runs out, and the run is taken over.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE runs SET lease_until = now() + make_interval(secs => %s) "
                "WHERE worker = %s AND id = ANY(%s) AND status IN ('pending', 'running') "
                "RETURNING id, cancel_requested",
                (LEASE_S, worker, list(executed)),
            )
            return [row["id"] for row in await cursor.fetchall() if row["cancel_requested"]]

    async def take_over(self, worker: UUID) -> list[Run]:
        """Claim the runs whose process is gone."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE runs SET worker = %s, attempt = attempt + 1, "
                "lease_until = now() + make_interval(secs => %s) WHERE id IN ("
                "  SELECT id FROM runs WHERE status IN ('pending', 'running') AND lease_until < now() "
                "  FOR UPDATE SKIP LOCKED) RETURNING id",
                (worker, LEASE_S),
            )
            ids = [row["id"] for row in await cursor.fetchall()]
            cursor = await connection.execute(f"{SELECT} WHERE r.id = ANY(%s)", (ids,))
            return [_run(row) for row in await cursor.fetchall()]

    async def release(self, run: UUID) -> None:
        """Give the run up, so that the next process takes it over at once."""
        await self._execute("UPDATE runs SET lease_until = now() WHERE id = %s", (run,))

    async def request_cancel(self, run: UUID) -> None:
        """Ask the process that executes the run to stop it."""
        await self._execute("UPDATE runs SET cancel_requested = true WHERE id = %s", (run,))

    async def end(self, run: UUID, status: str, thread_status: str, error: Mapping[str, Any] | None) -> None:
        """End the run and free its thread; an ended run never changes again."""
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "UPDATE runs SET status = %s, error = %s, updated_at = now(), lease_until = NULL "
                "WHERE id = %s AND status IN ('pending', 'running') RETURNING thread_id",
                (status, Jsonb(error) if error else None, run),
            )
            row = await cursor.fetchone()
            if row is not None:
                await connection.execute(
                    "UPDATE threads SET status = %s, updated_at = now() WHERE id = %s",
                    (thread_status, row["thread_id"]),
                )

    async def _select(self, condition: str, values: tuple[object, ...], principal: Principal, limit: int) -> list[Run]:
        query = (
            f"{SELECT} WHERE {condition} AND t.tenant_id = %s AND t.principal_id = %s "
            "ORDER BY r.created_at DESC LIMIT %s"
        )
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), (*values, principal.tenant, principal.id, limit))
            return [_run(row) for row in await cursor.fetchall()]

    async def _execute(self, query: str, values: tuple[object, ...]) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(query.encode(), values)


def _agent_of(metadata: Mapping[str, Any]) -> Jsonb:
    """The keys by which the user interfaces find an assistant's threads."""
    return Jsonb({key: metadata[key] for key in ("graph_id", "assistant_id") if key in metadata})
