"""The jobs of the write path on procrastinate: run, retried when that can help, and never lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import procrastinate
import psycopg
from procrastinate import JobContext, PsycopgConnector, RetryDecision
from procrastinate.jobs import Job, Status
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from core.database import Pool
from core.domain import DocumentId
from core.errors import PlatformError, Unavailable
from ingest.document import Connection
from ingest.pipeline import Pipeline
from ingest.progress import Progress, Superseded

logger = logging.getLogger(__name__)

QUEUE = "ingest"
ATTEMPTS = 6
HEARTBEAT_S = 2.0
STALLED_S = 10.0
RECONCILE_S = 3.0
RESTART_MAX_S = 15.0


def is_transient(error: BaseException) -> bool:
    """Whether trying again can help: the one place where the write path's errors are sorted.

    What we raise about a document itself will be the same tomorrow. Parts that do not answer, and everything that
    we did not foresee, may pass.
    """
    return isinstance(error, Unavailable) or not isinstance(error, PlatformError)


def delay(attempt: int, *, spread: float | None = None) -> float:
    """Seconds to wait before attempt ``attempt + 1``: 2, 4, 8 … with up to a quarter of jitter on top."""
    jitter = random.random() if spread is None else spread  # noqa: S311 (no secret)
    return float(2 ** min(attempt, 6)) * (1 + jitter / 4)


class Retry(procrastinate.BaseRetryStrategy):
    """Exponential back-off with jitter, for transient errors, a bounded number of times."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Try again later, or not at all."""
        if not is_transient(exception) or job.attempts + 1 >= ATTEMPTS:
            return None
        return RetryDecision(retry_in={"seconds": round(delay(job.attempts + 1))})


class Jobs:
    """Defers the jobs of documents, in the transaction that changes the document's row."""

    def __init__(self, app: procrastinate.App) -> None:
        self._app = app

    async def ingest(self, connection: Connection, document: DocumentId) -> int:
        """Defer the ingestion; returns the job's id."""
        return await self._defer("ingest", connection, document)

    async def erase(self, connection: Connection, document: DocumentId) -> int:
        """Defer the erasure; it waits for a running ingestion of the same document."""
        return await self._defer("erase", connection, document)

    async def _defer(self, task: str, connection: Connection, document: DocumentId) -> int:
        deferrer = self._app.configure_task(task, queue=QUEUE, lock=str(document), connection=connection)
        return await deferrer.defer_async(document=str(document))


def create_job_app(pipeline: Pipeline | None, progress: Progress | None) -> procrastinate.App:
    """The procrastinate app with the tasks of the write path; without a pipeline it can only defer."""
    app = procrastinate.App(connector=PsycopgConnector())

    @app.task(name="ingest", queue=QUEUE, retry=Retry(), pass_context=True)
    async def ingest(context: JobContext, *, document: str) -> None:
        if pipeline is None or progress is None:
            raise Unavailable("This process only defers jobs.")
        document_id = DocumentId(UUID(document))
        try:
            await pipeline.ingest(document_id)
        except Superseded:
            logger.info("document %s needs no ingestion any more", document)
        except Exception as error:
            again = is_transient(error) and context.job.attempts + 1 < ATTEMPTS
            await _record(progress, document_id, error, again=again)
            if again or is_transient(error):
                raise

    @app.task(name="erase", queue=QUEUE, retry=Retry())
    async def erase(*, document: str) -> None:
        if pipeline is None:
            raise Unavailable("This process only defers jobs.")
        await pipeline.erase(DocumentId(UUID(document)))

    return app


async def _record(progress: Progress, document: DocumentId, error: Exception, *, again: bool) -> None:
    reason = str(error) if isinstance(error, PlatformError) else "An unexpected error; the log of the worker has it."
    if again:
        await progress.postpone(document, f"{reason} It will be tried again by itself.")
    else:
        logger.warning("document %s failed: %s", document, type(error).__name__)
        await progress.fail(document, reason)


async def apply_job_schema(pool: Pool) -> None:
    """Create procrastinate's tables when they are missing; to be called by one process at a time."""
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT to_regclass('procrastinate_jobs') AS jobs")
        row = await cursor.fetchone()
    if row is None or row["jobs"] is None:
        app = procrastinate.App(connector=PsycopgConnector())
        async with app.open_async(pool):
            await app.schema_manager.apply_schema_async()


@asynccontextmanager
async def run_worker(app: procrastinate.App, pool: Pool, *, concurrency: int) -> AsyncIterator[asyncio.Task[None]]:
    """Work on jobs in the background until the block ends; yields the worker's task."""
    stopping = asyncio.Event()
    worker = asyncio.create_task(_keep_working(app, concurrency, stopping), name="ingest-worker")
    keeper = asyncio.create_task(_keep_reconciled(app, pool), name="ingest-reconcile")
    try:
        yield worker
    finally:
        stopping.set()
        for task in (keeper, worker):
            task.cancel()
        await asyncio.gather(keeper, worker, return_exceptions=True)


async def _keep_working(app: procrastinate.App, concurrency: int, stopping: asyncio.Event) -> None:
    """Run the worker, and run it again when a lost database has stopped it.

    A worker that is cancelled while the database is away ends with the database's error and not as cancelled: only
    ``stopping`` tells that it shall not start again.
    """
    async for attempt in AsyncRetrying(
        wait=wait_exponential(max=RESTART_MAX_S),
        retry=retry_if_exception_type(Exception),
        stop=lambda _: stopping.is_set(),
        before_sleep=_tell,
    ):
        with attempt:
            await app.run_worker_async(
                queues=[QUEUE],
                concurrency=concurrency,
                install_signal_handlers=False,
                update_heartbeat_interval=HEARTBEAT_S,
                stalled_worker_timeout=STALLED_S,
                shutdown_graceful_timeout=5.0,
                fetch_job_polling_interval=2.0,
                delete_jobs="successful",
            )


def _tell(state: RetryCallState) -> None:
    failure = state.outcome.exception() if state.outcome else None
    logger.warning("the ingestion worker stopped and starts again: %s", type(failure).__name__)


async def _keep_reconciled(app: procrastinate.App, pool: Pool) -> None:
    while True:
        try:
            await reconcile(app, pool)
        except (psycopg.Error, procrastinate.exceptions.ConnectorException) as error:
            logger.warning("jobs could not be reconciled: %s", type(error).__name__)
        await asyncio.sleep(RECONCILE_S)


async def reconcile(app: procrastinate.App, pool: Pool) -> None:
    """Take over jobs of dead workers, and defer a job for every document that needs one and has none."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_S):
        logger.warning("job %s is taken over: its worker is gone", job.id)
        await app.job_manager.retry_job(job)
    jobs = Jobs(app)
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "SELECT id, status FROM documents d WHERE status NOT IN ('indexed', 'failed') "
            "AND updated_at < clock_timestamp() - interval '2 seconds' AND NOT EXISTS ("
            "  SELECT FROM procrastinate_jobs j WHERE j.id = d.job_id AND j.status IN (%s, %s)"
            ") FOR UPDATE SKIP LOCKED",
            (Status.TODO.value, Status.DOING.value),
        )
        for row in await cursor.fetchall():
            defer = jobs.erase if row["status"] == "deleting" else jobs.ingest
            job_id = await defer(connection, DocumentId(row["id"]))
            await connection.execute("UPDATE documents SET job_id = %s WHERE id = %s", (job_id, row["id"]))
            logger.warning("document %s had no job and got one", row["id"])
