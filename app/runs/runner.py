"""Executes runs: their graph in this process, their events into the log, their end into the database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import psycopg
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from psycopg_pool import PoolTimeout

from app.agents import Agent, Agents
from app.runs.log import EventLog
from app.runs.playing import play
from app.runs.run import Run, Runs
from app.runs.writing import RunLog
from app.store.memory import remembering
from core.domain import Principal
from core.errors import PlatformError, Unavailable

logger = logging.getLogger(__name__)

RENEW_S = 2.0
RELEASE_S = 5.0
"""How long a stopping process tries to hand over a run; after that its lease does it."""


class Runner:
    """The runs of this process. A run outlives the request that started it, and the process that executes it."""

    def __init__(self, events: EventLog, runs: Runs, agents: Agents) -> None:
        self._events = events
        self._runs = runs
        self._agents = agents
        self._worker = uuid.uuid4()
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._ending: set[UUID] = set()
        self._stopping = False

    async def start(
        self,
        principal: Principal,
        thread: UUID,
        agent: Agent,
        kwargs: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> Run:
        """Admit a run and begin to execute it.

        Raises:
            NotFound: the principal has no such thread.
            Conflict: a run is active on it.
            Unavailable: the process is stopping.
        """
        if self._stopping:
            raise Unavailable("The server is stopping. Try again in a moment.")
        identity = {"graph_id": agent.graph_id, "assistant_id": str(agent.assistant_id)}
        run = await self._runs.admit(
            principal,
            thread,
            agent.assistant_id,
            worker=self._worker,
            kwargs=dict(kwargs),
            metadata={**metadata, **identity},
        )
        self._launch(run, await self._events.open(run.id, run.attempt))
        return run

    def _launch(self, run: Run, log: RunLog) -> None:
        task = asyncio.create_task(self._execute(run, log), name=f"run-{run.id}")
        self._tasks[run.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(run.id, None))

    async def wait(self, run: Run) -> Run:
        """The run when it has ended."""
        await self._events.ended(run.id)
        return await self._runs.get(run.principal, run.thread_id, run.id)

    async def cancel(self, run: Run) -> None:
        """Stop the run; what it has written of its answer stays in the thread."""
        await self._runs.request_cancel(run.id)
        self._stop(run.id)

    def _stop(self, run_id: UUID) -> None:
        """Cancel the run's task, once and not when it is ending: that would interrupt what it does to end well."""
        task = self._tasks.get(run_id)
        if task and run_id not in self._ending and not task.cancelling():
            task.cancel()

    async def _execute(self, run: Run, log: RunLog) -> None:
        drafts: dict[str, str] = {}
        error: dict[str, Any] | None = None
        status = "success"
        try:
            await self._runs.start(run.id)
            log.put("metadata", {"run_id": str(run.id), "attempt": run.attempt + 1})
            with remembering(run.principal.tenant):
                await self._stream(run, log, drafts)
        except asyncio.CancelledError:
            if self._stopping:
                await self._release(run, log)
                raise
            status = "interrupted"
            self._ending.add(run.id)
            try:
                await self._keep_drafts(run, drafts)
            except Exception:
                logger.exception("the stopped answer of run %s could not be kept", run.id)
        except Exception as failure:
            status, error = "error", as_error(failure)
            if not isinstance(failure, PlatformError):
                logger.exception("run %s failed", run.id)
            log.put("error", error)
        await self._end(run, log, status, error)

    async def _end(self, run: Run, log: RunLog, status: str, error: dict[str, Any] | None) -> None:
        """End the run in the database before its streams end, so that whoever has seen the end finds it ended."""
        self._ending.add(run.id)
        try:
            await log.flush()
            while True:
                try:
                    await self._runs.end(run.id, status, "error" if status == "error" else "idle", error)
                    break
                except (psycopg.OperationalError, PoolTimeout):
                    await asyncio.sleep(RENEW_S)
        finally:
            self._ending.discard(run.id)
            await log.close()

    async def _stream(self, run: Run, log: RunLog, drafts: dict[str, str]) -> None:
        agent = self._agents.get(str(run.assistant_id))
        config = self._config(run, agent)
        context = await agent.open_context(run.principal, run.kwargs.get("context") or {})
        state = await agent.graph.aget_state(config)
        # After a crash the run goes on from its last checkpoint; without one of its own it starts from its input.
        resume = run.attempt > 0 and (state.metadata or {}).get("run_id") == str(run.id)
        events = play(
            agent.graph,
            None if resume else run.kwargs["input"],
            config,
            context,
            modes=run.kwargs["stream_mode"],
            subgraphs=run.kwargs.get("stream_subgraphs", False),
            on_message=lambda message, metadata: _keep(drafts, message, metadata, agent.draft_node),
        )
        async with contextlib.aclosing(events):
            async for event, data in events:
                log.put(event, data)
                if log.crowded:
                    await log.flush()

    def _config(self, run: Run, agent: Agent) -> Any:
        return {
            "configurable": {"thread_id": str(run.thread_id)},
            "metadata": {
                "run_id": str(run.id),
                "thread_id": str(run.thread_id),
                "graph_id": agent.graph_id,
                "assistant_id": str(agent.assistant_id),
            },
            "run_id": run.id if run.attempt == 0 else uuid.uuid4(),
            "run_name": agent.graph_id,
            "recursion_limit": run.kwargs.get("recursion_limit", 25),
        }

    async def _keep_drafts(self, run: Run, drafts: Mapping[str, str]) -> None:
        agent = self._agents.get(str(run.assistant_id))
        messages = [
            AIMessage(text, id=message_id, additional_kwargs={"citations": [], "stopped": True})
            for message_id, text in drafts.items()
            if text
        ]
        if messages and agent.answer_node:
            config: Any = {"configurable": {"thread_id": str(run.thread_id)}}
            await agent.graph.aupdate_state(config, {"messages": messages, "citations": []}, agent.answer_node)

    async def _release(self, run: Run, log: RunLog) -> None:
        with contextlib.suppress(psycopg.Error, PoolTimeout, TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                await log.close()
                await self._runs.release(run.id)

    @contextlib.asynccontextmanager
    async def keep(self) -> AsyncIterator[None]:
        """Renew leases and take over runs of dead processes while the block runs; then give up what still runs."""
        keeper = asyncio.create_task(self._keep(), name="run-keeper")
        try:
            yield
        finally:
            self._stopping = True
            keeper.cancel()
            tasks = [keeper, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            try:
                for run_id in await self._runs.renew(self._worker, list(self._tasks)):
                    self._stop(run_id)
                for run in await self._runs.take_over(self._worker):
                    logger.warning("run %s is taken over: its process is gone", run.id)
                    self._launch(run, await self._events.open(run.id, run.attempt))
            except Exception as error:  # noqa: BLE001 (without a keeper every lease of this process would run out)
                logger.warning("runs could not be renewed: %s", type(error).__name__)
            await asyncio.sleep(RENEW_S)


def as_error(failure: Exception) -> dict[str, Any]:
    """A failure as the ``error`` event has it; what we did not foresee keeps its text to the log."""
    if isinstance(failure, PlatformError):
        return {"error": type(failure).__name__, "message": str(failure)}
    return {
        "error": "InternalError",
        "message": "The run failed unexpectedly. The server's log has the reason.",
    }


def _keep(drafts: dict[str, str], message: BaseMessage, metadata: Mapping[str, Any], node: str | None) -> None:
    """Collect what a person sees of an answer while it is written."""
    if isinstance(message, AIMessageChunk) and message.id and node in (None, metadata.get("langgraph_node")):
        drafts[message.id] = drafts.get(message.id, "") + message.text
