"""Steps: what a node reports of itself while it works, as custom stream events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langgraph.types import StreamWriter


@contextmanager
def step(write: StreamWriter, name: str) -> Iterator[dict[str, Any]]:
    """Report the start and, with its seconds and what was put into the yielded detail, the end of a step."""
    detail: dict[str, Any] = {}
    write({"type": "step", "step": name, "status": "started", "seconds": None, "detail": {}})
    start = time.perf_counter()
    yield detail
    seconds = round(time.perf_counter() - start, 3)
    write({"type": "step", "step": name, "status": "finished", "seconds": seconds, "detail": detail})
