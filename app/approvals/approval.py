"""Approvals: the tool calls that people decide, for those whose decision it is, and the runs that wait for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.approvals.binder import Binder, resuming
from app.runs.admission import Order
from app.runs.run import Run
from app.runs.runner import Runner
from core.database import Pool
from core.domain import Principal, PrincipalId, Role, TenantId
from core.errors import Conflict, LimitExceeded, NotFound
from tools.ledger import SELECT, CallStatus, Decision, Entry, Ledger, cancel_calls, entry_of
from tools.rule import names_of

logger = logging.getLogger(__name__)

DUE = (
    "SELECT DISTINCT c.thread_id FROM tool_calls c JOIN threads t ON t.id = c.thread_id "
    "WHERE c.decision IS NOT NULL AND c.result IS NULL AND c.status IN ('approved', 'rejected', 'responded') "
    "AND t.status = 'interrupted'"
)
DOUBLED = (
    "SELECT c.thread_id FROM tool_calls c JOIN threads t ON t.id = c.thread_id "
    "WHERE c.status = 'pending' AND t.status <> 'busy' GROUP BY 1 HAVING count(DISTINCT c.run_id) > 1"
)
ASKING = (
    "SELECT t.status, t.tenant_id, t.principal_id, p.name, p.role, r.assistant_id, r.kwargs, r.metadata FROM threads t "
    "JOIN principals p ON p.id = t.principal_id JOIN runs r ON r.thread_id = t.id "
    "WHERE t.id = %s ORDER BY r.ordinal DESC LIMIT 1"
)


class Outcome(NamedTuple):
    """Approvals as they are after a decision, and the runs that went on."""

    entries: Sequence[Entry]
    runs: Sequence[Run]


class Approvals:
    """The ledger's rows that people decide, over all threads of a tenant."""

    def __init__(self, pool: Pool, binder: Binder, runner: Runner) -> None:
        self._pool = pool
        self._ledger = Ledger(pool)
        self._binder = binder
        self._runner = runner

    async def list(
        self, principal: Principal, *, status: CallStatus | None, after: tuple[datetime, UUID] | None, limit: int
    ) -> list[Entry]:
        """What is or was the principal's to decide, newest first; ``after``: older than this moment and id."""
        query = (
            f"{SELECT} WHERE c.allowed <> '{{}}' AND c.tenant_id = %(tenant)s "
            "AND (c.decided_by && %(names)s OR ('owner' = ANY(c.decided_by) AND t.principal_id = %(owner)s)) "
            "AND (%(status)s::text IS NULL OR c.status = %(status)s) "
            "AND (%(moment)s::timestamptz IS NULL OR (c.created_at, c.id) < (%(moment)s, %(last)s)) "
            "ORDER BY c.created_at DESC, c.id DESC LIMIT %(limit)s"
        )
        values = {
            "tenant": principal.tenant,
            "names": names_of(principal),
            # Who may only read decides nothing, not even on a thread of its own.
            "owner": principal.id if principal.role.may_write else None,
            "status": status,
            "moment": after and after[0],
            "last": after and after[1],
            "limit": limit,
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), values)
            return [entry_of(row) for row in await cursor.fetchall()]

    async def get(self, principal: Principal, approval: UUID) -> Entry:
        """One approval; who started the thread may see it, too.

        Raises:
            NotFound: there is none that the principal may see.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"{SELECT} WHERE c.id = %s AND c.allowed <> '{{}}' AND c.tenant_id = %s "
                "AND (c.decided_by && %s OR t.principal_id = %s)".encode(),
                (approval, principal.tenant, names_of(principal), principal.id),
            )
            row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"There is no approval {str(approval)!r}.")
        return entry_of(row)

    async def decide(self, principal: Principal, decisions: Mapping[UUID, Decision]) -> Outcome:
        """Decide calls, all or none; a run whose calls are all decided goes on.

        Raises:
            NotFound: there is no such approval for the principal.
            Forbidden: the decision is not the principal's.
            Conflict: one is decided already, or its time is over.
            InvalidInput: its rule does not have the decision, or it lacks its arguments or message.
        """
        for approval in decisions:
            await self.get(principal, approval)
        async with self._pool.connection() as connection, connection.transaction():
            entries = await self._ledger.decide(connection, principal, decisions)
        threads = dict.fromkeys(entry.thread_id for entry in entries)
        runs = [run for thread in threads if (run := await self.resume(thread))]
        return Outcome(entries, runs)

    async def resume(self, thread: UUID) -> Run | None:
        """Let the thread's run go on when all of its calls are decided; ``None`` when there is nothing to go on with.

        Whoever decided it, the run is its thread's owner's.
        """
        async with self._pool.connection() as connection:
            row = await (await connection.execute(ASKING, (thread,))).fetchone()
        if row is None:
            return None
        questions, _ = await self._binder.asked(row["metadata"]["graph_id"], thread)
        entries = await self._binder.entries(thread, questions)
        if not entries or any(entry.status == "pending" for entry in entries.values()):
            return None
        order = Order(
            thread=thread,
            assistant=row["assistant_id"],
            kwargs=resuming({**row["kwargs"], "input": None, "checkpoint": None}, questions, {}),
            metadata=row["metadata"],
            resumes=True,
            bound=True,
        )
        owner = Principal(
            id=PrincipalId(row["principal_id"]),
            tenant=TenantId(row["tenant_id"]),
            name=row["name"],
            role=Role(row["role"]),
        )
        try:
            return await self._runner.start(owner, order)
        except (Conflict, LimitExceeded) as error:
            # Somebody else's run is under way, or there is no room: the sweep comes back to it.
            logger.info("thread %s does not go on yet: %s", thread, type(error).__name__)
            return None

    async def sweep(self) -> None:
        """Reject what nobody decided in time, close what was left behind, and let go on what is decided and waits."""
        late = await self._ledger.expire()
        async with self._pool.connection() as connection:
            due = [row["thread_id"] for row in await (await connection.execute(DUE)).fetchall()]
            doubled = [row["thread_id"] for row in await (await connection.execute(DOUBLED)).fetchall()]
        for act, threads in ((self._forget, doubled), (self.resume, dict.fromkeys([*late, *due]))):
            for thread in threads:
                try:
                    await act(thread)
                except Exception as error:  # noqa: BLE001 (one thread must not hold up the others)
                    logger.warning("thread %s could not be looked after: %s", thread, type(error).__name__)

    async def _forget(self, thread: UUID) -> None:
        """Close the calls that a newer run of the thread has left behind."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT FROM threads WHERE id = %s AND status <> 'busy' FOR UPDATE", (thread,))
            row = await (await connection.execute(ASKING, (thread,))).fetchone()
            if row is None or row["status"] == "busy":
                return
            questions, _ = await self._binder.asked(row["metadata"]["graph_id"], thread)
            keep = [one.approval for question in questions for one in question.asked]
            await cancel_calls(connection, thread, keep=keep)
