"""Runs of this process: admitted for any process, and executed here when the process plays that role."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from langgraph.errors import GraphRecursionError
from langgraph.types import StateSnapshot
from psycopg_pool import PoolTimeout

from app.agents import Agents
from app.approvals.binder import Binder
from app.bell import Bell
from app.runs.admission import Desk, Order
from app.runs.execution import Execution, UnknownInterruptError
from app.runs.life import Action, Limits, Status
from app.runs.log import EventLog
from app.runs.run import Leases, Run, Runs
from app.runs.stop import CHANNEL, stop
from app.runs.tasks import RunJobs
from app.runs.undo import remember, undo
from app.runs.webhook import Webhooks
from app.runs.writing import RunLog
from app.store.memory import remembering
from core.database import Pool
from core.domain import Principal
from core.errors import PlatformError, Unavailable
from core.sections import RunSettings

T = TypeVar("T")
logger = logging.getLogger(__name__)

RENEW_S = 1.0
STOP_S = 1.5
"""How long a graph may take to stop; after that it is left alone and the run ends without it."""
RELEASE_S = 5.0
"""How long a stopping process tries to hand over a run; after that its lease does it."""
GIVEN_UP = "The run was given up: {} processes died in it. The log of the workers says why (memory, most often)."


class OutOfTime(Exception):
    """The run took longer than it may."""


class Runner:
    """Admits runs and, in a process with that role, executes them. A run outlives the request that started it."""

    def __init__(
        self,
        pool: Pool,
        runs: Runs,
        jobs: RunJobs,
        *,
        agents: Agents,
        events: EventLog,
        bell: Bell,
        webhooks: Webhooks,
        binder: Binder,
        settings: RunSettings,
    ) -> None:
        worker = uuid.uuid4()
        limits = Limits(running=settings.tenant_active, waiting=settings.tenant_queued)
        self._pool = pool
        self._runs = runs
        self._agents = agents
        self._events = events
        self._jobs = jobs
        self._binder = binder
        self._settings = settings
        self.desk = Desk(pool, jobs, limits, worker)
        self._leases = Leases(pool, worker, limits, webhooks.defer)
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._stops: dict[UUID, Action] = {}
        self._ending: set[UUID] = set()
        self._works = False
        self._stopping = False
        bell.on(CHANNEL, self._hear)

    async def start(self, principal: Principal, order: Order) -> Run:
        """Admit a run; it begins at once when this process executes runs and has room.

        Raises:
            InvalidInput: there is nothing to begin with, or the answer does not fit what was asked.
            NotFound: the principal has no such thread.
            Forbidden: the answer is somebody else's to give.
            Conflict: the thread is busy, or has no question to answer.
            LimitExceeded: as many runs of the tenant wait as may.
            Unavailable: the process is stopping.
        """
        if self._stopping:
            raise Unavailable("The server is stopping. Try again in a moment.")
        if order.resumes and not order.bound:
            order = await self._binder.bind(principal, order)
        run, displaced = await self.desk.admit(principal, order, offered=self._room > 0)
        for other, action in displaced.items():
            self._stop(other, action)
        if run.status == Status.RUNNING:
            await self._go_on(run)
        return run

    @property
    def _room(self) -> int:
        """How many more runs this process would execute."""
        return self._settings.concurrency - len(self._tasks) if self._works and not self._stopping else 0

    def _launch(self, run: Run, log: RunLog) -> None:
        task = asyncio.create_task(self._execute(run, log), name=f"run-{run.id}")
        self._tasks[run.id] = task
        task.add_done_callback(lambda _: self._forget(run.id))

    def _forget(self, run: UUID) -> None:
        self._tasks.pop(run, None)
        self._stops.pop(run, None)
        self._ending.discard(run)

    async def wait(self, run: Run) -> Run:
        """The run when it has ended.

        Raises:
            NotFound: it was rolled back.
        """
        await self._events.ended(run.id)
        return await self._runs.get(run.principal, run.thread_id, run.id)

    async def cancel(self, run: Run, action: Action = "interrupt", reason: str = "Somebody stopped it.") -> None:
        """Stop the run wherever it is; what it has written stays in the thread, or goes with a rollback."""
        for other in await stop(self._pool, action, thread=run.thread_id, runs=[run.id], reason=reason):
            self._stop(other, action)

    def _hear(self, said: str | None) -> None:
        """Somebody at any process asks for a stop; what is missed the keeper finds."""
        if said is not None:
            run, _, action = said.partition(" ")
            self._stop(UUID(run), "rollback" if action == "rollback" else "interrupt")

    def _stop(self, run: UUID, action: Action) -> None:
        """Cancel the run's task, once and not when it is ending: that would interrupt what it does to end well."""
        task = self._tasks.get(run)
        if task and run not in self._ending and run not in self._stops:
            self._stops[run] = action
            task.cancel()

    async def _execute(self, run: Run, log: RunLog) -> None:
        status, thread_status, error, state = Status.SUCCESS, "idle", None, None
        try:
            state = await self._play(run, log)
            thread_status = "interrupted" if state.next else "idle"
        except asyncio.CancelledError:
            action = self._stops.get(run.id)
            if action is None:
                await self._release(run, log)
                raise
            status = Status.INTERRUPTED
            self._ending.add(run.id)
            if action == "rollback":
                await self._remove(run, log)
                return
        except OutOfTime:
            status, thread_status = Status.TIMEOUT, "error"
            said = f"The run took longer than {self._settings.timeout_s:g} s (RUNS__TIMEOUT_S)."
            error = {"error": "TimeoutError", "message": said}
            log.put("error", error)
        except (psycopg.OperationalError, PoolTimeout) as lost:
            # Not the run's fault: it goes on from its last checkpoint, as after the death of its process.
            logger.warning("run %s has lost the database and waits for it: %s", run.id, type(lost).__name__)
            await self._release(run, log)
            return
        except Exception as failure:  # whatever a graph fails with is how its run ends
            status, error = Status.ERROR, as_error(failure)
            thread_status = "interrupted" if isinstance(failure, UnknownInterruptError) else "error"
            if not isinstance(failure, PlatformError | GraphRecursionError):
                logger.exception("run %s failed", run.id)
            log.put("error", error)
        self._ending.add(run.id)
        await self._end(run, log, status, thread_status, error, state)

    async def _play(self, run: Run, log: RunLog) -> StateSnapshot:
        """Execute the run's graph; what it leaves open is settled when it is stopped or takes too long."""
        execution = Execution(run, self._agents.get(run.metadata["graph_id"]), log)
        log.put("metadata", {"run_id": str(run.id), "attempt": run.attempt + 1})
        if run.attempt >= self._settings.attempts:
            raise Unavailable(GIVEN_UP.format(run.attempt))
        if run.cancel is not None:
            # Asked of a process that is gone.
            self._stops[run.id] = run.cancel
            await self._settle(run, execution)
            raise asyncio.CancelledError
        if run.kwargs["input"] is None and run.attempt == 0:
            await remember(self._pool, run)
        with remembering(run.principal.tenant):
            playing = asyncio.create_task(execution.play(), name=f"graph-{run.id}")
        try:
            done, _ = await asyncio.wait({playing}, timeout=self._time_left(run))
        except asyncio.CancelledError:
            await self._halt(run, playing, execution)
            await self._settle(run, execution)
            raise
        if not done:
            self._ending.add(run.id)
            await self._halt(run, playing, execution)
            await self._settle(run, execution)
            raise OutOfTime
        return playing.result()

    def _time_left(self, run: Run) -> float:
        began = run.started_at or run.created_at
        return max(0.0, began.timestamp() + self._settings.timeout_s - time.time())

    async def _halt(self, run: Run, playing: asyncio.Task[StateSnapshot], execution: Execution) -> None:
        playing.cancel()
        _, left = await asyncio.wait({playing}, timeout=STOP_S)
        if left:
            logger.warning("the graph of run %s does not stop; the run ends without it", run.id)
        elif not playing.cancelled():
            playing.exception()
        await execution.quieten()

    async def _settle(self, run: Run, execution: Execution) -> None:
        if run.id not in self._ending and self._stops.get(run.id) != "interrupt":
            return  # it goes on elsewhere, or is rolled back
        try:
            await execution.settle()
        except Exception:  # the run has to end all the same
            logger.exception("what the stopped run %s left open could not be settled", run.id)

    async def _end(
        self,
        run: Run,
        log: RunLog,
        status: Status,
        thread_status: str,
        error: Mapping[str, Any] | None,
        state: StateSnapshot | None,
    ) -> None:
        """End the run in the database before its streams end, so that whoever has seen the end finds it ended."""
        try:
            await log.flush()
            state = state or await self._state(run)
            waiting = await persistently(lambda: self._leases.end(run, status, thread_status, error, state))
        finally:
            await log.close()
        if waiting:
            await self._claim_waiting()

    async def _state(self, run: Run) -> StateSnapshot | None:
        try:
            graph = self._agents.get(run.metadata["graph_id"]).graph
            return await graph.aget_state({"configurable": {"thread_id": str(run.thread_id)}})
        except Exception:  # the run has to end all the same
            logger.exception("the state that run %s has come to could not be read", run.id)
            return None

    async def _remove(self, run: Run, log: RunLog) -> None:
        try:
            await persistently(lambda: undo(self._pool, run))
            waiting = await persistently(lambda: self._leases.remove(run))
        finally:
            await log.close()
        if waiting:
            await self._claim_waiting()

    async def _release(self, run: Run, log: RunLog) -> None:
        with contextlib.suppress(psycopg.Error, PoolTimeout, TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                await log.close()
                await self._leases.release(run)

    async def execute(self, run: UUID) -> bool:
        """Execute the run, if it waits and is its thread's next; whether there was room to look."""
        if not self._room:
            return False
        if claimed := await self._leases.claim(run):
            await self._go_on(claimed)
        return True

    async def _go_on(self, run: Run) -> None:
        """Execute a run that we hold, and that somebody may have begun before."""
        self._launch(run, await self._events.open(run.id, run.attempt))

    async def _claim_waiting(self) -> None:
        with contextlib.suppress(psycopg.OperationalError, PoolTimeout):
            while self._room and (run := await self._leases.claim()):
                await self._go_on(run)

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Execute runs while the block runs; then let them go on for a moment, and give up what still runs."""
        self._works = True
        keeper = asyncio.create_task(self._keep(), name="run-keeper")
        try:
            async with self._jobs.work(self.execute):
                yield
        finally:
            self._stopping = True
            if self._tasks:
                await asyncio.wait(list(self._tasks.values()), timeout=self._settings.drain_s)
            keeper.cancel()
            tasks = [keeper, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(psycopg.Error, PoolTimeout):
                await self._leases.leave()

    async def _keep(self) -> None:
        """Renew leases, hear of stops, take over runs of dead processes and execute what nobody else does."""
        while True:
            try:
                held = await self._leases.renew(list(self._tasks))
                for run_id, action in held.items():
                    if action is not None:
                        self._stop(run_id, action)
                if self._room:
                    for run in await self._leases.take_over(self._room):
                        logger.warning("run %s is taken over: its process is gone", run.id)
                        await self._go_on(run)
                await self._claim_waiting()
            except Exception as error:  # noqa: BLE001 (without a keeper every lease of this process would run out)
                logger.warning("runs could not be renewed: %s", type(error).__name__)
            await asyncio.sleep(RENEW_S)


async def persistently(act: Callable[[], Awaitable[T]]) -> T:
    """Do it again and again until the database answers."""
    while True:
        try:
            return await act()
        except (psycopg.OperationalError, PoolTimeout):
            await asyncio.sleep(RENEW_S)


def as_error(failure: Exception) -> dict[str, Any]:
    """A failure as the ``error`` event has it; what we did not foresee keeps its text to the log."""
    if isinstance(failure, PlatformError):
        return {"error": type(failure).__name__, "message": str(failure)}
    if isinstance(failure, GraphRecursionError):
        said = "The graph took more steps than it may. Ask for less, or set config.recursion_limit higher."
        return {"error": type(failure).__name__, "message": said}
    return {
        "error": "InternalError",
        "message": "The run failed unexpectedly. The server's log has the reason.",
    }
