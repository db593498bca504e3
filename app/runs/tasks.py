"""The job of a run: deferred with its row in one transaction, so that a run that was accepted is executed.

Any runner may take it. Mostly the run is under way by then, because the process that admitted it began it at once;
the job then ends without having done anything. What is executed is decided by the claim on the row alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias
from uuid import UUID

import procrastinate
from procrastinate import RetryDecision
from procrastinate.jobs import Job

from app.runs.run import Connection
from ingest.connector import Connector
from ingest.worker import keep_working

QUEUE = "runs"
FETCHES = 16
ROOM_S = 2
"""When a job that found no room asks again, in seconds."""

Execute: TypeAlias = Callable[[UUID], Awaitable[bool]]


class NoRoom(Exception):
    """The process executes as many runs as it may."""


class AskAgain(procrastinate.BaseRetryStrategy):
    """A job that found no room waits for any process that has some."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:  # noqa: ARG002
        """Again a moment later."""
        return RetryDecision(retry_in={"seconds": ROOM_S})


class RunJobs:
    """Defers the jobs of runs; ``app`` may hold tasks of others in the same queue (`procrastinate.App.task`)."""

    def __init__(self) -> None:
        self.app = procrastinate.App(connector=Connector())
        self._execute: Execute | None = None
        self.app.task(name="run", queue=QUEUE, retry=AskAgain())(self._run)

    async def defer(self, connection: Connection, run: UUID, *, delay_s: float = 0) -> None:
        """Have the run executed by somebody, in the caller's transaction."""
        in_s = {"seconds": round(delay_s)} if delay_s else None
        deferrer = self.app.configure_task(
            "run", queue=QUEUE, queueing_lock=str(run), schedule_in=in_s, connection=connection
        )
        await deferrer.defer_async(run=str(run))

    @asynccontextmanager
    async def work(self, execute: Execute) -> AsyncIterator[None]:
        """Work on the queue while the block runs; ``execute`` says whether it had room for the run."""
        self._execute = execute
        stopping = asyncio.Event()
        worker = asyncio.create_task(keep_working(self.app, [QUEUE], FETCHES, stopping), name="run-worker")
        try:
            yield
        finally:
            stopping.set()
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    async def _run(self, *, run: str) -> None:
        if self._execute is None or not await self._execute(UUID(run)):
            raise NoRoom
