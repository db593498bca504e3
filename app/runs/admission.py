"""The admission of a run: row, job, and the states of its thread and of the runs before it, in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from app.runs.life import STOPPED, Action, Admission, Limits, Load, Strategy, Wish, decide
from app.runs.run import LEASE_S, Connection, Run
from app.runs.stop import mark
from app.runs.tasks import RunJobs
from core.database import Pool
from core.domain import Principal
from core.errors import InvalidInput, NotFound, PlatformError
from tools.ledger import cancel_calls

GUARD_S = LEASE_S + 3
"""When the job of a run that its own process began looks after it."""
NEAR = 50
"""Runs below a tenant's limits from which on its admissions wait for each other, so that the limits hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A run that is to be admitted.

    ``resumes``: it answers a question of the thread. ``refusal``: why it is none unless the thread stopped on its way
    and can go on. ``make_thread``: the thread comes to be with it, if it is not there yet; ``alone``: and goes with it.
    ``bound``: its answer is bound to what was asked; ``within`` is done in the transaction that admits it.
    """

    id: UUID = field(default_factory=uuid.uuid4)
    thread: UUID
    assistant: UUID
    kwargs: Mapping[str, Any]
    metadata: Mapping[str, Any]
    strategy: Strategy = "reject"
    after_s: float = 0
    resumes: bool = False
    refusal: InvalidInput | None = None
    make_thread: bool = False
    thread_metadata: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False
    bound: bool = False
    within: Callable[[Connection], Awaitable[None]] | None = None


class Admitted(NamedTuple):
    """The new run, and those that have to stop for it."""

    run: Run
    displaced: Mapping[UUID, Action]


class Desk:
    """Admits runs for any process; ``worker`` is who executes those that start at once."""

    def __init__(self, pool: Pool, jobs: RunJobs, limits: Limits, worker: UUID) -> None:
        self._pool = pool
        self._jobs = jobs
        self._limits = limits
        self._worker = worker

    async def admit(self, principal: Principal, order: Order, *, offered: bool) -> Admitted:
        """Store the run and its job; with ``offered`` this process executes it, if it comes back as running.

        Raises:
            InvalidInput: there is nothing to begin with.
            NotFound: the principal has no such thread.
            Conflict: the thread is busy, or has no question to answer.
            LimitExceeded: as many runs of the tenant wait as may.
        """
        async with self._pool.connection() as connection, connection.transaction():
            return await self.admit_within(connection, principal, order, offered=offered)

    async def admit_within(
        self, connection: Connection, principal: Principal, order: Order, *, offered: bool
    ) -> Admitted:
        """The same in the caller's transaction."""
        load = await self._load(connection, principal, order)
        if order.refusal and load.thread_status not in STOPPED:
            raise order.refusal
        wish = Wish(strategy=order.strategy, resumes=order.resumes, later=order.after_s > 0, offered=offered)
        decision = decide(load, wish, self._limits)
        displaced: Mapping[UUID, Action] = {}
        if decision.displace:
            displaced = await mark(
                connection, decision.displace, thread=order.thread, reason="Another run took its place."
            )
        if order.within is not None:
            await order.within(connection)
        if order.kwargs["input"] is not None and not wish.later and load.thread_status in STOPPED:
            await cancel_calls(connection, order.thread)
        run = await self._insert(connection, principal, order, decision)
        delay = GUARD_S if decision.start else order.after_s
        await self._jobs.defer(connection, order.id, delay_s=delay)
        return Admitted(run, displaced)

    async def _load(self, connection: Connection, principal: Principal, order: Order) -> Load:
        if order.make_thread:
            await connection.execute(
                "INSERT INTO threads (id, tenant_id, principal_id, metadata) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (id) DO NOTHING",
                (order.thread, principal.tenant, principal.id, Jsonb(order.thread_metadata)),
            )
        cursor = await connection.execute(
            "SELECT status FROM threads WHERE id = %s AND tenant_id = %s AND principal_id = %s FOR NO KEY UPDATE",
            (order.thread, principal.tenant, principal.id),
        )
        thread = await cursor.fetchone()
        if thread is None:
            raise NotFound(f"There is no thread {str(order.thread)!r}.")
        # A statement of its own, which sees what those before us in the lock's queue have done.
        load = await self._count(connection, principal, order.thread, thread["status"])
        if min(self._limits.waiting - load.tenant_waiting, self._limits.running - load.tenant_running) < NEAR:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 8))", (str(principal.tenant),))
            load = await self._count(connection, principal, order.thread, thread["status"])
        return load

    async def _count(self, connection: Connection, principal: Principal, thread: UUID, status: str) -> Load:
        cursor = await connection.execute(
            "SELECT count(*) FILTER (WHERE thread_id = %(thread)s AND status = 'running') AS running, "
            "count(*) FILTER (WHERE thread_id = %(thread)s AND status = 'pending' AND due_at <= now()) AS waiting, "
            "count(*) FILTER (WHERE status = 'running') AS tenant_running, "
            "count(*) FILTER (WHERE status = 'pending') AS tenant_waiting "
            "FROM runs WHERE tenant_id = %(tenant)s AND status IN ('pending', 'running')",
            {"thread": thread, "tenant": principal.tenant},
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 (an aggregate has a row)
        return Load(thread_status=status, **row)

    async def _insert(self, connection: Connection, principal: Principal, order: Order, decision: Admission) -> Run:
        status = "running" if decision.start else "pending"
        cursor = await connection.execute(
            "WITH busy AS (UPDATE threads SET metadata = metadata || %(marks)s, updated_at = now(), "
            "  rest = CASE WHEN status = 'busy' OR %(after)s > 0 THEN rest ELSE status END, "
            "  status = CASE WHEN %(after)s > 0 THEN status ELSE 'busy' END WHERE id = %(thread)s) "
            "INSERT INTO runs (id, thread_id, tenant_id, assistant_id, status, kwargs, metadata, multitask_strategy, "
            "  alone, due_at, worker, started_at, lease_until) "
            "VALUES (%(id)s, %(thread)s, %(tenant)s, %(assistant)s, %(status)s, %(kwargs)s, %(metadata)s, "
            "  %(strategy)s, %(alone)s, now() + make_interval(secs => %(after)s), %(worker)s, "
            "  CASE WHEN %(start)s THEN now() END, "
            "  CASE WHEN %(start)s THEN now() + make_interval(secs => %(lease)s) END) "
            "RETURNING created_at, updated_at, started_at",
            {
                "marks": _marks(order.metadata),
                "after": order.after_s,
                "id": order.id,
                "thread": order.thread,
                "tenant": principal.tenant,
                "assistant": order.assistant,
                "status": status,
                "kwargs": Jsonb(order.kwargs),
                "metadata": Jsonb(order.metadata),
                "strategy": order.strategy,
                "alone": order.alone,
                "worker": self._worker if decision.start else None,
                "start": decision.start,
                "lease": LEASE_S,
            },
        )
        row = await cursor.fetchone()
        if row is None:
            raise PlatformError("The run could not be stored.")
        return Run(
            id=order.id,
            thread_id=order.thread,
            assistant_id=order.assistant,
            principal=principal,
            status=status,
            metadata=order.metadata,
            kwargs=order.kwargs,
            multitask_strategy=order.strategy,
            attempt=0,
            alone=order.alone,
            **row,
        )


def _marks(metadata: Mapping[str, Any]) -> Jsonb:
    """The keys by which the user interfaces find an assistant's threads."""
    return Jsonb({key: metadata[key] for key in ("graph_id", "assistant_id") if key in metadata})
