"""Processes that admit and execute runs of the tests' graphs, as many as a test wants, on a database of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from app.agents import Agent, Agents
from app.approvals.binder import Binder
from app.assistant import Assistants
from app.bell import Bell
from app.runs.admission import Order
from app.runs.log import EventLog
from app.runs.order import Orders, RunCreate
from app.runs.run import Run, Runs
from app.runs.runner import Runner
from app.runs.tasks import RunJobs
from app.runs.webhook import Webhooks
from app.services import create_saver, prepare_database
from core.database import Pool, open_pool
from core.domain import Principal
from core.sections import RunSettings
from core.settings import DatabaseSettings
from tests.graphs import Graph, Saver, asks, caller, echo, slow

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
BUILDERS: tuple[Callable[[Saver], Graph], ...] = (echo, slow, asks, caller)


@dataclass(frozen=True, slots=True)
class Process:
    """What a process has of runs."""

    pool: Pool
    runner: Runner
    runs: Runs
    orders: Orders
    events: EventLog
    jobs: RunJobs

    async def order(self, principal: Principal, graph: str = "echo", **more: Any) -> Order:
        body = RunCreate.model_validate({"assistant_id": graph, "input": HELLO, **more})
        return await self.orders.read(principal, body, None)

    async def start(self, principal: Principal, graph: str = "echo", **more: Any) -> Run:
        return await self.runner.start(principal, await self.order(principal, graph, **more))


@asynccontextmanager
async def open_database(postgres: str, name: str) -> AsyncIterator[str]:
    """A new database with all tables; gives its address."""
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name}".encode())
    address = postgres.replace("///ragstone", f"///{name}")
    async with open_pool(DatabaseSettings.model_validate({"url": address})) as pool:
        await prepare_database(pool)
    yield address


@asynccontextmanager
async def open_process(address: str, *, works: bool = True, **settings: Any) -> AsyncIterator[Process]:
    """A process on the database; ``works``: whether it executes runs."""
    wanted = RunSettings.model_validate(settings)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(DatabaseSettings.model_validate({"url": address})))
        saver = create_saver(pool)
        agents = Agents(
            Agent(graph_id=build.__name__, name=build.__name__, description="A test's.", graph=build(saver))
            for build in BUILDERS
        )
        assistants = Assistants(pool, agents)
        await assistants.register()
        bell, runs, jobs = Bell(address), Runs(pool), RunJobs()
        await stack.enter_async_context(jobs.app.open_async(pool))
        events = EventLog(pool, bell, limit=1 << 20)
        webhooks = Webhooks(pool, jobs, agents, wanted)
        runner = Runner(
            pool,
            runs,
            jobs,
            agents=agents,
            events=events,
            bell=bell,
            binder=Binder(pool, agents),
            webhooks=webhooks,
            settings=wanted,
        )
        await stack.enter_async_context(bell.listening())
        await stack.enter_async_context(events.writing())
        if works:
            await stack.enter_async_context(runner.working())
        yield Process(pool, runner, runs, Orders(agents, assistants, webhooks), events, jobs)
