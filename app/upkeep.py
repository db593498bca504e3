"""What the processes that execute runs do beside: begin crons, and remove what has expired."""

from __future__ import annotations

import procrastinate

from app.crons.ticker import Ticker
from app.idempotency.answer import Answers
from app.runs.tasks import QUEUE
from app.store.item import Items, sweep_items
from core.database import Pool

BATCH = 1000
"""Expired items that are removed at once."""
RENEWED = 50
"""Items that are embedded anew in one go."""


def add_upkeep(app: procrastinate.App, pool: Pool, *, ticker: Ticker, items: Items, answers: Answers) -> None:
    """Register the tasks; of all processes one does each at its time."""

    @app.periodic(cron="* * * * *")
    @app.task(name="crons_tick", queue=QUEUE, queueing_lock="crons_tick")
    async def tick(timestamp: int) -> None:  # noqa: ARG001 (the rows say what is due)
        await ticker.tick()

    @app.periodic(cron="* * * * *")
    @app.task(name="store_sweep", queue=QUEUE, queueing_lock="store_sweep", lock="store_sweep")
    async def sweep(timestamp: int) -> None:  # noqa: ARG001 (the engine says when it was due)
        while await sweep_items(pool, BATCH) == BATCH:
            pass

    @app.periodic(cron="7 * * * *")
    @app.task(name="store_renew", queue=QUEUE, queueing_lock="store_renew", lock="store_renew")
    async def renew(timestamp: int) -> None:  # noqa: ARG001 (the engine says when it was due)
        while await items.renew(RENEWED):
            pass

    @app.periodic(cron="41 * * * *")
    @app.task(name="answers_sweep", queue=QUEUE, queueing_lock="answers_sweep", lock="answers_sweep")
    async def sweep_answers(timestamp: int) -> None:  # noqa: ARG001 (the engine says when it was due)
        await answers.sweep()
