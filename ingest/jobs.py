"""The jobs of documents: deferred in their tenant's turn, cancelled, and read by people when they did not end well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

import procrastinate
from procrastinate.jobs import Job

from core.database import Pool
from core.domain import CollectionId, DocumentId, TenantId
from core.errors import Conflict, NotFound
from ingest.document import Connection
from ingest.retry import UPKEEP
from ingest.sources.deferral import defer_sync
from ingest.sources.row import SourceId
from ingest.turns import take_turn

Kind = Literal["ingest", "erase"]


class JobStatus(StrEnum):
    """Where a job is; one that has succeeded is gone."""

    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (JobStatus.FAILED, JobStatus.CANCELLED)
"""The dead letters: nothing happens to these jobs until a person retries or clears them."""

_STATUS = (
    "(CASE j.status WHEN 'todo' THEN 'waiting' WHEN 'doing' THEN 'running' WHEN 'failed' THEN 'failed' "
    "ELSE 'cancelled' END)"
)
_SELECT = (
    f"SELECT j.id, j.task_name AS kind, {_STATUS} AS status, j.queue_name = 'paused' AS paused, j.attempts, "  # noqa: S608
    "CASE WHEN j.status = 'todo' THEN j.scheduled_at END AS next_attempt_at, d.id AS document, d.name, "
    "c.name AS collection, d.error, e.first AS created_at, e.latest AS updated_at "
    "FROM procrastinate_jobs j JOIN documents d ON d.id = (j.args ->> 'document')::uuid AND d.job_id = j.id "
    "JOIN collections c ON c.id = d.collection_id CROSS JOIN LATERAL (SELECT min(at) AS first, max(at) AS latest "
    "FROM procrastinate_events WHERE job_id = j.id AND type <> 'scheduled') e "
    "WHERE d.tenant_id = %(tenant)s AND j.task_name IN ('ingest', 'erase')"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEntry:
    """A job and the document that it is about; ``error`` is why its last attempt ended."""

    id: int
    kind: Kind
    status: JobStatus
    paused: bool
    attempts: int
    next_attempt_at: datetime | None
    document: DocumentId
    name: str
    collection: str
    error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are meant; what is None leaves nothing out."""

    status: JobStatus | None = None
    kind: Kind | None = None
    collection: str | None = None


class Jobs:
    """Defers and ends the jobs of documents, in the transaction that changes the document's row."""

    def __init__(self, app: procrastinate.App) -> None:
        self._app = app

    async def ingest(self, connection: Connection, document: DocumentId) -> int:
        """Defer the ingestion; returns the job's id."""
        return await self._defer("ingest", connection, document)

    async def erase(self, connection: Connection, document: DocumentId) -> int:
        """Defer the erasure; it waits for a running ingestion of the same document."""
        return await self._defer("erase", connection, document)

    async def sync(self, connection: Connection, tenant: TenantId, source: SourceId) -> bool:
        """Defer a look at a source; whether it was not going to be looked at anyway."""
        return await defer_sync(self._app, connection, tenant, source)

    async def reembed(self, connection: Connection, collection: CollectionId) -> int:
        """Defer the making anew of a collection; returns the job's id."""
        lock = f"reembed {collection}"
        deferrer = self._app.configure_task("reembed", queue=UPKEEP, lock=lock, connection=connection)
        job = await deferrer.defer_async(collection=str(collection))
        await connection.execute("UPDATE rebuilds SET job_id = %s WHERE collection_id = %s", (job, collection))
        return job

    async def reconcile(self, connection: Connection, record: int) -> int:
        """Defer a comparison of everything that is stored; returns the job's id."""
        return await self._app.configure_task("reconcile", queue=UPKEEP, connection=connection).defer_async(
            record=record
        )

    async def cancel(self, connection: Connection, tenant: TenantId, document: DocumentId, *, by: str) -> None:
        """End the ingestion, queued or running: the document has failed from this transaction on.

        Raises:
            Conflict: it is not being ingested.
        """
        cursor = await connection.execute(
            # A new generation, so that no step of the attempt that is under way counts any more.
            "UPDATE documents SET status = 'failed', error = %s, generation = generation + 1, done = 0, total = 0, "
            "updated_at = clock_timestamp() WHERE id = %s AND tenant_id = %s "
            "AND status IN ('queued', 'loading', 'chunking', 'embedding') RETURNING job_id",
            (f"Cancelled by {by}. Retry it when it shall be read after all.", document, tenant),
        )
        row = await cursor.fetchone()
        if row is None:
            raise Conflict("Only a document that waits or is being read can be cancelled.")
        if row["job_id"] is not None:
            await self._app.job_manager.cancel_job_by_id_async(row["job_id"], abort=True, connection=connection)

    async def _defer(self, task: Kind, connection: Connection, document: DocumentId) -> int:
        await connection.execute(
            "DELETE FROM procrastinate_jobs WHERE id = (SELECT job_id FROM documents WHERE id = %s) "
            "AND status IN ('failed', 'cancelled', 'aborted')",
            (document,),
        )
        turn = await take_turn(connection, document, task=task)
        deferrer = self._app.configure_task(
            task, queue=turn.queue, priority=turn.priority, lock=str(document), connection=connection
        )
        return await deferrer.defer_async(document=str(document))


async def give_back(pool: Pool, job: Job) -> None:
    """Not use up an attempt: the engine counts one when it puts the job back."""
    async with pool.connection() as connection:
        await connection.execute("UPDATE procrastinate_jobs SET attempts = attempts - 1 WHERE id = %s", (job.id,))


@asynccontextmanager
async def given_back(pool: Pool, job: Job) -> AsyncIterator[None]:
    """Use up no attempt of the job when its worker is stopped while the block runs."""
    try:
        yield
    except asyncio.CancelledError:
        await give_back(pool, job)
        raise


class JobList:
    """The jobs as people see them; every read names its tenant."""

    def __init__(self, pool: Pool, jobs: Jobs) -> None:
        self._pool = pool
        self._jobs = jobs

    async def select(
        self, tenant: TenantId, wanted: JobFilter, *, before: int | None = None, limit: int = 50
    ) -> list[JobEntry]:
        """Jobs, newest first; ``before`` is the id that the previous page ended with."""
        async with self._pool.connection() as connection:
            return await _find(connection, tenant, wanted, before=before, limit=limit)

    async def retry(self, tenant: TenantId, job: int) -> JobEntry:
        """Try an ended job again, with all its attempts; returns the job that was made of it.

        Raises:
            NotFound: the tenant has no such job.
            Conflict: it has not ended.
        """
        async with self._pool.connection() as connection, connection.transaction():
            entry = await _ended(connection, tenant, job)
            again = await self._again(connection, entry)
            (made,) = await _find(connection, tenant, JobFilter(), job=again, limit=1)
        return made

    async def retry_all(self, tenant: TenantId, wanted: JobFilter, *, limit: int = 1000) -> int:
        """Try the ended jobs again, the oldest first, at most ``limit`` of them; how many they were."""
        async with self._pool.connection() as connection, connection.transaction():
            entries = await _find(connection, tenant, wanted, ended=True, limit=limit)
            for entry in reversed(entries):
                await self._again(connection, entry)
        return len(entries)

    async def clear(self, tenant: TenantId, job: int) -> None:
        """Forget an ended ingestion; its document stays as it is, to be retried or deleted.

        Raises:
            NotFound: the tenant has no such job.
            Conflict: it has not ended, or is an erasure, which has to be carried out.
        """
        async with self._pool.connection() as connection, connection.transaction():
            entry = await _ended(connection, tenant, job)
            if entry.kind == "erase":
                raise Conflict("What is left of a deleted document must go: retry the erasure.")
            await connection.execute("DELETE FROM procrastinate_jobs WHERE id = %s", (job,))

    async def _again(self, connection: Connection, entry: JobEntry) -> int:
        status = "deleting" if entry.kind == "erase" else "queued"
        await connection.execute(
            "UPDATE documents SET status = %s, error = NULL, done = 0, total = 0, updated_at = clock_timestamp() "
            "WHERE id = %s",
            (status, entry.document),
        )
        defer = self._jobs.erase if entry.kind == "erase" else self._jobs.ingest
        job = await defer(connection, entry.document)
        await connection.execute("UPDATE documents SET job_id = %s WHERE id = %s", (job, entry.document))
        return job


async def _ended(connection: Connection, tenant: TenantId, job: int) -> JobEntry:
    # Locked, so that of two who press the button one finds it gone.
    await connection.execute("SELECT FROM procrastinate_jobs WHERE id = %s FOR UPDATE", (job,))
    found = await _find(connection, tenant, JobFilter(), job=job, limit=1)
    if not found:
        raise NotFound(f"There is no job {job}. GET /jobs lists those that have not succeeded.")
    if found[0].status not in ENDED:
        raise Conflict(f"Job {job} is {found[0].status.value}: only one that failed or was cancelled allows this.")
    return found[0]


async def _find(
    connection: Connection,
    tenant: TenantId,
    wanted: JobFilter,
    *,
    job: int | None = None,
    before: int | None = None,
    ended: bool = False,
    limit: int,
) -> list[JobEntry]:
    conditions = {
        f"{_STATUS} = %(status)s": wanted.status,
        "j.task_name = %(kind)s": wanted.kind,
        "c.name = %(collection)s": wanted.collection,
        "j.id = %(job)s": job,
        "j.id < %(before)s": before,
        "j.status IN ('failed', 'cancelled', 'aborted')": ended or None,
    }
    values = {"tenant": tenant, "limit": limit, "job": job, "before": before}
    values |= {"status": wanted.status, "kind": wanted.kind, "collection": wanted.collection}
    where = "".join(f" AND {condition}" for condition, value in conditions.items() if value is not None)
    cursor = await connection.execute(f"{_SELECT}{where} ORDER BY j.id DESC LIMIT %(limit)s".encode(), values)
    return [JobEntry(**{**row, "status": JobStatus(row["status"])}) for row in await cursor.fetchall()]
