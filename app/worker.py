"""A runner's process: it executes runs and does nothing else, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from app.services import Services, open_services
from core.settings import Settings
from core.telemetry import configure_logging
from ingest.worker import stop_signal

logger = logging.getLogger(__name__)


def main(
    settings: Settings,
    open_services: Callable[[Settings], AbstractAsyncContextManager[Services]] = open_services,
) -> None:
    """Execute runs until a signal asks to stop."""
    configure_logging(settings.log)
    asyncio.run(serve(settings, open_services))


async def serve(
    settings: Settings,
    open_services: Callable[[Settings], AbstractAsyncContextManager[Services]] = open_services,
) -> None:
    """Open what runs need, execute what waits, and hand over at the end what is under way.

    Raises:
        Unavailable: a part does not answer, or another process has the embedded index open.
        InvalidInput: a setting does not fit.
    """
    stop = stop_signal()
    roles = {
        "runs": settings.runs.model_copy(update={"worker": True}),
        "ingest": settings.ingest.model_copy(update={"worker": False}),
    }
    async with open_services(settings.model_copy(update=roles)):
        logger.info("the runner is ready")
        await stop.wait()
