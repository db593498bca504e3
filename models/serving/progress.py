"""How far the start of the model server is: on stderr for a person, in a status file for the supervisor."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from models.serving.disk import writing_to

logger = logging.getLogger(__name__)

Status = Literal["starting", "ready", "failed"]
Report = Callable[[int], None]
STATUS_INTERVAL_S = 0.25


class _Bar(tqdm):  # type: ignore[type-arg]  # generic in the stubs only
    # No monitor thread: a bar that stalls has nothing to redraw.
    monitor_interval = 0


class Progress:
    """Tells how far the start is; ``status_file`` always holds one JSON object: status and detail."""

    def __init__(self, status_file: Path | None = None) -> None:
        self._file = status_file
        self._written = 0.0

    def say(self, detail: str) -> None:
        """Begin a step that has no measure."""
        logger.info("%s", detail)
        self._write("starting", detail)

    def ready(self, detail: str, url: str) -> None:
        """The server answers at ``url``, which the status file then holds, too."""
        logger.info("%s at %s", detail, url)
        self._write("ready", detail, url=url)

    def failed(self, detail: str) -> None:
        """The start is over."""
        logger.error("%s", detail)
        self._write("failed", detail)

    @contextmanager
    def step(self, detail: Callable[[int, int], str], total: int) -> Iterator[Report]:
        """Begin a step of ``total`` bytes; call what it yields with the bytes that are done.

        On a terminal it is drawn as a bar, else a line is logged at every tenth of it.
        """
        tenth = -1
        self._write("starting", detail(0, total))
        # ``disable=None`` draws the bar on terminals only.
        with _Bar(total=total, desc=detail(0, total).split()[0], unit="B", unit_scale=True, disable=None) as bar:

            def report(done: int) -> None:
                nonlocal tenth
                bar.update(done - bar.n)
                if bar.disable and (now := 10 * done // total) > tenth:
                    tenth = now
                    logger.info("%s", detail(done, total))
                if done >= total or time.monotonic() - self._written >= STATUS_INTERVAL_S:
                    self._write("starting", detail(done, total))

            yield report

    def _write(self, status: Status, detail: str, **more: str) -> None:
        self._written = time.monotonic()
        if self._file is None:
            return
        content = {"status": status, "detail": detail, **more}
        part = self._file.with_name(f"{self._file.name}.part")
        with writing_to(self._file.parent):
            part.write_text(json.dumps(content), encoding="utf-8")
            part.replace(self._file)


def megabytes(step: str) -> Callable[[int, int], str]:
    """``downloading 120 of 491 MB``."""
    return lambda done, total: f"{step} {done // 10**6} of {total // 10**6} MB"


def percent(step: str) -> Callable[[int, int], str]:
    """``requantising 45 %``."""
    return lambda done, total: f"{step} {100 * done // total} %"
