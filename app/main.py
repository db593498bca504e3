"""The API's composition root: the app, its routes, and the process that serves them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import uvicorn
from fastapi import FastAPI

from app.cors import allow_origins
from app.head import BoundedHead
from app.idempotency.replay import Idempotency
from app.limits import BodyLimit
from app.problems import add_problem_handlers
from app.routes import (
    approvals,
    assistants,
    collections,
    crons,
    documents,
    jobs,
    openai,
    operations,
    protocol,
    reconcile,
    runs,
    search,
    sources,
    states,
    store,
    streams,
    threads,
    uploads,
)
from app.schemas import Problem
from app.services import Services, open_services
from core.settings import Settings
from core.telemetry import configure_logging

GRACE_S = 2
"""How long open requests may go on after a SIGTERM; a stream that is cut is taken up again by its reader."""


def create_app(
    settings: Settings,
    open_services: Callable[[Settings], AbstractAsyncContextManager[Services]] = open_services,
) -> FastAPI:
    """The API over what ``open_services`` opens."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings) as services:
            app.state.services = services
            yield

    app = FastAPI(
        title="Ragstone",
        version="0.1.0",
        summary="Documents in, cited answers out.",
        lifespan=lifespan,
        responses={
            "4XX": {"model": Problem, "content": {"application/problem+json": {}}},
            "5XX": {"model": Problem, "content": {"application/problem+json": {}}},
        },
    )
    # The last one stands first: what it lets through comes to the one above it.
    app.add_middleware(Idempotency)
    app.add_middleware(BodyLimit, settings=settings.api)
    allow_origins(app, settings.api)
    add_problem_handlers(app)
    documents_in = (uploads, documents, sources, jobs, collections, reconcile)
    agent_server = (assistants, threads, states, runs, crons, streams, protocol, approvals, store)
    for module in (operations, *documents_in, search, *agent_server, openai):
        app.include_router(module.router)
    return app


def main(
    settings: Settings,
    open_services: Callable[[Settings], AbstractAsyncContextManager[Services]] = open_services,
) -> None:
    """Serve the API until SIGTERM or SIGINT."""
    configure_logging(settings.log)
    uvicorn.run(
        create_app(settings, open_services),
        host=settings.api.host,
        port=settings.api.port,
        http=BoundedHead,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )
