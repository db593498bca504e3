"""Rolling a run back: its checkpoints go, and the ones before it are as they were."""

from __future__ import annotations

from app.runs.run import Run
from core.database import Pool

HEADS = (
    "SELECT DISTINCT ON (checkpoint_ns) checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = %(thread)s "
    "ORDER BY checkpoint_ns, checkpoint_id DESC"
)
REMEMBER = f"""
WITH heads AS ({HEADS}), kept AS (
    SELECT w.checkpoint_ns, w.checkpoint_id, w.task_id, w.idx FROM checkpoint_writes w JOIN heads h
    ON w.thread_id = %(thread)s AND w.checkpoint_ns = h.checkpoint_ns AND w.checkpoint_id = h.checkpoint_id
)
UPDATE runs SET base = jsonb_build_object(
    'heads', (SELECT jsonb_agg(concat_ws(' ', checkpoint_id, checkpoint_ns)) FROM heads),
    'writes', (SELECT jsonb_agg(concat_ws(' ', checkpoint_id, task_id, idx, checkpoint_ns)) FROM kept)
) WHERE id = %(run)s AND base IS NULL
"""  # noqa: S608
# The writes of the run's own checkpoints, and those that it added to the ones that it began from.
WRITES = """
DELETE FROM checkpoint_writes w WHERE thread_id = %(thread)s AND (
    EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = w.thread_id AND c.checkpoint_ns = w.checkpoint_ns
        AND c.checkpoint_id = w.checkpoint_id AND c.metadata ->> 'run_id' = %(run_text)s)
    OR EXISTS (SELECT FROM runs r WHERE r.id = %(run)s
        AND r.base -> 'heads' ? concat_ws(' ', w.checkpoint_id, w.checkpoint_ns)
        AND NOT coalesce(
            r.base -> 'writes' ? concat_ws(' ', w.checkpoint_id, w.task_id, w.idx, w.checkpoint_ns), false)))
"""
CHECKPOINTS = "DELETE FROM checkpoints WHERE thread_id = %(thread)s AND metadata ->> 'run_id' = %(run_text)s"
BLOBS = """
DELETE FROM checkpoint_blobs b WHERE thread_id = %(thread)s AND NOT EXISTS (
    SELECT FROM checkpoints c WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
    AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version)
"""


async def remember(pool: Pool, run: Run) -> None:
    """Note what the thread's last checkpoints hold, before a run that goes on from them adds to it."""
    async with pool.connection() as connection:
        await connection.execute(REMEMBER.encode(), {"thread": str(run.thread_id), "run": run.id})


async def undo(pool: Pool, run: Run) -> None:
    """Remove what the run has written into its thread's state."""
    values = {"thread": str(run.thread_id), "run": run.id, "run_text": str(run.id)}
    async with pool.connection() as connection, connection.transaction():
        for query in (WRITES, CHECKPOINTS, BLOBS):
            await connection.execute(query.encode(), values)
