"""One supervised child process: started, watched until it answers, restarted when it dies, ended in order."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from app.parts import Part
from app.processes import signal_group
from app.record import Record
from core.errors import PlatformError

PROBE_PAUSE_S = 0.2
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
HEALTHY_AFTER_S = 60.0
LOG_LIMIT = 10_000_000  # bytes; a log and the one before it are kept
TAIL = 5  # lines


class Child:
    """A part's process over all of its restarts. ``log`` collects what it prints."""

    def __init__(self, part: Part, logs: Path, record: Record, say: Callable[[str], None]) -> None:
        self.part = part
        self.log = logs / f"{part.name}.log"
        self.ready = asyncio.Event()
        self.died = asyncio.Event()
        self.waits_for = ""
        self._record = record
        self._say = say
        self._process: Process | None = None
        self._ending = False
        self._life: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start it, and go on starting it until `stop`."""
        self._life = asyncio.create_task(self._live(), name=self.part.name)

    async def stop(self) -> None:
        """End it, more firmly each time its grace is over; nothing of its process group is left."""
        self._ending = True
        for number, grace_s in self.part.ending:
            if self._process is None:
                break
            self._send(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._process.wait()
                break
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])

    def kill(self) -> None:
        """End it at once; it is not started again."""
        self._ending = True
        self._send(self.part.abrupt)

    def tail(self) -> str:
        """The last lines of its log, indented, below the log's path."""
        try:
            lines = self.log.read_bytes()[-8_000:].decode("utf-8", "replace").splitlines()[-TAIL:]
        except OSError:
            lines = []
        return "\n".join([f"  {self.log} ends with:", *(f"    {line}" for line in lines)])

    def trim_log(self) -> None:
        """Keep the log within its limit; the child goes on writing to the same file. Blocks."""
        with suppress(OSError):
            if self.log.stat().st_size > LOG_LIMIT:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                with self.log.open("r+b") as log:
                    log.truncate()

    async def _live(self) -> None:
        delay = FIRST_DELAY_S
        while True:
            born = time.monotonic()
            try:
                end = f"ended with {describe(await self._one_life())}"
            except (OSError, PlatformError) as error:
                end = f"cannot be started: {error}"
                self.died.set()
            if self._ending:
                return
            if time.monotonic() - born > HEALTHY_AFTER_S:
                delay = FIRST_DELAY_S
            self._say(f"{self.part.title} {end}; it is started again in {delay:g} s.")
            if delay == FIRST_DELAY_S:
                self._say(self.tail())
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY_S)

    async def _one_life(self) -> int:
        """From one start to its end; the exit status (below zero: ended by that signal)."""
        if self.part.before is not None:
            await asyncio.to_thread(self.part.before)
        self.trim_log()
        command = self.part.command
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(*command.full_argv, **command.options(output))
        self._record.started(self.part.name, self._process.pid)
        watch = asyncio.create_task(self._watch())
        try:
            status = await self._process.wait()
        finally:
            watch.cancel()
            # What the part itself started must not outlive it.
            signal_group(self._process.pid, signal.SIGKILL)
        self.ready.clear()
        self._record.ended(self.part.name, status, restarts=not self._ending)
        self._process = None
        self.died.set()
        return status

    async def _watch(self) -> None:
        while (waits_for := await self.part.probe()) is not None:
            self.waits_for = waits_for
            await asyncio.sleep(PROBE_PAUSE_S)
        self._record.ready(self.part.name)
        self.ready.set()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


def describe(status: int) -> str:
    """An exit status in words."""
    return f"status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
