from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from procrastinate.jobs import Job

from core.errors import Forbidden, InvalidInput, NotFound, Unavailable, UnreadableDocument
from ingest.retry import ATTEMPTS, Retry, delay, is_transient


@pytest.mark.parametrize("error", [Unavailable("x"), OSError("x"), RuntimeError("x"), TimeoutError()])
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", [UnreadableDocument("x"), InvalidInput("x"), NotFound("x"), Forbidden("x")])
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
