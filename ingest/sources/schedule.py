"""When sources are looked at: when somebody asks, and again and again where they have an interval."""

from __future__ import annotations

from procrastinate.jobs import Status

from core.database import Pool
from core.domain import TenantId
from ingest.jobs import Jobs
from ingest.retry import ATTEMPTS, judge, reason
from ingest.sources.row import SourceId, Sources
from ingest.sources.sync import Syncer

LOST = "The look at this source was lost with its worker. Sync it again."
DIED = f"The worker died {ATTEMPTS} times while it looked at this source. Its log says why; then sync it again."


async def defer_due(jobs: Jobs, pool: Pool) -> int:
    """Have the sources looked at whose interval has passed; how many they are. Looks that were lost have failed."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(
            "UPDATE sources s SET status = 'failed', error = %s, tried_at = now() "
            "WHERE status IN ('queued', 'syncing') AND NOT EXISTS ("
            "  SELECT FROM procrastinate_jobs j WHERE j.id = s.job_id AND j.status IN (%s, %s))",
            (LOST, Status.TODO.value, Status.DOING.value),
        )
        cursor = await connection.execute(
            "SELECT id, tenant_id FROM sources WHERE status NOT IN ('queued', 'syncing') AND interval_s IS NOT NULL "
            "AND coalesce(tried_at, created_at) + make_interval(secs => interval_s) <= now() "
            "ORDER BY tried_at NULLS FIRST FOR UPDATE SKIP LOCKED"
        )
        due = await cursor.fetchall()
        for row in due:
            await jobs.sync(connection, TenantId(row["tenant_id"]), SourceId(row["id"]))
    return len(due)


async def attempt(syncer: Syncer, pool: Pool, source: SourceId, attempts: int) -> None:
    """Look at a source once; record why it did not succeed, and raise it for the job engine to decide.

    Args:
        syncer: what looks.
        pool: the database.
        source: which source.
        attempts: how many attempts of this job went before.
    """
    sources = Sources(pool)
    if attempts >= ATTEMPTS:
        await sources.end(source, {}, DIED)
        return
    try:
        await syncer.run(source)
    except Exception as error:  # `judge` sorts whatever comes
        if judge(error, attempts).again:
            await sources.postpone(source, f"{reason(error)} It will be tried again by itself.")
        else:
            await sources.end(source, {}, reason(error))
        raise
