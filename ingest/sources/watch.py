"""Waiting for a folder to change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

QUIET_MS = 1000
LONGEST_MS = 30_000
SILENCE_MS = 60_000
"""Without an event for so long there is one all the same: some network file systems tell nothing of changes."""


async def changes(root: Path) -> AsyncIterator[None]:
    """An event as soon as changes are listened for, and one after each burst of them below ``root``.

    The first is for what changed before. A burst ends when nothing changed for a second, or after 30.
    """
    bursts = awatch(
        root, step=QUIET_MS, debounce=LONGEST_MS, rust_timeout=SILENCE_MS, yield_on_timeout=True, recursive=True
    )
    burst = asyncio.ensure_future(anext(bursts))
    try:
        await asyncio.sleep(0)  # the task's first step begins to listen
        yield
        while True:
            await burst
            yield
            burst = asyncio.ensure_future(anext(bursts))
    finally:
        burst.cancel()
