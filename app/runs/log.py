"""The ordered event log of runs: written in batches, then read by any number of streams, from any place in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from app.wire import to_json
from core.database import Pool

logger = logging.getLogger(__name__)

RETRY_S = 0.5
PAGE = 500
LAST_SEQ = 2**31 - 1


class Event(NamedTuple):
    """An event of a run; ``seq`` counts from 1 without gaps, ``data`` is one line of JSON."""

    seq: int
    event: str
    data: str


class RunLog:
    """The log of a run that this process executes.

    An event is shown only when it is stored, so that a stream that is cut and taken up again, even at another process
    or after a crash, misses nothing and repeats nothing.
    """

    def __init__(self, pool: Pool, run_id: UUID, last_seq: int) -> None:
        self._pool = pool
        self._run_id = run_id
        self._first_seq = last_seq + 1
        self._waiting: list[Event] = []
        self._shown: list[Event] = []
        self._next_seq = last_seq + 1
        self._closed = False
        self._work = asyncio.Event()
        self._news = asyncio.Condition()
        self._writer = asyncio.create_task(self._write(), name=f"log-{run_id}")

    def put(self, event: str, data: Any) -> None:
        """Add an event; it is stored soon after."""
        self._waiting.append(Event(self._next_seq, event, to_json(data)))
        self._next_seq += 1
        self._work.set()

    async def flush(self) -> None:
        """Wait until every event that was put is stored."""
        async with self._news:
            await self._news.wait_for(lambda: not self._waiting)

    async def close(self) -> None:
        """Store what is left and end every stream."""
        try:
            await self.flush()
        finally:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            self._closed = True
            async with self._news:
                self._news.notify_all()

    async def follow(self, after: int) -> AsyncIterator[Event]:
        """The events that this process stores, after ``after``, until the log is closed."""
        place = max(0, after + 1 - self._first_seq)
        while True:
            async with self._news:
                while len(self._shown) <= place and not self._closed:
                    await self._news.wait()
            fresh = self._shown[place:]
            if not fresh:
                return
            for event in fresh:
                yield event
            place += len(fresh)

    @property
    def first_seq(self) -> int:
        """The first event that this process stores; earlier ones are only in the database."""
        return self._first_seq

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            batch = list(self._waiting)
            try:
                await self._store(batch)
            except (psycopg.OperationalError, PoolTimeout) as error:
                logger.warning("events of run %s wait for the database: %s", self._run_id, type(error).__name__)
                await asyncio.sleep(RETRY_S)
                self._work.set()
                continue
            except psycopg.Error as error:
                # Its thread was deleted: nobody can read what would have been stored.
                logger.warning("events of run %s are dropped: %s", self._run_id, type(error).__name__)
                async with self._news:
                    del self._waiting[: len(batch)]
                    self._news.notify_all()
                continue
            async with self._news:
                del self._waiting[: len(batch)]
                self._shown.extend(batch)
                self._news.notify_all()

    async def _store(self, batch: list[Event]) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            await connection.cursor().executemany(
                "INSERT INTO run_events (run_id, seq, event, data) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [(self._run_id, *event) for event in batch],
            )


async def last_seq(pool: Pool, run_id: UUID) -> int:
    """The number of the run's last stored event; 0 when it has none."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT coalesce(max(seq), 0) AS seq FROM run_events WHERE run_id = %s", (run_id,)
        )
        row = await cursor.fetchone()
    return int(row["seq"]) if row else 0


async def stored_events(pool: Pool, run_id: UUID, after: int, before: int = LAST_SEQ) -> AsyncIterator[Event]:
    """The stored events after ``after`` and before ``before`` that are there now."""
    while True:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT seq, event, data FROM run_events WHERE run_id = %s AND seq > %s AND seq < %s "
                "ORDER BY seq LIMIT %s",
                (run_id, after, before, PAGE),
            )
            rows = await cursor.fetchall()
        for row in rows:
            after = row["seq"]
            yield Event(row["seq"], row["event"], row["data"])
        if len(rows) < PAGE:
            return
