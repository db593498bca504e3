"""The newest events of a run that this process writes or somebody here reads: enough for readers who keep up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

KEPT = 512
KEPT_CHARS = 1 << 20


class Event(NamedTuple):
    """An event of a run; ``seq`` counts from 1 without gaps, ``data`` is one line of JSON."""

    seq: int
    event: str
    data: str


class Feed:
    """The tail of a run's log, and who waits for more of it. A reader who is too slow for it reads the database."""

    def __init__(self) -> None:
        self.written_here = False
        self.users = 0
        self.news = 0
        self.top: int | None = None
        self._tail: deque[Event] = deque()
        self._chars = 0
        self._waiting: list[asyncio.Future[None]] = []

    def extend(self, events: Sequence[Event]) -> None:
        """Events that were just stored."""
        self._tail.extend(events)
        self.top = events[-1].seq
        self._chars += sum(len(event.data) for event in events)
        while len(self._tail) > KEPT or (self._chars > KEPT_CHARS and len(self._tail) > 1):
            self._chars -= len(self._tail.popleft().data)
        self.ring()

    def after(self, seq: int) -> list[Event] | None:
        """The events after ``seq``; None when the tail does not reach back to it."""
        if self.top is None:
            return None
        if seq >= self.top:
            return []
        if not self._tail or self._tail[0].seq > seq + 1:
            return None
        return list(islice(self._tail, seq + 1 - self._tail[0].seq, None))

    def ring(self) -> None:
        """Wake everybody who waits."""
        self.news += 1
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, seen: int, seconds: float | None = None) -> None:
        """Return when it has been rung since it had rung ``seen`` times, or after ``seconds``."""
        if self.news != seen:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            self._waiting = [other for other in self._waiting if other is not future]
