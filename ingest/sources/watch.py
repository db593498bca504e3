"""Waiting for a folder to change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

QUIET_MS = 1000
LONGEST_MS = 30_000
SILENCE_MS = 60_000
"""Without an event for so long there is one all the same: some network file systems tell nothing of changes."""


async def changes(root: Path) -> AsyncIterator[None]:
    """An event after each burst of changes below ``root``: when nothing changed for a second, at most after 30."""
    async for _ in awatch(
        root, step=QUIET_MS, debounce=LONGEST_MS, rust_timeout=SILENCE_MS, yield_on_timeout=True, recursive=True
    ):
        yield
