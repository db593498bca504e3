"""Removes what ended runs have streamed when it was kept long enough."""

from __future__ import annotations

import procrastinate

from app.runs.tasks import QUEUE
from core.database import Pool

BATCH = 200

# The last number stays with the run: who asks for what is gone is told so.
SWEEP = b"""
WITH old AS (
    SELECT id FROM runs
    WHERE events_until IS NULL AND status NOT IN ('pending', 'running')
        AND updated_at < now() - make_interval(secs => %s)
    ORDER BY updated_at LIMIT %s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM run_events e USING old WHERE e.run_id = old.id RETURNING e.run_id, e.seq
)
UPDATE runs SET events_until = coalesce((SELECT max(seq) FROM gone WHERE run_id = runs.id), 0)
FROM old WHERE runs.id = old.id
"""


async def sweep_events(pool: Pool, keep_s: float) -> int:
    """Remove the events of runs that ended more than ``keep_s`` seconds ago; returns of how many runs."""
    swept = 0
    while True:
        async with pool.connection() as connection:
            count = (await connection.execute(SWEEP, (keep_s, BATCH))).rowcount
        swept += count
        if count < BATCH:
            return swept


def add_sweep(app: procrastinate.App, pool: Pool, keep_s: float) -> None:
    """Have the events removed every hour, by one of the processes that execute runs."""

    @app.periodic(cron="41 * * * *")
    @app.task(name="sweep_events", queue=QUEUE, queueing_lock="sweep_events", lock="sweep_events")
    async def sweep(timestamp: int) -> None:  # noqa: ARG001 (the engine says when it was due)
        await sweep_events(pool, keep_s)
