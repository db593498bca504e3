"""Single values of a thread by their path, such as ``values.messages[-1].content``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.errors import InvalidInput

ROOTS = ("values", "metadata", "interrupts", "status", "thread_id", "created_at", "updated_at")
PATH = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[-?\d{1,9}\])*")
STEP = re.compile(r"[^.\[\]]+")
MOST = 10


def read_paths(paths: Mapping[str, str]) -> dict[str, list[str]]:
    """The steps of each path, by its alias.

    Raises:
        InvalidInput: there are more than ten, or one is no path into a thread.
    """
    if len(paths) > MOST:
        raise InvalidInput(f"extract has {len(paths)} paths; at most {MOST} are possible.")
    read = {}
    for alias, path in paths.items():
        steps = STEP.findall(path)
        if not PATH.fullmatch(path) or steps[0] not in ROOTS:
            roots = ", ".join(ROOTS)
            raise InvalidInput(
                f"extract: {path!r} is no path. Write it like 'values.messages[-1].content'; it starts with {roots}."
            )
        read[alias] = steps
    return read


def extracted(thread: Mapping[str, Any], paths: Mapping[str, list[str]]) -> dict[str, Any]:
    """The value at each path; ``None`` where the thread has none."""
    return {alias: _at(thread, steps) for alias, steps in paths.items()}


def _at(value: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.lstrip("-").isdecimal() and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
