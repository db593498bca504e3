"""What a process of the API holds open, composed in one place."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.agents import Agents, BuildAgents, Ground, no_agents
from app.approvals.approval import Approvals
from app.approvals.binder import Binder
from app.approvals.sweep import add_approval_sweep
from app.assistant import Assistants
from app.bell import Bell
from app.checkpoints import Saver
from app.crons.cron import Crons
from app.crons.ticker import Ticker
from app.idempotency.answer import Answers
from app.rag import rag_agent
from app.retention import Retention, add_thread_sweep
from app.runs.admission import Desk
from app.runs.leftovers import add_leftovers
from app.runs.life import Limits
from app.runs.log import EventLog
from app.runs.order import Orders
from app.runs.run import Runs
from app.runs.runner import Runner
from app.runs.sweep import add_sweep
from app.runs.tasks import RunJobs
from app.runs.thread_log import ThreadLog
from app.runs.webhook import Webhooks
from app.state import States
from app.store.item import Items
from app.store.meaning import has_vectors, prepare_vectors
from app.store.memory import Memory
from app.thread import Threads, Ttl
from app.upkeep import add_upkeep
from core.database import PREPARE_LOCK, Pool, exclusive, migrate, open_pool
from core.index import VectorIndex
from core.sections import ThreadSettings
from core.settings import Settings
from ingest.blobs import BlobStore, open_blobs
from ingest.chunking.spec import default_spec
from ingest.collection import Collections
from ingest.document import Documents
from ingest.indexes import OpenIndexes, open_indexes
from ingest.intake import Intake
from ingest.jobs import JobList, Jobs
from ingest.schema import apply_job_schema
from ingest.sources.row import Sources
from ingest.sources.sync import Syncer
from ingest.tasks import create_job_app
from ingest.worker import run_worker
from ingest.workshop import open_work
from models.chat import open_chat
from models.embedder import Embedder, open_embedder
from models.embedders import Embedders, open_embedders, stamp_of
from models.lexical import LexicalEncoder
from models.reranker import open_reranker
from tools.reranking import reranking
from tools.search import Search
from tools.shelves import Shelves

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that a request handler may use."""

    settings: Settings
    pool: Pool
    index: VectorIndex
    indexes: OpenIndexes
    embedder: Embedder
    embedders: Embedders
    blobs: BlobStore
    collections: Collections
    documents: Documents
    intake: Intake
    jobs: Jobs
    job_list: JobList
    sources: Sources
    syncer: Syncer
    worker: asyncio.Task[None] | None
    search: Search
    agents: Agents
    assistants: Assistants
    threads: Threads
    states: States
    runs: Runs
    orders: Orders
    runner: Runner
    approvals: Approvals
    run_jobs: RunJobs
    items: Items
    memory: Memory
    answers: Answers
    crons: Crons
    ticker: Ticker
    events: EventLog
    thread_log: ThreadLog


async def prepare_database(pool: Pool) -> list[str]:
    """Bring every table into being: ours, the job engine's, the checkpointer's; return the applied migrations."""
    async with exclusive(pool, PREPARE_LOCK):
        applied = await migrate(pool)
        await apply_job_schema(pool)
        await create_saver(pool).setup()
        await prepare_vectors(pool)
    return applied


def create_saver(pool: Pool, settings: ThreadSettings | None = None) -> Saver:
    """The checkpointer on our own pool, which loads nothing from a checkpoint but plain values and messages."""
    return Saver(pool, (settings or ThreadSettings()).checkpoint_max_kb << 10)


@asynccontextmanager
async def open_services(settings: Settings, more_agents: BuildAgents = no_agents) -> AsyncIterator[Services]:
    """Open what the API needs; close it in reverse order. ``more_agents`` makes agents beside our own.

    Raises:
        Unavailable: a part does not answer.
        InvalidInput: a setting does not fit.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.database))
        await prepare_database(pool)
        embedder = await stack.enter_async_context(open_embedder(settings.embedding))
        embedders = await stack.enter_async_context(open_embedders(embedder, settings.embedding))
        indexes = await stack.enter_async_context(open_indexes(settings, pool))
        index = await indexes.open(stamp_of(embedder))
        collections = Collections(pool, embedder, default_spec(settings.ingest, embedder))
        work = None
        if settings.ingest.worker:
            work = await stack.enter_async_context(open_work(settings, pool, embedders, indexes))
        job_app = create_job_app(work)
        await stack.enter_async_context(job_app.open_async(pool))
        worker = None
        if work is not None:
            worker = await stack.enter_async_context(run_worker(job_app, pool, settings.ingest))
        reranker = await stack.enter_async_context(open_reranker(settings.reranker, settings.embedding))
        search = Search(
            pool,
            Shelves(pool, embedders, indexes),
            LexicalEncoder(),
            candidates=settings.retrieval.candidates,
            dense_share=settings.retrieval.dense_share,
            reranking=None if reranker is None else reranking(reranker, settings.reranker),
        )
        items = Items(pool, embedder, settings.store, vectors=await has_vectors(pool))
        memory = Memory(items, settings.store)
        saver = create_saver(pool, settings.threads)
        chat = await stack.enter_async_context(open_chat(settings.chat))
        ground = Ground(pool=pool, saver=saver, memory=memory)
        agents = Agents([rag_agent(search, chat, collections, ground, settings), *more_agents(ground)])
        assistants = Assistants(pool, agents)
        await assistants.register()
        runs, documents, jobs, blobs = Runs(pool), Documents(pool), Jobs(job_app), open_blobs(settings)
        bell = Bell(str(settings.database.url))
        events = EventLog(pool, bell, limit=settings.runs.log_mb << 20)
        intake, run_jobs = Intake(pool, documents, blobs, jobs), RunJobs()
        add_sweep(run_jobs.app, pool, settings.runs.log_days * DAY_S)
        add_thread_sweep(run_jobs.app, Retention(pool, settings.threads))
        await stack.enter_async_context(run_jobs.app.open_async(pool))
        webhooks = Webhooks(pool, run_jobs, agents, settings.runs)
        add_leftovers(run_jobs.app, pool)
        binder = Binder(pool, agents)
        runner = Runner(
            pool,
            runs,
            run_jobs,
            agents=agents,
            events=events,
            bell=bell,
            webhooks=webhooks,
            binder=binder,
            settings=settings.runs,
        )
        approvals = Approvals(pool, binder, runner)
        add_approval_sweep(run_jobs.app, approvals)
        thread_log = ThreadLog(pool, events, bell)
        await stack.enter_async_context(bell.listening())
        await stack.enter_async_context(events.writing())
        orders = Orders(agents, assistants, webhooks)
        limits = Limits(running=settings.runs.tenant_active, waiting=settings.runs.tenant_queued)
        ticker = Ticker(pool, Desk(pool, run_jobs, limits, uuid.uuid4()), orders)
        answers = Answers(pool, settings.api.idempotency_hours)
        add_upkeep(run_jobs.app, pool, ticker=ticker, items=items, answers=answers)
        if settings.runs.worker:
            await stack.enter_async_context(runner.working())
        yield Services(
            settings=settings,
            pool=pool,
            index=index,
            indexes=indexes,
            embedder=embedder,
            embedders=embedders,
            blobs=blobs,
            collections=collections,
            documents=documents,
            intake=intake,
            jobs=jobs,
            job_list=JobList(pool, jobs),
            sources=Sources(pool),
            syncer=Syncer(pool, settings.sources, intake=intake, jobs=jobs),
            worker=worker,
            search=search,
            agents=agents,
            assistants=assistants,
            threads=Threads(pool, default_ttl(settings.threads)),
            states=States(pool, agents),
            runs=runs,
            orders=orders,
            runner=runner,
            approvals=approvals,
            run_jobs=run_jobs,
            items=items,
            memory=memory,
            answers=answers,
            crons=Crons(pool),
            ticker=ticker,
            events=events,
            thread_log=thread_log,
        )


def default_ttl(settings: ThreadSettings) -> Ttl | None:
    """How long threads stay that do not say it themselves; ``None``: for good."""
    return None if settings.ttl_minutes is None else Ttl(minutes=settings.ttl_minutes)
