"""Stopping runs from anywhere: what waits ends at once, what is executed is marked, and its runner is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import LiteralString
from uuid import UUID

from app.runs.life import Action
from app.runs.run import Connection
from core.database import Pool

CHANNEL: LiteralString = "ragstone_stops"
"""The channel on which runners hear of runs to stop: ``RUN ACTION``."""


async def mark(
    connection: Connection, action: Action, *, thread: UUID, runs: Sequence[UUID] | None = None, reason: str
) -> Mapping[UUID, Action]:
    """End the thread's waiting runs and mark its running one, in the caller's transaction, which holds the thread.

    ``runs`` names those that are meant, else all. Returns the ones that are still executed.
    """
    named = None if runs is None else list(runs)
    values = {"thread": thread, "runs": named, "action": action, "reason": reason}
    meant = "thread_id = %(thread)s AND (%(runs)s::uuid[] IS NULL OR id = ANY(%(runs)s))"
    if action == "rollback":
        cursor = await connection.execute(
            f"DELETE FROM runs WHERE {meant} AND status = 'pending' AND started_at IS NULL".encode(),  # noqa: S608
            values,
        )
    else:
        cursor = await connection.execute(
            "UPDATE runs SET status = 'interrupted', cancel = 'interrupt', cancel_reason = %(reason)s, "  # noqa: S608
            f"updated_at = clock_timestamp() WHERE {meant} AND status = 'pending' AND started_at IS NULL".encode(),
            values,
        )
    # Also one that its runner gave up in good order: whoever takes it next ends it as it should be.
    cursor = await connection.execute(
        "WITH marked AS (UPDATE runs SET cancel = %(action)s, cancel_reason = %(reason)s "  # noqa: S608
        f"  WHERE {meant} AND status IN ('pending', 'running') RETURNING id) "
        f"SELECT id, pg_notify('{CHANNEL}', id || ' ' || %(action)s) FROM marked".encode(),
        values,
    )
    return {row["id"]: action for row in await cursor.fetchall()}


async def stop(
    pool: Pool, action: Action, *, thread: UUID, runs: Sequence[UUID] | None = None, reason: str
) -> Mapping[UUID, Action]:
    """Stop the thread's runs, all or the named ones; returns those that are executed until their runner has stopped.

    A thread on which nothing is active any more is what it was before.
    """
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SELECT FROM threads WHERE id = %s FOR NO KEY UPDATE", (thread,))
        left = await mark(connection, action, thread=thread, runs=runs, reason=reason)
        await connection.execute(
            "UPDATE threads SET status = rest, updated_at = now() WHERE id = %s AND status = 'busy' AND NOT EXISTS ("
            "SELECT FROM runs WHERE thread_id = threads.id AND (status = 'running' OR status = 'pending' "
            "AND due_at <= now()))",
            (thread,),
        )
    return left
