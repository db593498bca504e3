"""The worker: takes jobs until it is told to stop. A process of its own (`serve`), or a part of the API's."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import procrastinate
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from core.database import Pool, open_pool
from core.settings import IngestSettings, Settings
from ingest.indexes import open_indexes
from ingest.retry import QUEUE, UPKEEP
from ingest.schema import prepare_write_path
from ingest.sources.deferral import QUEUE as SOURCES
from ingest.tasks import create_job_app
from ingest.upkeep import STALLED_S, keep
from ingest.workshop import open_work
from models.embedder import open_embedder
from models.embedders import open_embedders, stamp_of

logger = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
RESTART_MAX_S = 15.0
LOOKS = 2
"""Sources that one process looks at at once."""
GRACE_S = 5.0
"""How long jobs may go on after a SIGTERM; those that do not end are put back without using up an attempt."""


@asynccontextmanager
async def run_worker(app: procrastinate.App, pool: Pool, settings: IngestSettings) -> AsyncIterator[asyncio.Task[None]]:
    """Work on jobs in the background until the block ends; yields the worker's task.

    Sources are looked at beside the documents, because a look may take hours.
    """
    stopping = asyncio.Event()
    queues = [QUEUE, UPKEEP]
    worker = asyncio.create_task(keep_working(app, queues, settings.concurrency, stopping), name="ingest-worker")
    looker = asyncio.create_task(keep_working(app, [SOURCES], LOOKS, stopping), name="ingest-sources")
    keeper = asyncio.create_task(keep(app, pool, alarm_s=settings.alarm_s), name="ingest-upkeep")
    try:
        yield worker
    finally:
        stopping.set()
        for task in (keeper, worker, looker):
            task.cancel()
        await asyncio.gather(keeper, worker, looker, return_exceptions=True)


def stop_signal() -> asyncio.Event:
    """Is set by SIGTERM and SIGINT, which do nothing else from now on."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def serve(settings: Settings) -> None:
    """A worker process: open what it needs, and work until SIGTERM or SIGINT.

    Raises:
        Unavailable: a part does not answer, or another process has the embedded index open.
        InvalidInput: a setting does not fit.
    """
    stop = stop_signal()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.database))
        await prepare_write_path(pool)
        embedder = await stack.enter_async_context(open_embedder(settings.embedding))
        embedders = await stack.enter_async_context(open_embedders(embedder, settings.embedding))
        indexes = await stack.enter_async_context(open_indexes(settings, pool))
        await indexes.open(stamp_of(embedder))
        work = await stack.enter_async_context(open_work(settings, pool, embedders, indexes))
        app = create_job_app(work)
        await stack.enter_async_context(app.open_async(pool))
        await stack.enter_async_context(run_worker(app, pool, settings.ingest))
        logger.info("the worker is ready")
        await stop.wait()


async def keep_working(
    app: procrastinate.App, queues: Sequence[str], concurrency: int, stopping: asyncio.Event
) -> None:
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
                queues=queues,
                concurrency=concurrency,
                install_signal_handlers=False,
                update_heartbeat_interval=HEARTBEAT_S,
                stalled_worker_timeout=STALLED_S,
                shutdown_graceful_timeout=GRACE_S,
                fetch_job_polling_interval=2.0,
                abort_job_polling_interval=2.0,
                delete_jobs="successful",
            )


def _tell(state: RetryCallState) -> None:
    failure = state.outcome.exception() if state.outcome else None
    logger.warning("the ingestion worker stopped and starts again: %s", type(failure).__name__)
