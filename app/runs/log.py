"""The ordered event log of runs: written by whoever executes them, followed from any place at any process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import UUID

from app.bell import Bell
from app.runs.feed import Event, Feed
from app.runs.life import TERMINAL
from app.runs.writing import RunLog, Writer
from app.wire import to_json
from core.database import Pool

logger = logging.getLogger(__name__)

PAGE = 500
RECHECK_S = 10.0
"""How often a reader looks without having been told to."""

READ = b"""
SELECT r.status, r.events_until, e.seq, e.event, e.data FROM runs r LEFT JOIN LATERAL (
    SELECT seq, event, data FROM run_events WHERE run_id = r.id AND seq > %s ORDER BY seq LIMIT %s
) e ON true WHERE r.id = %s
"""
OPEN = b"""
SELECT coalesce(max(seq), 0) AS last_seq, coalesce(sum(length(data)), 0)::bigint AS chars
FROM run_events WHERE run_id = %s
"""


class EventLog:
    """What the runs of all processes have said, for the readers at this one."""

    def __init__(self, pool: Pool, bell: Bell, *, limit: int) -> None:
        self._pool = pool
        self._feeds: dict[UUID, Feed] = {}
        self._writer = Writer(pool, limit)
        bell.on("ragstone_log", self._hear_log)
        bell.on("ragstone_runs", self._hear_run)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write what is put into the logs while the block runs."""
        task = asyncio.create_task(self._writer.run(), name="log-writer")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def open(self, run_id: UUID, attempt: int) -> RunLog:
        """The log of a run that this process executes; a later attempt goes on where the one before it ended."""
        last_seq, chars = 0, 0
        if attempt > 0:
            # Whoever executed the run before is not storing anything any more once we had this lock.
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute("SELECT FROM runs WHERE id = %s FOR UPDATE", (run_id,))
                row = await (await connection.execute(OPEN, (run_id,))).fetchone()
            if row is not None:
                last_seq, chars = row["last_seq"], row["chars"]
        feed = self._hold(run_id)
        feed.written_here = True
        log = RunLog(self._writer, feed, run_id, attempt, lambda: self._let_go(run_id, feed))
        log.go_on(last_seq, chars)
        return log

    async def follow(self, run_id: UUID, after: int = 0) -> AsyncGenerator[Event]:
        """The run's events after ``after``, to its end, wherever it is executed.

        What is no longer kept is said: an ``error`` event with the error ``Gap`` takes the place of the missing ones.
        """
        async with aclosing(self.pages(run_id, after)) as pages:
            async for page in pages:
                for event in page:
                    yield event

    async def pages(self, run_id: UUID, after: int = 0) -> AsyncGenerator[list[Event]]:
        """The events of `follow`, those that are there at once together."""
        feed = self._hold(run_id)
        try:
            while True:
                seen, page, ended = feed.news, feed.after(after), False
                if page is None or (not page and not feed.written_here):
                    page, ended = await self._read(run_id, after)
                if page:
                    yield page
                    after = page[-1].seq
                elif ended:
                    return
                else:
                    await feed.wait(seen, RECHECK_S)
        finally:
            self._let_go(run_id, feed)

    async def ended(self, run_id: UUID) -> None:
        """Return when the run has ended or is gone, wherever it is executed."""
        feed = self._hold(run_id)
        try:
            while True:
                seen = feed.news
                async with self._pool.connection() as connection:
                    cursor = await connection.execute(
                        "SELECT FROM runs WHERE id = %s AND status <> ALL(%s)", (run_id, list(TERMINAL))
                    )
                if not cursor.rowcount:
                    return
                await feed.wait(seen, RECHECK_S)
        finally:
            self._let_go(run_id, feed)

    async def _read(self, run_id: UUID, after: int) -> tuple[list[Event], bool]:
        """The stored events after ``after``, and whether there will be no more."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(READ, (after, PAGE, run_id))).fetchall()
        if not rows:
            return [], True
        events = [Event(row["seq"], row["event"], row["data"]) for row in rows if row["seq"] is not None]
        until = rows[0]["events_until"] or 0
        if not events and until > after:
            return [gap(after, until)], False
        if events and events[0].seq > after + 1:
            events.insert(0, gap(after, events[0].seq - 1))
        return events, rows[0]["status"] in TERMINAL

    def _hold(self, run_id: UUID) -> Feed:
        feed = self._feeds.setdefault(run_id, Feed())
        feed.users += 1
        return feed

    def _let_go(self, run_id: UUID, feed: Feed) -> None:
        feed.users -= 1
        if feed.users == 0 and self._feeds.get(run_id) is feed:
            del self._feeds[run_id]

    def _hear_log(self, said: str | None) -> None:
        writer, *run_ids = said.split() if said else ("",)
        if said is None:
            self._ring(list(self._feeds))
        elif writer != str(self._writer.id):
            self._ring([UUID(run_id) for run_id in run_ids])

    def _hear_run(self, said: str | None) -> None:
        self._ring(list(self._feeds) if said is None else [UUID(said.split()[1])])

    def _ring(self, run_ids: Iterable[UUID]) -> None:
        for run_id in run_ids:
            if feed := self._feeds.get(run_id):
                feed.ring()


def gap(after: int, until: int) -> Event:
    """The event that stands for those after ``after`` up to ``until``, which are no longer kept."""
    said: Mapping[str, Any] = {
        "error": "Gap",
        "message": f"Events {after + 1} to {until} of this run are no longer kept. Read the thread's state instead.",
        "first": after + 1,
        "last": until,
    }
    return Event(until, "error", to_json(said))
