"""The tasks that are about more than one document: making a collection anew, and comparing what is stored."""

from __future__ import annotations

import logging
from uuid import UUID

import procrastinate
from procrastinate import JobContext

from core.database import Pool
from core.domain import CollectionId
from core.errors import Unavailable
from core.settings import ReconcileMode
from ingest.builder import Builder
from ingest.jobs import Jobs, given_back
from ingest.rebuilder import Rebuilder
from ingest.reconciliation import ask_for_reconciliation, carry_out
from ingest.retry import UPKEEP, Retry, judge, reason

logger = logging.getLogger(__name__)


def add_upkeep_tasks(
    app: procrastinate.App, pool: Pool | None, builder: Builder | None, nightly: ReconcileMode
) -> None:
    """Register the tasks; without a pool and a builder they can only be deferred."""

    def parts() -> tuple[Pool, Builder]:
        if pool is None or builder is None:
            raise Unavailable("This process only defers jobs.")
        return pool, builder

    @app.task(name="reembed", queue=UPKEEP, retry=Retry(), pass_context=True)
    async def reembed(context: JobContext, *, collection: str) -> None:
        rebuilder = Rebuilder(*parts(), ingest=Jobs(app).ingest)
        async with given_back(rebuilder.pool, context.job):
            await _attempt(rebuilder, CollectionId(UUID(collection)), context.job.attempts)

    @app.task(name="reconcile", queue=UPKEEP, lock="reconcile")
    async def reconcile(*, record: int) -> None:
        await carry_out(*parts(), record)

    @app.periodic(cron="23 3 * * *")
    @app.task(name="reconcile_nightly", queue=UPKEEP, queueing_lock="reconcile_nightly", lock="reconcile")
    async def reconcile_nightly(timestamp: int) -> None:  # noqa: ARG001 (the engine says when it was due)
        if nightly != "off":
            await _every_night(*parts(), repair=nightly == "repair")


async def _attempt(rebuilder: Rebuilder, collection: CollectionId, attempts: int) -> None:
    try:
        await rebuilder.run(collection)
    except Exception as error:  # `judge` sorts whatever comes
        if judge(error, attempts).again:
            raise
        logger.warning("collection %s could not be made anew: %s", collection, type(error).__name__)
        await rebuilder.fail(collection, reason(error))


async def _every_night(pool: Pool, builder: Builder, *, repair: bool) -> None:
    async with pool.connection() as connection:
        record = await ask_for_reconciliation(connection, repair=repair)
    await carry_out(pool, builder, record)
