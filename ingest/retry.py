"""When a job that ended with an error is tried again: the one place where the write path's errors are sorted."""

from __future__ import annotations

import asyncio
import errno
import random
from dataclasses import dataclass

import procrastinate
import psycopg
from procrastinate import RetryDecision
from procrastinate.jobs import Job

from core.errors import PlatformError, Unavailable

ATTEMPTS = 6
QUEUE = "ingest"
UPKEEP = "upkeep"
"""The queue of what keeps the house in order; any worker does it."""
PAUSED = "paused"
"""The queue that nobody works on: jobs of paused collections wait in it."""

PERMANENT = (psycopg.errors.DataError, psycopg.errors.ProgrammingError, UnicodeError)
"""What a text that PostgreSQL does not take, or a mistake of ours in a query, raises: the same at every attempt."""
FULL = (errno.ENOSPC, errno.EDQUOT)


class SourceDown(Unavailable):
    """A source has failed so often that it is left alone for ``seconds``; no attempt is used up."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class CollectionPaused(Exception):
    """The job belongs to a collection that is paused."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an error: ``again`` after ``seconds`` or never; ``free`` when no attempt is used up."""

    again: bool
    seconds: float = 0.0
    free: bool = False


def is_transient(error: BaseException) -> bool:
    """Whether trying again can help.

    What we raise about a document itself will be the same tomorrow. Parts that do not answer, and everything that
    we did not foresee, may pass.
    """
    if isinstance(error, PlatformError):
        return isinstance(error, Unavailable)
    return not isinstance(error, PERMANENT)


def delay(attempt: int, *, spread: float | None = None) -> float:
    """Seconds to wait before attempt ``attempt + 1``: 2, 4, 8 … with up to a quarter of jitter on top."""
    jitter = random.random() if spread is None else spread  # noqa: S311 (no secret)
    return float(2 ** min(attempt, 6)) * (1 + jitter / 4)


def judge(error: BaseException, attempts: int) -> Verdict:
    """What follows from ``error``, which ended an attempt that ``attempts`` others went before."""
    if isinstance(error, (CollectionPaused, asyncio.CancelledError)):
        return Verdict(again=True, free=True)
    if isinstance(error, SourceDown):
        # Jitter, so that those who waited do not all come at the same moment.
        return Verdict(again=True, seconds=error.seconds + delay(0), free=True)
    if not is_transient(error) or attempts + 1 >= ATTEMPTS:
        return Verdict(again=False)
    return Verdict(again=True, seconds=delay(attempts + 1))


def reason(error: BaseException) -> str:
    """What a person is told about the error; it holds no text of the document."""
    if isinstance(error, PlatformError):
        return str(error)
    if isinstance(error, OSError) and error.errno in FULL:
        return "The disk of the worker is full: free some space."
    if isinstance(error, psycopg.errors.DiskFull):
        return "The disk of the database is full: free some space."
    if isinstance(error, psycopg.OperationalError):
        return "The database did not answer."
    return f"An unexpected error ({type(error).__name__}); the log of the worker has it."


class Retry(procrastinate.BaseRetryStrategy):
    """What `judge` says, in the job engine's words."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Try again later, or not at all."""
        verdict = judge(exception, job.attempts)
        if not verdict.again:
            return None
        queue = PAUSED if isinstance(exception, CollectionPaused) else None
        if not verdict.seconds:
            return RetryDecision(queue=queue)
        return RetryDecision(retry_in={"seconds": max(1, round(verdict.seconds))})
