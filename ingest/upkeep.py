"""What a worker does beside its jobs: take over those of dead workers, give lost documents a job, raise alarms."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import procrastinate
import psycopg
from procrastinate.jobs import Job, Status
from psycopg_pool import PoolTimeout

from core.database import KEEPER_LOCK, Pool
from core.domain import CollectionId, DocumentId
from ingest.document import Connection
from ingest.jobs import Jobs
from ingest.rebuild import count_death
from ingest.retry import ATTEMPTS
from ingest.turns import align

logger = logging.getLogger(__name__)

STALLED_S = 10.0
"""A worker whose heartbeat is older than this is dead."""
INTERVAL_S = 3.0
ALARM_INTERVAL_S = 60.0
DIED = (
    f"The worker died {ATTEMPTS} times while it worked on this document. Its log says why (memory, most often); then "
    "retry it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The state of the queue over all tenants; ages in seconds."""

    workers: int
    waiting: int
    running: int
    paused: int
    failed: int
    oldest_waiting_s: float


async def measure(pool: Pool) -> Figures:
    """How many workers live, and how much work waits; a job that waits for its next attempt has its age too."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            # Each process has two workers for the engine: one for documents, one for sources. Runners of agents have
            # one more, which does not work here.
            "SELECT (SELECT (count(*) - (SELECT count(*) FROM runners WHERE heartbeat > now() - %(dead)s) + 1) / 2 "
            "  FROM procrastinate_workers WHERE last_heartbeat > now() - %(dead)s) AS workers, "
            "count(*) FILTER (WHERE j.status = 'todo' AND j.queue_name = 'ingest') AS waiting, "
            "count(*) FILTER (WHERE j.status = 'doing') AS running, "
            "count(*) FILTER (WHERE j.status = 'todo' AND j.queue_name = 'paused') AS paused, "
            "count(*) FILTER (WHERE j.status = 'failed') AS failed, "
            "coalesce(extract(epoch FROM clock_timestamp() - min(e.at)), 0)::float AS oldest_waiting_s "
            "FROM procrastinate_jobs j LEFT JOIN procrastinate_events e ON e.job_id = j.id AND e.type = 'deferred' "
            "AND j.status = 'todo' AND j.queue_name = 'ingest'",
            {"dead": timedelta(seconds=STALLED_S)},
        )
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 (an aggregate has a row)
    return Figures(**row)


async def keep(app: procrastinate.App, pool: Pool, *, alarm_s: float) -> None:
    """Reconcile again and again, and tell when a job has waited for more than ``alarm_s`` seconds."""
    told = -ALARM_INTERVAL_S
    while True:
        try:
            await reconcile(app, pool)
            if time.monotonic() - told >= ALARM_INTERVAL_S and await _alarm(pool, alarm_s):
                told = time.monotonic()
        except (psycopg.Error, PoolTimeout, procrastinate.exceptions.ConnectorException) as error:
            logger.warning("jobs could not be reconciled: %s", type(error).__name__)
        await asyncio.sleep(INTERVAL_S)


async def reconcile(app: procrastinate.App, pool: Pool) -> None:
    """Take over jobs of dead workers, and see that every document that needs a job has one, in the right queue."""
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s) AS got", (KEEPER_LOCK,))
        row = await cursor.fetchone()
        if row is None or not row["got"]:
            return  # another worker does it
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_S):
            await _take_over(app, connection, job)
        await _end_dropped(connection)
        await _defer_missing(Jobs(app), connection)
        await _defer_rebuilds(Jobs(app), connection)
        await _forget_replaced(connection)
        await align(connection)


async def _take_over(app: procrastinate.App, connection: Connection, job: Job) -> None:
    """Put a dead worker's job back; one that has cost too many workers their lives fails."""
    if job.id is None:
        return
    if job.task_name == "reembed":
        await _take_over_rebuild(app, connection, job)
        return
    if job.attempts + 1 < ATTEMPTS or "document" not in job.task_kwargs:
        logger.warning("job %s is taken over: its worker is gone", job.id)
        await app.job_manager.retry_job(job)
        return
    logger.error("job %s fails: its worker died at every attempt", job.id)
    await app.job_manager.finish_job(job, Status.FAILED, delete_job=False)
    await connection.execute(
        "UPDATE documents SET error = %s, status = CASE status WHEN 'deleting' THEN status ELSE 'failed' END, "
        "updated_at = clock_timestamp() WHERE id = %s AND status <> 'indexed'",
        (DIED, job.task_kwargs["document"]),
    )


async def _take_over_rebuild(app: procrastinate.App, connection: Connection, job: Job) -> None:
    """Put the change of a collection back, without an attempt used up: its deaths are counted by how far it got."""
    if await count_death(connection, CollectionId(UUID(str(job.task_kwargs["collection"])))):
        logger.error("job %s fails: worker after worker died, and the change of the collection did not get on", job.id)
        await app.job_manager.finish_job(job, Status.FAILED, delete_job=False)
        return
    logger.warning("job %s is taken over: its worker is gone", job.id)
    await app.job_manager.retry_job(job)
    await connection.execute("UPDATE procrastinate_jobs SET attempts = attempts - 1 WHERE id = %s", (job.id,))


async def _end_dropped(connection: Connection) -> None:
    """Fail the documents whose job failed, but whose failure could not be recorded, say because the disk was full."""
    await connection.execute(
        "UPDATE documents d SET status = 'failed', updated_at = clock_timestamp(), "
        "error = coalesce(error, 'The job failed; the log of the worker says why. Retry it.') "
        "FROM procrastinate_jobs j WHERE j.id = d.job_id AND j.status IN ('failed', 'cancelled', 'aborted') "
        "AND d.status NOT IN ('indexed', 'failed') AND d.status <> 'deleting' "
        "AND d.updated_at < now() - interval '5 seconds'"
    )


async def _defer_missing(jobs: Jobs, connection: Connection) -> None:
    cursor = await connection.execute(
        "SELECT id, status FROM documents d WHERE status NOT IN ('indexed', 'failed') "
        "AND updated_at < clock_timestamp() - interval '2 seconds' "
        "AND NOT EXISTS (SELECT FROM procrastinate_jobs j WHERE j.id = d.job_id AND j.status <> 'succeeded') "
        "ORDER BY tenant_id FOR UPDATE SKIP LOCKED"
    )
    for row in await cursor.fetchall():
        defer = jobs.erase if row["status"] == "deleting" else jobs.ingest
        job_id = await defer(connection, DocumentId(row["id"]))
        await connection.execute("UPDATE documents SET job_id = %s WHERE id = %s", (job_id, row["id"]))
        logger.warning("document %s had no job and got one", row["id"])


async def _defer_rebuilds(jobs: Jobs, connection: Connection) -> None:
    cursor = await connection.execute(
        "SELECT collection_id FROM rebuilds r WHERE status IN ('running', 'clearing') "
        "AND updated_at < clock_timestamp() - interval '2 seconds' AND NOT EXISTS "
        "(SELECT FROM procrastinate_jobs j WHERE j.id = r.job_id AND j.status IN ('todo', 'doing')) "
        "FOR UPDATE SKIP LOCKED"
    )
    for row in await cursor.fetchall():
        await jobs.reembed(connection, CollectionId(row["collection_id"]))
        logger.warning("the change of collection %s had no job and got one", row["collection_id"])


async def _forget_replaced(connection: Connection) -> None:
    """Drop ended jobs that are no dead letters: another job has taken their place, or they are not of a document."""
    await connection.execute(
        "DELETE FROM procrastinate_jobs j WHERE j.status IN ('failed', 'cancelled', 'aborted') "
        "AND j.task_name IN ('ingest', 'erase', 'sweep', 'reembed', 'reconcile', 'reconcile_nightly', 'sync', "
        "'sync_due') "
        "AND NOT EXISTS (SELECT FROM documents d WHERE d.id = (j.args ->> 'document')::uuid AND d.job_id = j.id)"
    )


async def _alarm(pool: Pool, alarm_s: float) -> bool:
    figures = await measure(pool)
    if figures.oldest_waiting_s < alarm_s:
        return False
    logger.warning(
        "%d jobs wait, the oldest for %.0f s; %d workers are alive: start more of them, or see what holds them up",
        figures.waiting,
        figures.oldest_waiting_s,
        figures.workers,
    )
    return True
