from __future__ import annotations

import asyncio
import errno

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from procrastinate.jobs import Job

from core.errors import Forbidden, InvalidInput, NotFound, Unavailable, UnreadableDocument
from ingest.retry import ATTEMPTS, PAUSED, CollectionPaused, Retry, SourceDown, delay, is_transient, judge, reason


@pytest.mark.parametrize("error", [Unavailable("x"), OSError("x"), RuntimeError("x"), TimeoutError()])
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        UnreadableDocument("x"),
        InvalidInput("x"),
        NotFound("x"),
        Forbidden("x"),
        psycopg.errors.UntranslatableCharacter("x"),
        UnicodeEncodeError("utf-8", "x", 0, 1, "surrogate"),
    ],
)
def test_what_a_document_is_stays_so(error: Exception) -> None:
    assert not is_transient(error)


@given(st.integers(1, 20), st.floats(0, 1))
def test_the_wait_grows_and_has_a_bound(attempt: int, spread: float) -> None:
    assert 2 <= delay(attempt, spread=0) <= delay(attempt, spread=spread) <= 80
    assert delay(attempt + 1, spread=0) >= delay(attempt, spread=0)


def test_attempts_are_bounded() -> None:
    def job(attempts: int) -> Job:
        return Job(id=1, queue="q", lock=None, queueing_lock=None, task_name="ingest", attempts=attempts)

    retry = Retry()
    decisions = [
        retry.get_retry_decision(exception=Unavailable("x"), job=job(attempts)) for attempts in range(ATTEMPTS + 1)
    ]
    assert [decision is not None for decision in decisions] == [True] * (ATTEMPTS - 1) + [False, False]
    assert retry.get_retry_decision(exception=UnreadableDocument("x"), job=job(0)) is None


@pytest.mark.parametrize("error", [SourceDown("x", 20), CollectionPaused(), asyncio.CancelledError()])
def test_what_is_not_the_documents_fault_uses_up_no_attempt(error: BaseException) -> None:
    verdict = judge(error, ATTEMPTS * 2)
    assert (verdict.again, verdict.free) == (True, True)


def test_a_paused_job_goes_where_nobody_works() -> None:
    job = Job(id=1, queue="q", lock=None, queueing_lock=None, task_name="ingest", attempts=0)
    decision = Retry().get_retry_decision(exception=CollectionPaused(), job=job)
    assert decision is not None
    assert decision.queue == PAUSED


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk of the worker is full"),
        (psycopg.errors.DiskFull("could not extend file"), "The disk of the database is full"),
        (psycopg.OperationalError("server closed the connection"), "The database did not answer"),
        (UnreadableDocument("The file is damaged."), "The file is damaged."),
        (KeyError("a secret"), "An unexpected error (KeyError)"),
    ],
)
def test_a_reason_says_what_happened_and_no_more(error: Exception, said: str) -> None:
    assert said in reason(error)
    assert "secret" not in reason(error)
