"""What a process of the API holds open, composed in one place."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from app.agents import Agent, Agents, register
from app.run import Runs
from app.runner import Runner
from app.threads import Threads
from core.database import PREPARE_LOCK, Pool, exclusive, migrate, open_pool
from core.index import VectorIndex
from core.settings import Settings
from graphs.rag import rag_graph
from ingest.blobs import BlobStore, open_blobs
from ingest.chunking.spec import default_spec
from ingest.collection import Collections
from ingest.document import Documents
from ingest.load import open_loader
from ingest.options import read_options
from ingest.pipeline import Pipeline
from ingest.progress import Progress
from ingest.worker import Jobs, apply_job_schema, create_job_app, run_worker
from models.chat import open_chat
from models.embedder import Embedder, open_embedder
from models.lexical import LexicalEncoder
from tools.search import Search


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that a request handler may use."""

    settings: Settings
    pool: Pool
    index: VectorIndex
    embedder: Embedder
    blobs: BlobStore
    collections: Collections
    documents: Documents
    jobs: Jobs
    worker: asyncio.Task[None]
    search: Search
    agents: Agents
    threads: Threads
    runs: Runs
    runner: Runner


async def prepare_database(pool: Pool) -> list[str]:
    """Bring every table into being: ours, the job engine's, the checkpointer's; return the applied migrations."""
    async with exclusive(pool, PREPARE_LOCK):
        applied = await migrate(pool)
        await apply_job_schema(pool)
        await create_saver(pool).setup()
    return applied


def create_saver(pool: Pool) -> AsyncPostgresSaver:
    """The checkpointer on our own pool, which loads nothing from a checkpoint but plain values and messages."""
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    return AsyncPostgresSaver(pool, serde=JsonPlusSerializer(allowed_msgpack_modules=None))


@asynccontextmanager
async def open_index(settings: Settings, embedder: Embedder) -> AsyncIterator[VectorIndex]:
    """The index of the running embedder: Qdrant at QDRANT__URL, or Qdrant Edge in this process."""
    if settings.qdrant.url is not None:
        from core.engines.qdrant import open_qdrant_index

        async with open_qdrant_index(
            settings.qdrant, embedder=embedder.name, revision=embedder.revision, dimension=embedder.dimension
        ) as index:
            yield index
        return
    from core.engines.edge.index import open_edge_index

    # Vectors of two models never meet: each has a folder of its own.
    model = re.sub(r"[^A-Za-z0-9.]+", "-", f"{embedder.name}-{embedder.revision}").strip("-").lower()
    folder = settings.data_dir / "qdrant" / model
    async with open_edge_index(folder, dimension=embedder.dimension) as edge:
        yield edge


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open what the API needs; close it in reverse order.

    Raises:
        Unavailable: a part does not answer.
        InvalidInput: a setting does not fit.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.database))
        await prepare_database(pool)
        embedder = await stack.enter_async_context(open_embedder(settings.embedding))
        index = await stack.enter_async_context(open_index(settings, embedder))
        loader = await stack.enter_async_context(
            open_loader(
                timeout_s=settings.ingest.load_timeout_s,
                memory_mb=settings.ingest.load_memory_mb,
                options=read_options(settings.ingest),
            )
        )
        lexical = LexicalEncoder()
        blobs = open_blobs(settings)
        progress = Progress(pool)
        collections = Collections(pool, embedder, default_spec(settings.ingest, embedder))
        pipeline = Pipeline(
            progress=progress,
            blobs=blobs,
            loader=loader,
            embedder=embedder,
            lexical=lexical,
            index=index,
            collections=collections,
        )
        job_app = create_job_app(pipeline, progress)
        await stack.enter_async_context(job_app.open_async(pool))
        worker = await stack.enter_async_context(run_worker(job_app, pool, concurrency=settings.ingest.concurrency))
        search = Search(pool, index, embedder, lexical, candidates=settings.retrieval.candidates)
        saver = create_saver(pool)
        chat = await stack.enter_async_context(open_chat(settings.chat))
        agents = Agents({"rag": rag_agent(search, chat, saver, settings)})
        await register(pool, agents)
        runs = Runs(pool)
        runner = Runner(pool, runs, agents, collections)
        await stack.enter_async_context(runner.keep())
        yield Services(
            settings=settings,
            pool=pool,
            index=index,
            embedder=embedder,
            blobs=blobs,
            collections=collections,
            documents=Documents(pool),
            jobs=Jobs(job_app),
            worker=worker,
            search=search,
            agents=agents,
            threads=Threads(pool, saver),
            runs=runs,
            runner=runner,
        )


def rag_agent(search: Search, chat: BaseChatModel, saver: AsyncPostgresSaver, settings: Settings) -> Agent:
    """The ``rag`` graph as an assistant."""
    graph = rag_graph(search, chat, settings.retrieval).compile(checkpointer=saver, name="rag")
    # What the nodes share among themselves is nobody's business outside: states and streams show the output only.
    graph.stream_channels = graph.output_channels
    return Agent(
        graph_id="rag",
        name="rag",
        description="Answers questions from the documents, with citations.",
        graph=graph,
        draft_node="generate",
        answer_node="verify",
    )
