"""Removes the threads of runs that had one of their own, when nobody else has: say because a process died."""

from __future__ import annotations

import procrastinate

from app.checkpoints import delete_checkpoints
from app.runs.tasks import QUEUE
from core.database import Pool

STAY_S = 300.0
"""How long such a thread stays after its run's end, for those who want to join it."""
AT_ONCE = 200


async def sweep_leftovers(pool: Pool, *, stay_s: float = STAY_S) -> int:
    """Remove the threads whose own run ended more than ``stay_s`` seconds ago; how many they were, at most 200."""
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "SELECT t.id FROM threads t JOIN runs r ON r.thread_id = t.id WHERE r.alone "
            "AND r.status NOT IN ('pending', 'running') AND r.updated_at < now() - make_interval(secs => %s) "
            "AND NOT EXISTS (SELECT FROM runs o WHERE o.thread_id = t.id AND o.status IN ('pending', 'running')) "
            "AND NOT EXISTS (SELECT FROM procrastinate_jobs j WHERE j.queue_name = %s AND j.task_name = 'webhook' "
            "  AND j.status IN ('todo', 'doing') AND j.args ->> 'run' = r.id::text) "
            "ORDER BY r.updated_at LIMIT %s FOR UPDATE OF t SKIP LOCKED",
            (stay_s, QUEUE, AT_ONCE),
        )
        threads = [row["id"] for row in await cursor.fetchall()]
        for thread in threads:
            await delete_checkpoints(connection, thread)
        await connection.execute("DELETE FROM threads WHERE id = ANY(%s)", (threads,))
    return len(threads)


def add_leftovers(app: procrastinate.App, pool: Pool) -> None:
    """Sweep every minute, at one of the processes that execute runs."""

    @app.periodic(cron="* * * * *")
    @app.task(name="sweep_alone", queue=QUEUE, queueing_lock="sweep_alone", lock="sweep_alone")
    async def sweep_alone(timestamp: int) -> None:  # noqa: ARG001 (the engine says when it was due)
        while await sweep_leftovers(pool) == AT_ONCE:
            pass
