"""The supervisor's record of its parts, which the API shows and the next start cleans up after."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil

from app.processes import end, find, signal_group

LEFTOVER_GRACE_S = 10.0


@dataclass(kw_only=True)
class PartRecord:
    """One part: its process, how often it was restarted, and with what status it ended last."""

    pid: int | None = None
    created: float | None = None
    restarts: int = 0
    last_exit: int | None = None
    started_at: str | None = None
    status: Literal["starting", "ready", "failed"] = "starting"


class Record:
    """The parts by name; every change replaces the file as a whole."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._told = False
        self.parts: dict[str, PartRecord] = {}

    def started(self, name: str, pid: int) -> None:
        """Part `name` runs as process `pid` now."""
        part = self.parts.setdefault(name, PartRecord())
        part.pid, part.status = pid, "starting"
        part.created = None
        with suppress(psutil.NoSuchProcess):
            part.created = psutil.Process(pid).create_time()
        part.started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._save()

    def ready(self, name: str) -> None:
        """Part `name` answers."""
        self.parts[name].status = "ready"
        self._save()

    def ended(self, name: str, status: int, *, restarts: bool) -> None:
        """Part `name` ended with `status` (below zero: by that signal)."""
        part = self.parts[name]
        part.pid = part.created = None
        part.last_exit, part.status = status, "failed"
        part.restarts += restarts
        self._save()

    def remove(self) -> None:
        """Everything ended in order: the next start has nothing to clean up."""
        self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        content = {"pid": os.getpid(), "parts": {name: asdict(part) for name, part in self.parts.items()}}
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(content, indent=1), "utf-8")
            fresh.replace(self._path)
        except OSError as error:  # a disk that fills up later must not take the parts down
            if not self._told:
                self._say(f"Cannot write {self._path} ({error.strerror}): free some space.")
            self._told = True
        else:
            self._told = False


def end_recorded(path: Path) -> list[str]:
    """End what a killed supervisor left running, and name the parts. Blocks."""
    try:
        parts = json.loads(path.read_text("utf-8"))["parts"]
        known = {name: (part["pid"], part["created"]) for name, part in parts.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    left = {name: process for name, (pid, born) in known.items() if pid and born and (process := find(pid, born))}
    # The database has its own way to be ended, with more patience.
    left.pop("database", None)
    end(list(left.values()), signal.SIGTERM, grace_s=LEFTOVER_GRACE_S)
    for process in left.values():
        signal_group(process.pid, signal.SIGKILL)
    path.unlink(missing_ok=True)
    return sorted(left)
