"""Writes what the runs of this process say: all of them together, in one statement, at most every 25 ms."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import DictRow
from psycopg_pool import PoolTimeout

from app.runs.entry import Entries
from app.runs.feed import Event, Feed
from core.database import Pool

logger = logging.getLogger(__name__)

COALESCE_S = 0.025
RETRY_S = 0.5
TOGETHER = 128
"""Most runs in one statement: an announcement holds at most 8,000 bytes, 37 for each."""
CROWDED = 4 << 20
"""Characters that may wait to be written before a run waits too; that is when the database is away."""
SEGMENTS = 8

# The lock and the attempt keep out a process whose run was taken over: what it still says is not stored. A row that is
# there already is our own, of an attempt whose answer was lost with the connection.
STORE = b"""
WITH owned AS (
    SELECT r.id FROM unnest(%(runs)s::uuid[], %(attempts)s::int[]) AS o (id, attempt)
    JOIN runs r ON r.id = o.id AND r.attempt = o.attempt FOR KEY SHARE OF r
), stored AS (
    INSERT INTO run_events (run_id, seq, event, data)
    SELECT e.* FROM unnest(%(ids)b::uuid[], %(seqs)s::int[], %(names)b::text[], %(data)b::text[])
        AS e (run_id, seq, event, data)
    JOIN owned ON owned.id = e.run_id
    ON CONFLICT DO NOTHING
)
SELECT array_agg(id) AS runs, pg_notify('ragstone_log', %(writer)s || ' ' || string_agg(id::text, ' ')) FROM owned
"""
TRIM = b"DELETE FROM run_events WHERE run_id = %s AND seq <= %s"


class RunLog:
    """The log of a run that this process executes.

    An event is shown only when it is stored, so that a stream that is cut and taken up again, even at another process
    or after a crash, misses nothing and repeats nothing.
    """

    def __init__(self, writer: Writer, feed: Feed, run_id: UUID, attempt: int, release: Callable[[], None]) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.entries = Entries()
        self.lost = False
        self._writer = writer
        self._feed = feed
        self._release = release
        self._last_seq = 0
        self._unsure: list[Event] = []
        self._segments: deque[tuple[int, int]] = deque()
        self._gone = 0

    def go_on(self, last_seq: int, chars: int) -> None:
        """Begin after ``last_seq``, where ``chars`` characters are stored already."""
        self._feed.top = self._last_seq = last_seq
        if chars:
            self._segments.append((last_seq, chars))

    def put(self, event: str, data: object) -> None:
        """Add an event; it is stored soon after."""
        if not self.lost:
            self._writer.announce(self, at_once=self.entries.put(event, data))

    @property
    def crowded(self) -> bool:
        """Whether so much waits that the run should `flush` before it says more."""
        return self.entries.size > CROWDED

    async def flush(self) -> None:
        """Wait until every event that was put is stored."""
        await self._writer.flush(self)

    async def close(self) -> None:
        """Store what is left; whoever follows learns from the run's status whether that was all."""
        try:
            await self.flush()
        finally:
            self._writer.forget(self)
            self._feed.written_here = False
            self._feed.ring()
            self._release()

    def take(self) -> list[Event]:
        """What has to be stored now, numbered; what may be stored already comes first, as it was."""
        first = self._unsure[-1].seq + 1 if self._unsure else self._last_seq + 1
        fresh = [Event(seq, entry.event, entry.json()) for seq, entry in enumerate(self.entries.take(), first)]
        return self._unsure + fresh

    def doubt(self, events: list[Event]) -> None:
        """Nobody knows whether these were stored."""
        self._unsure = events

    def show(self, events: list[Event], limit: int) -> None:
        """These are stored; the oldest have to go when more than ``limit`` characters are."""
        self._unsure = []
        self._last_seq = events[-1].seq
        self._feed.extend(events)
        chars = sum(len(event.data) for event in events)
        if self._segments and self._segments[-1][1] + chars <= limit // SEGMENTS:
            chars += self._segments.pop()[1]
        self._segments.append((self._last_seq, chars))
        total = sum(size for _, size in self._segments)
        while total > limit and len(self._segments) > 1:
            self._gone, size = self._segments.popleft()
            total -= size

    def too_old(self) -> int:
        """The last event that has to go, once; 0 when none has to."""
        gone, self._gone = self._gone, 0
        return gone

    @property
    def waits(self) -> bool:
        """Whether something is not stored yet."""
        return bool(self.entries or self._unsure) and not self.lost

    def lose(self) -> None:
        """Say nothing any more: another process has the run, or it was deleted."""
        self.lost = True
        self._unsure = []
        self.entries.take()


class Writer:
    """The one who writes for all runs of this process."""

    def __init__(self, pool: Pool, limit: int) -> None:
        self.id = uuid4()
        self._pool = pool
        self._limit = limit
        self._waiting: dict[UUID, RunLog] = {}
        self._writing: set[RunLog] = set()
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._written: list[asyncio.Future[None]] = []
        self._last = 0.0

    def announce(self, log: RunLog, *, at_once: bool) -> None:
        """Write the log's entries: now, or together with what comes soon."""
        self._waiting[log.run_id] = log
        if at_once:
            self._due.set()
        elif self._timer is None and not self._due.is_set():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._last + COALESCE_S), self._due.set)

    def forget(self, log: RunLog) -> None:
        """The log is closed."""
        if self._waiting.get(log.run_id) is log:
            del self._waiting[log.run_id]

    async def flush(self, log: RunLog) -> None:
        """Return when nothing of the log waits."""
        while log.waits or log in self._writing:
            if log not in self._writing:
                self._waiting[log.run_id] = log
                self._due.set()
            written = asyncio.get_running_loop().create_future()
            self._written.append(written)
            await written

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._last = asyncio.get_running_loop().time()
            logs, self._waiting = [log for log in self._waiting.values() if log.waits], {}
            for start in range(0, len(logs), TOGETHER):
                await self._write(logs[start : start + TOGETHER])
            written, self._written = self._written, []
            for future in written:
                if not future.done():
                    future.set_result(None)

    async def _write(self, logs: Sequence[RunLog]) -> None:
        batch = [(log, log.take()) for log in logs]
        self._writing = set(logs)
        try:
            await self._store(batch)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            logger.warning("events of %s runs wait for the database: %s", len(batch), type(error).__name__)
            self._again(batch)
            await asyncio.sleep(RETRY_S)
        except Exception as error:  # what one run says must not hold up what the others say
            self._again(batch)
            if len(batch) > 1:
                for log in logs:
                    await self._write([log])
            else:
                logger.exception("what run %s says cannot be stored", logs[0].run_id, exc_info=error)
                logs[0].lose()
        finally:
            self._writing = set()

    def _again(self, batch: Sequence[tuple[RunLog, list[Event]]]) -> None:
        for log, events in batch:
            log.doubt(events)
            self._waiting[log.run_id] = log
        self._due.set()

    async def _store(self, batch: Sequence[tuple[RunLog, list[Event]]]) -> None:
        ids, seqs, names, data = zip(*[(log.run_id, *event) for log, events in batch for event in events], strict=True)
        values = {
            "runs": [log.run_id for log, _ in batch],
            "attempts": [log.attempt for log, _ in batch],
            "ids": list(ids),
            "seqs": list(seqs),
            "names": list(names),
            "data": list(data),
            "writer": str(self.id),
        }
        async with self._pool.connection() as connection:
            row = await (await connection.execute(STORE, values)).fetchone()
            owned = set(row["runs"] or ()) if row else set()
            for log, events in batch:
                if log.run_id in owned:
                    log.show(events, self._limit)
                else:
                    logger.warning("run %s says nothing any more: it is executed elsewhere, or deleted", log.run_id)
                    log.lose()
            await self._trim(connection, [log for log, _ in batch])

    async def _trim(self, connection: psycopg.AsyncConnection[DictRow], logs: Sequence[RunLog]) -> None:
        for log in logs:
            if gone := log.too_old():
                with contextlib.suppress(psycopg.Error):  # a log that stays too long for a while is no harm
                    await connection.execute(TRIM, (log.run_id, gone))
