"""The tool call ledger: what a tool may do, did, and who decided it. An effect happens from its row or not at all.

A row goes one way, and only by compare-and-set:

    pending → approved → running → done | failed | unknown
    pending → rejected | responded
    pending | approved → cancelled

A call that needs no decision begins as approved. ``unknown`` says that the process ended in mid effect: nobody knows
whether it happened, and it is never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from core.database import Pool
from core.domain import Principal, PrincipalId
from core.errors import Conflict, Forbidden, InvalidInput, NotFound
from tools.rule import DecisionKind, Rule, check_allowed, may_decide

Connection = AsyncConnection[DictRow]
CallStatus = Literal[
    "pending", "approved", "running", "done", "failed", "unknown", "rejected", "responded", "cancelled"
]
STATUS_AFTER: dict[DecisionKind, CallStatus] = {
    "approve": "approved",
    "edit": "approved",
    "reject": "rejected",
    "respond": "responded",
}
EXPIRED = "Nobody decided in time."
SELECT = (
    "SELECT c.id, c.thread_id, c.run_id, c.message_id, c.tool_call_id, c.name, c.args, c.description, c.effect, "
    "c.allowed, c.decided_by, c.expires_at, c.status, c.decision, c.decided_args, c.message, c.decider_id, "
    "c.decider_name, c.decided_at, c.result_type, c.result, c.created_at, t.principal_id AS owner "
    "FROM tool_calls c JOIN threads t ON t.id = c.thread_id"
)


class Call(NamedTuple):
    """A tool call of a model: the message that holds it, its own id, the tool, its arguments, and the tool's rule."""

    message_id: str
    tool_call_id: str
    name: str
    args: Mapping[str, Any]
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person says about a call: ``args`` with an edit, ``message`` with a reject (may be) or respond (must)."""

    kind: DecisionKind
    args: Mapping[str, Any] | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the ledger. ``owner`` is whose thread it is; ``result`` is what the tool gave, as bytes."""

    id: UUID
    thread_id: UUID
    run_id: UUID | None
    message_id: str
    tool_call_id: str
    name: str
    args: Mapping[str, Any]
    description: str | None
    effect: bool
    allowed: Sequence[DecisionKind]
    decided_by: Sequence[str]
    expires_at: datetime | None
    status: CallStatus
    decision: DecisionKind | None
    decided_args: Mapping[str, Any] | None
    message: str | None
    decider_id: PrincipalId | None
    decider_name: str | None
    decided_at: datetime | None
    result_type: str | None
    result: bytes | None
    created_at: datetime
    owner: PrincipalId

    @property
    def final_args(self) -> Mapping[str, Any]:
        """What the tool runs with: the arguments of the person who edited them, or the model's."""
        return self.args if self.decided_args is None else self.decided_args


def entry_of(row: Mapping[str, Any]) -> Entry:
    """An entry from its row."""
    return Entry(**row)


class Ledger:
    """The rows of ``tool_calls``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def admit(self, thread: UUID, run: UUID | None, calls: Sequence[Call]) -> list[Entry]:
        """The rows of these calls, in their order; those that are not there are made, those that are stay as they are.

        Raises:
            NotFound: the thread is gone.
        """
        if not calls:
            return []
        async with self._pool.connection() as connection:
            found = await _rows_of(connection, thread, calls)
            for call in calls:
                if call[:2] not in found:
                    await connection.execute(
                        "INSERT INTO tool_calls (tenant_id, thread_id, run_id, message_id, tool_call_id, name, args, "
                        "description, effect, allowed, decided_by, expires_at, status) "
                        "SELECT tenant_id, id, %s, %s, %s, %s, %s, %s, %s, %s, %s, now() + %s::interval, %s "
                        "FROM threads WHERE id = %s ON CONFLICT DO NOTHING",
                        (run, *call[:3], Jsonb(call.args), *_rule_columns(call.rule), thread),
                    )
            if any(call[:2] not in found for call in calls):
                found = await _rows_of(connection, thread, calls)
        if any(call[:2] not in found for call in calls):
            raise NotFound(f"There is no thread {str(thread)!r}.")
        return [found[call[:2]] for call in calls]

    async def read(self, ids: Sequence[UUID]) -> list[Entry]:
        """The rows of these ids, in their order; those that are gone are left out."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(f"{SELECT} WHERE c.id = ANY(%s)", (list(ids),))
            found = {row["id"]: entry_of(row) for row in await cursor.fetchall()}
        return [found[call] for call in ids if call in found]

    async def claim(self, call: UUID) -> bool:
        """Whether this call of the method is the one that may run the tool: approved becomes running, once."""
        return await self._move(call, "running", ["approved"])

    async def release(self, call: UUID) -> bool:
        """Say that the tool stopped to ask a person something and must be run again to go on."""
        return await self._move(call, "approved", ["running"])

    async def doubt(self, call: UUID) -> bool:
        """Say that nobody knows whether the effect of a running call happened."""
        return await self._move(call, "unknown", ["running"])

    async def settle(self, call: UUID, status: Literal["done", "failed"], result: tuple[str, bytes]) -> None:
        """Keep what the tool gave; a call that was in doubt is no longer."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE tool_calls SET status = %s, result_type = %s, result = %s, updated_at = clock_timestamp() "
                "WHERE id = %s AND status IN ('running', 'unknown')",
                (status, *result, call),
            )

    async def note(self, call: UUID, result: tuple[str, bytes]) -> None:
        """Keep what the model was told of a call that did not run: its decision has reached the graph."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE tool_calls SET result_type = %s, result = %s, updated_at = clock_timestamp() "
                "WHERE id = %s AND result IS NULL AND status IN ('rejected', 'responded', 'cancelled')",
                (*result, call),
            )

    async def decide(
        self, connection: Connection, principal: Principal, decisions: Mapping[UUID, Decision]
    ) -> list[Entry]:
        """Decide calls, all or none, in the transaction of ``connection``; returns their rows as they then are.

        Raises:
            NotFound: the principal's tenant has no such call.
            Forbidden: the decision is not the principal's.
            Conflict: a call is not waiting any more.
            InvalidInput: the rule does not have the decision, or it lacks its arguments or message.
        """
        cursor = await connection.execute(
            f"{SELECT} WHERE c.id = ANY(%s) AND c.tenant_id = %s ORDER BY c.id FOR UPDATE OF c",
            (list(decisions), principal.tenant),
        )
        entries = {row["id"]: entry_of(row) for row in await cursor.fetchall()}
        for call, decision in decisions.items():
            if call not in entries:
                raise NotFound(f"There is no approval {str(call)!r}.")
            check_decision(principal, entries[call], decision)
        for call, decision in decisions.items():
            await connection.execute(
                "UPDATE tool_calls SET status = %s, decision = %s, decided_args = %s, message = %s, decider_id = %s, "
                "decider_name = %s, decided_at = clock_timestamp(), updated_at = clock_timestamp() WHERE id = %s",
                (
                    STATUS_AFTER[decision.kind],
                    decision.kind,
                    None if decision.args is None else Jsonb(decision.args),
                    decision.message,
                    principal.id,
                    principal.name,
                    call,
                ),
            )
        cursor = await connection.execute(f"{SELECT} WHERE c.id = ANY(%s)", (list(decisions),))
        return [entry_of(row) for row in await cursor.fetchall()]

    async def expire(self) -> list[UUID]:
        """Reject what nobody decided in time; returns the threads that it was on."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE tool_calls SET status = 'rejected', decision = 'reject', message = %s, "
                "decided_at = clock_timestamp(), updated_at = clock_timestamp() "
                "WHERE status = 'pending' AND expires_at <= now() RETURNING thread_id",
                (EXPIRED,),
            )
            return list(dict.fromkeys(row["thread_id"] for row in await cursor.fetchall()))

    async def _move(self, call: UUID, status: CallStatus, before: list[CallStatus]) -> bool:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE tool_calls SET status = %s, updated_at = clock_timestamp() WHERE id = %s AND status = ANY(%s)",
                (status, call, before),
            )
            return cursor.rowcount == 1


async def _rows_of(connection: Connection, thread: UUID, calls: Sequence[Call]) -> dict[tuple[str, str], Entry]:
    """The thread's rows of the calls' messages, by message and tool call."""
    cursor = await connection.execute(
        f"{SELECT} WHERE c.thread_id = %s AND c.message_id = ANY(%s)", (thread, list({call[0] for call in calls}))
    )
    return {(row["message_id"], row["tool_call_id"]): entry_of(row) for row in await cursor.fetchall()}


async def cancel_calls(connection: Connection, thread: UUID, *, keep: Sequence[UUID] = ()) -> None:
    """Close the thread's calls that have not run, but for ``keep``: the conversation goes on without them."""
    await connection.execute(
        "UPDATE tool_calls SET status = 'cancelled', updated_at = clock_timestamp() "
        "WHERE thread_id = %s AND status IN ('pending', 'approved') AND NOT id = ANY(%s)",
        (thread, list(keep)),
    )


def _rule_columns(rule: Rule) -> tuple[Any, ...]:
    """The columns description, effect, allowed, decided_by, expires_at and status."""
    status: CallStatus = "pending" if rule.approval else "approved"
    return rule.description, rule.effect, list(rule.approval), list(rule.decided_by), rule.expires_after, status


def check_decision(principal: Principal, entry: Entry, decision: Decision) -> None:
    """Refuse a decision that is not the principal's, not possible or not whole.

    Raises:
        Forbidden: it is not the principal's.
        Conflict: the call is not waiting any more.
        InvalidInput: the rule does not have the decision, or it lacks its arguments or message.
    """
    if not may_decide(principal, entry.decided_by, entry.owner):
        raise Forbidden(f"Calls of {entry.name!r} are decided by {', '.join(entry.decided_by)}, not by this key.")
    if entry.status != "pending":
        raise Conflict(f"This call of {entry.name!r} is not waiting for a decision any more: it is {entry.status}.")
    if entry.expires_at is not None and entry.expires_at <= datetime.now(UTC):
        raise Conflict(f"The time to decide this call of {entry.name!r} is over: it counts as rejected.")
    check_allowed(decision.kind, entry.allowed, entry.name)
    if (decision.kind == "edit") != (decision.args is not None):
        raise InvalidInput("An edit, and nothing else, comes with the arguments that the tool is to run with (args).")
    if decision.kind == "respond" and not decision.message:
        raise InvalidInput("A response needs its text (message): the model reads it instead of the tool's result.")
