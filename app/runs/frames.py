"""A run's events as frames of a stream: all of them, or those of some of its modes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import get_args
from uuid import UUID

import orjson

from app.runs.log import EventLog
from app.runs.playing import StreamMode
from app.sse import sse
from core.errors import InvalidInput

STREAM_MODES: tuple[str, ...] = get_args(StreamMode)
ALWAYS = frozenset({"metadata", "error", "feedback"})
"""What every reader gets, whichever modes it asked for."""


async def frames(
    events: EventLog, run_id: UUID, *, after: int = 0, modes: Collection[str] | None = None
) -> AsyncGenerator[bytes]:
    """The frames of the run's events after ``after``, to the final ``end``; ``modes``: only what they give."""
    last = after
    async with aclosing(events.pages(run_id, after)) as pages:
        async for page in pages:
            last = page[-1].seq
            chosen = page if modes is None else [event for event in page if is_of(event.event, modes)]
            if chosen:
                yield b"".join([sse(event.event, event.data, event.seq) for event in chosen])
    yield sse("end", "null", last + 1)


def is_of(event: str, modes: Collection[str]) -> bool:
    """Whether one of the modes gives the event."""
    name = event.partition("|")[0]
    mode = {"messages": "messages-tuple"}.get(name, name.partition("/")[0])
    return mode in modes or name in ALWAYS


def read_modes(given: Sequence[str] | None, known: Sequence[str] = STREAM_MODES) -> list[str] | None:
    """The modes of a query: named once or several times, or as one JSON list; None when none is named.

    Raises:
        InvalidInput: there is no such mode.
    """
    modes: list[str] = []
    for value in given or ():
        modes += _listed(value) if value.startswith("[") else [value] if value else []
    if strangers := [mode for mode in modes if mode not in known]:
        raise InvalidInput(f"There is no stream mode {strangers[0]!r}. There are: {', '.join(known)}.")
    return modes or None


def _listed(value: str) -> list[str]:
    try:
        return [str(mode) for mode in orjson.loads(value)]
    except orjson.JSONDecodeError as error:
        raise InvalidInput("stream_mode must be the name of a mode, or a JSON list of such names.") from error
