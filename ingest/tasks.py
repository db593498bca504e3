"""The tasks of the job engine: one attempt at a document's job, and what is recorded when it does not succeed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import procrastinate
from procrastinate import JobContext
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason

from core.database import Pool
from core.domain import DocumentId
from core.errors import Unavailable
from core.settings import ReconcileMode, SourceSettings
from ingest.builder import Builder
from ingest.connector import Connector
from ingest.document import Documents
from ingest.drafts import Superseded
from ingest.intake import Intake
from ingest.jobs import Jobs, give_back, given_back
from ingest.pipeline import Pipeline
from ingest.retry import QUEUE, UPKEEP, CollectionPaused, Retry, judge, reason
from ingest.sources import schedule
from ingest.sources.deferral import QUEUE as SOURCES
from ingest.sources.row import SourceId
from ingest.sources.sync import Syncer
from ingest.sweep import sweep_blobs
from ingest.upkeep_tasks import add_upkeep_tasks

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the tasks work with."""

    pool: Pool
    builder: Builder
    reconcile: ReconcileMode
    sources: SourceSettings

    @property
    def pipeline(self) -> Pipeline:
        """The way of one document."""
        return Pipeline(self.builder)


def create_job_app(work: Work | None = None) -> procrastinate.App:
    """The procrastinate app with the tasks of the write path; without ``work`` it can only defer."""
    app = procrastinate.App(connector=Connector())

    @app.task(name="ingest", queue=QUEUE, retry=Retry(), pass_context=True)
    async def ingest(context: JobContext, *, document: str) -> None:
        tools = _needed(work)
        await _attempt(tools, context, DocumentId(UUID(document)), tools.pipeline.ingest)

    @app.task(name="erase", queue=QUEUE, retry=Retry(), pass_context=True)
    async def erase(context: JobContext, *, document: str) -> None:
        tools = _needed(work)
        await _attempt(tools, context, DocumentId(UUID(document)), tools.pipeline.erase)

    @app.periodic(cron="17 * * * *")
    @app.task(name="sweep", queue=UPKEEP, queueing_lock="sweep", lock="sweep")
    async def sweep(timestamp: int) -> None:  # noqa: ARG001 (the engine says when it was due)
        tools = _needed(work)
        await sweep_blobs(tools.pool, tools.builder.blobs)
        await tools.builder.removals.sweep_all()

    syncer = create_syncer(work, app) if work else None

    @app.task(name="sync", queue=SOURCES, retry=Retry(), pass_context=True)
    async def sync(context: JobContext, *, source: str) -> None:
        tools = _needed(work)
        if syncer is not None:
            async with given_back(tools.pool, context.job):
                await schedule.attempt(syncer, tools.pool, SourceId(UUID(source)), context.job.attempts)

    @app.periodic(cron="* * * * *")
    @app.task(name="sync_due", queue=UPKEEP, queueing_lock="sync_due", lock="sync_due")
    async def sync_due(timestamp: int) -> None:  # noqa: ARG001 (the engine says when it was due)
        await schedule.defer_due(Jobs(app), _needed(work).pool)

    if work is None:
        add_upkeep_tasks(app, None, None, "off")
    else:
        add_upkeep_tasks(app, work.pool, work.builder, work.reconcile)
    return app


def create_syncer(work: Work, app: procrastinate.App) -> Syncer:
    """What looks at sources, with the parts of the write path."""
    jobs = Jobs(app)
    intake = Intake(work.pool, Documents(work.pool), work.builder.blobs, jobs)
    return Syncer(work.pool, work.sources, intake=intake, jobs=jobs)


def _needed(work: Work | None) -> Work:
    if work is None:
        raise Unavailable("This process only defers jobs.")
    return work


async def _attempt(
    work: Work, context: JobContext, document: DocumentId, run: Callable[[DocumentId], Awaitable[None]]
) -> None:
    """Run the job once; record why it did not succeed, and raise it for `Retry` to decide."""
    job = context.job
    try:
        if job.task_name == "ingest":
            await _check_not_paused(work.pool, document)
        await run(document)
    except Superseded:
        logger.info("document %s needs no %s any more", document, job.task_name)
    except asyncio.CancelledError:
        if context.abort_reason() is AbortReason.USER_REQUEST:
            raise JobAborted from None
        await give_back(work.pool, job)
        raise
    except Exception as error:  # `judge` sorts whatever comes
        verdict = judge(error, job.attempts)
        if verdict.free:
            await give_back(work.pool, job)
        if not isinstance(error, CollectionPaused):
            await _record(work, job.task_name, document, error, again=verdict.again)
        raise


async def _check_not_paused(pool: Pool, document: DocumentId) -> None:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT FROM documents d JOIN collections c ON c.id = d.collection_id "
            "WHERE d.id = %s AND c.paused_at IS NOT NULL",
            (document,),
        )
        if cursor.rowcount:
            raise CollectionPaused


async def _record(work: Work, task: str, document: DocumentId, error: Exception, *, again: bool) -> None:
    said = f"{reason(error)} It will be tried again by itself." if again else reason(error)
    if task == "erase":
        async with work.pool.connection() as connection:
            await connection.execute(
                "UPDATE documents SET error = %s WHERE id = %s AND status = 'deleting'", (said, document)
            )
    elif again:
        await work.builder.progress.postpone(document, said)
    else:
        await work.builder.progress.fail(document, said)
