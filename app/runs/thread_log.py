"""What happens on a thread: the events of its runs, one run after the other, and changes of its state."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple
from uuid import UUID

from app.bell import Bell
from app.runs.feed import Feed
from app.runs.log import RECHECK_S, EventLog
from app.wire import to_json
from core.database import Pool

SEQ_BITS = 22
"""An event's number in its thread: the turn of its run, and in these bits its number in the run."""
DONE = 2**SEQ_BITS - 1

NEXT = b"""
SELECT r.id, r.turn FROM threads t LEFT JOIN LATERAL (
    SELECT id, turn FROM runs WHERE thread_id = t.id AND turn >= %s ORDER BY turn LIMIT 1
) r ON true WHERE t.id = %s
"""
NOW = b"""
SELECT coalesce(min(turn) FILTER (WHERE status IN ('pending', 'running')) - 1, max(turn), 0) AS turn
FROM runs WHERE thread_id = %s
"""

LATEST = b"""
SELECT CASE WHEN status IN ('pending', 'running') OR updated_at > now() - interval '5 s' THEN turn - 1 ELSE turn END
    AS turn FROM runs WHERE thread_id = %s AND turn IS NOT NULL ORDER BY turn DESC LIMIT 1
"""


class ThreadEvent(NamedTuple):
    """An event of a thread; ``place`` grows from event to event, over all of its runs.

    The end of a run is the event ``metadata`` with the status ``run_done``. A change of the state is the event
    ``state_update`` without data: whoever wants the state reads it.
    """

    place: int | None
    event: str
    data: str
    run_id: UUID | None


def place_of(turn: int, seq: int) -> int:
    """The number in its thread of an event of a run."""
    return turn << SEQ_BITS | seq


class ThreadLog:
    """The events of threads, for readers at this process."""

    def __init__(self, pool: Pool, events: EventLog, bell: Bell) -> None:
        self._pool = pool
        self._events = events
        self._feeds: dict[UUID, Feed] = {}
        bell.on("ragstone_runs", self._hear)
        bell.on("ragstone_states", self._hear_state)
        self._states: dict[UUID, int] = {}

    async def now(self, thread: UUID) -> int:
        """The place before the active run's first event; after the last run when none is active."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(NOW, (thread,))).fetchone()
        return place_of(row["turn"] if row else 0, DONE)

    async def latest(self, thread: UUID) -> int:
        """The place before the newest run's first event when it is active or ended a moment ago, else after it."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(LATEST, (thread,))).fetchone()
        return place_of(row["turn"] if row else 0, DONE)

    async def follow(self, thread: UUID, after: int) -> AsyncGenerator[list[ThreadEvent]]:
        """The thread's events after the place, until it is deleted; those that are there at once together."""
        feed = self._feeds.setdefault(thread, Feed())
        feed.users += 1
        turn, seq = after >> SEQ_BITS, after & DONE
        try:
            while True:
                seen, changes = feed.news, self._states.get(thread, 0)
                run_id, begun = await self._next(thread, turn + (seq == DONE))
                if begun is None:
                    return
                if run_id is not None:
                    async with aclosing(self._run(run_id, begun, seq if begun == turn else 0)) as pages:
                        async for page in pages:
                            yield page
                    turn, seq = begun, DONE
                    continue
                await feed.wait(seen, RECHECK_S)
                if self._states.get(thread, 0) != changes:
                    yield [ThreadEvent(None, "state_update", "null", None)]
        finally:
            feed.users -= 1
            if feed.users == 0 and self._feeds.get(thread) is feed:
                del self._feeds[thread]
                self._states.pop(thread, None)

    async def _run(self, run_id: UUID, turn: int, seq: int) -> AsyncGenerator[list[ThreadEvent]]:
        async with aclosing(self._events.pages(run_id, seq)) as pages:
            async for page in pages:
                yield [ThreadEvent(place_of(turn, event.seq), event.event, event.data, run_id) for event in page]
        done = to_json({"run_id": str(run_id), "status": "run_done"})
        yield [ThreadEvent(place_of(turn, DONE), "metadata", done, run_id)]

    async def _next(self, thread: UUID, turn: int) -> tuple[UUID | None, int | None]:
        """The run of that turn or the next later one; its turn is 0 when there is none, None without the thread."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(NEXT, (turn, thread))).fetchone()
        return (None, None) if row is None else (row["id"], row["turn"] or 0)

    def _hear(self, said: str | None) -> None:
        for thread in list(self._feeds) if said is None else [UUID(said.split()[0])]:
            if feed := self._feeds.get(thread):
                feed.ring()

    def _hear_state(self, said: str | None) -> None:
        if said is not None and (thread := UUID(said)) in self._feeds:
            self._states[thread] = self._states.get(thread, 0) + 1
            self._feeds[thread].ring()
