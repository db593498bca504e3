"""The process's one connection that hears what other processes announce by PostgreSQL's NOTIFY."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import LiteralString

import psycopg
from tenacity import AsyncRetrying, RetryCallState, wait_exponential

logger = logging.getLogger(__name__)

AGAIN_MAX_S = 5.0

Hear = Callable[[str | None], None]
"""Gets what an announcement says; None after a break, in which any number may have been missed."""


class Bell:
    """Who is told of what. What is heard is a hint to look: the database's rows are what counts."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._hearers: dict[LiteralString, list[Hear]] = {}

    def on(self, channel: LiteralString, hear: Hear) -> None:
        """Call ``hear``, which must not block, for each announcement on the channel; to be said before listening."""
        self._hearers.setdefault(channel, []).append(hear)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the block runs; a lost connection is made anew."""
        ready = asyncio.Event()
        task = asyncio.create_task(self._keep_listening(ready), name="bell")
        with suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), AGAIN_MAX_S)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_listening(self, ready: asyncio.Event) -> None:
        while True:
            async for attempt in AsyncRetrying(
                wait=wait_exponential(multiplier=0.1, max=AGAIN_MAX_S), before_sleep=_tell
            ):
                with attempt:
                    connection = await psycopg.AsyncConnection.connect(
                        self._address, autocommit=True, keepalives_idle=30, application_name="ragstone-bell"
                    )
                    for channel in self._hearers:
                        await connection.execute(f"LISTEN {channel}")
            ready.set()
            self._missed()
            try:
                async for announcement in connection.notifies():
                    for hear in self._hearers.get(announcement.channel, ()):
                        hear(announcement.payload)
            except psycopg.Error as error:
                logger.warning("the connection for announcements broke: %s", type(error).__name__)
            finally:
                await connection.close()

    def _missed(self) -> None:
        for hearers in self._hearers.values():
            for hear in hearers:
                hear(None)


def _tell(state: RetryCallState) -> None:
    failure = state.outcome.exception() if state.outcome else None
    logger.warning("announcements cannot be heard yet: %s", type(failure).__name__)
