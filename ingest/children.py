"""Child processes for work on files of strangers: what crashes, hangs or eats memory there takes nothing with it."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from core.errors import Unavailable

Result = TypeVar("Result")

SIGNAL_OF_PARENTS_DEATH = 1  # prctl(2): PR_SET_PDEATHSIG


class ChildEnded(Exception):
    """A piece of work was ended with its child; the message says why, in words that follow "because it"."""


class OutOfTime(ChildEnded):
    """It took too long."""


class OutOfMemory(ChildEnded):
    """It asked for more memory than it may have."""


class Crashed(ChildEnded):
    """It crashed the child."""


class Children:
    """A pool of child processes, each with at most ``memory_mb`` MiB; one that ends is replaced."""

    def __init__(self, *, memory_mb: int, processes: int) -> None:
        self.memory_mb = memory_mb
        self._processes = processes
        self._pool: ProcessPool | None = None
        self._opening = asyncio.Lock()
        self._running: set[Future[Any]] = set()

    async def run(self, function: Callable[..., Result], *arguments: object, timeout_s: float) -> Result:
        """The result of a function that a child can import; cancelling the call ends the child that works on it.

        Raises:
            ChildEnded: the child was ended; see its subclasses.
            Unavailable: the children do not start.
            Exception: what the function raises.
        """
        try:
            return await self._attempt(function, arguments, timeout_s)
        except BrokenProcessPool:
            # The pool takes all work down with it, the innocent too: each piece gets a second chance.
            try:
                return await self._attempt(function, arguments, timeout_s)
            except BrokenProcessPool as error:
                raise Unavailable(
                    "The processes that read documents do not start. The error output says why; then retry."
                ) from error

    async def start(self) -> None:
        """Start the children before the first work comes."""
        await self._ready()

    async def close(self) -> None:
        """End the children; work that is under way is cancelled."""
        for future in tuple(self._running):
            future.cancel()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.to_thread(_stop, pool)

    async def _attempt(
        self, function: Callable[..., Result], arguments: tuple[object, ...], timeout_s: float
    ) -> Result:
        pool = await self._ready()
        try:
            future: Future[Result] = pool.schedule(function, args=arguments, timeout=timeout_s)
        except RuntimeError as error:
            raise BrokenProcessPool from error
        self._running.add(future)
        try:
            return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise OutOfTime(f"took longer than {timeout_s:g} s") from error
        except MemoryError as error:
            raise OutOfMemory(f"took more than {self.memory_mb} MB of memory") from error
        except ProcessExpired as error:
            raise Crashed(f"crashed its reader{_signal(error.exitcode)}") from error
        finally:
            self._running.discard(future)

    async def _ready(self) -> ProcessPool:
        async with self._opening:
            if self._pool is None or not self._pool.active:
                broken, self._pool = self._pool, await asyncio.to_thread(self._open)
                if broken is not None:
                    await asyncio.to_thread(_stop, broken)
            return self._pool

    def _open(self) -> ProcessPool:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["ingest.preload"])
        pool = ProcessPool(self._processes, initializer=_restrict, initargs=(self.memory_mb,), context=context)
        assert pool.active  # noqa: S101 -- asking is what starts it
        return pool


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; a program that it becomes inherits that. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SIGNAL_OF_PARENTS_DEATH, signal.SIGKILL)


def _stop(pool: Any) -> None:
    pool.stop()
    pool.join()


def _signal(exitcode: int) -> str:
    if exitcode >= 0:
        return ""
    try:
        return f" ({signal.Signals(-exitcode).name})"
    except ValueError:
        return f" (signal {-exitcode})"


def _restrict(memory_mb: int) -> None:
    """In the child: die at once when told to or when the parent is gone, leave no core, stay within the memory."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    end_with_parent()
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_DATA, memory_mb << 20)
    _limit(resource.RLIMIT_AS, mapped + (memory_mb << 20))


def _limit(kind: int, size: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(kind, (limit, limit))
