from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import InvalidInput, Unavailable
from core.settings import IngestSettings
from ingest.breaker import Breaker
from ingest.guard import Guard, GuardedEmbedder, guard_embedder
from ingest.retry import SourceDown


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("The index", failures=3, rest_s=30, clock=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.enter()
        breaker.failed()


def test_a_source_that_fails_again_and_again_is_left_alone(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 10
    with pytest.raises(SourceDown, match="The index has failed 3 times") as refusal:
        breaker.enter()
    assert refusal.value.seconds == 20


def test_a_success_between_failures_starts_the_count_again(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    breaker.enter()


def test_after_its_rest_a_source_is_tried_by_one_call(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 31
    breaker.enter()
    with pytest.raises(SourceDown):
        breaker.enter()
    breaker.succeeded()
    breaker.enter()
    breaker.enter()


def test_a_trial_that_fails_means_another_rest(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 31
    fail(breaker, 1)
    clock.now = 60
    with pytest.raises(SourceDown):
        breaker.enter()


def test_a_trial_that_is_given_up_lets_another_one_try(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 31
    breaker.enter()
    breaker.left()
    breaker.enter()


async def test_a_call_that_takes_too_long_says_which_setting_bounds_it(breaker: Breaker) -> None:
    guard = Guard(breaker, step="Embedding a batch", timeout_s=0.01, setting="INGEST__EMBED_TIMEOUT_S")
    with pytest.raises(Unavailable, match=r"Embedding a batch took longer than 0\.01 s.*INGEST__EMBED_TIMEOUT_S"):
        async with guard():
            await asyncio.Event().wait()


async def test_a_refusal_is_an_answer_and_no_failure(breaker: Breaker) -> None:
    guard = Guard(breaker, step="A call", timeout_s=1, setting="X")
    for _ in range(5):
        with pytest.raises(InvalidInput):
            async with guard():
                raise InvalidInput("no")
    async with guard():
        pass


async def test_what_is_not_foreseen_counts_as_a_failure(breaker: Breaker) -> None:
    guard = Guard(breaker, step="A call", timeout_s=1, setting="X")
    for _ in range(3):
        with pytest.raises(RuntimeError):
            async with guard():
                raise RuntimeError("out of memory")
    with pytest.raises(SourceDown):
        async with guard():
            pass


class Counting:
    """An embedder that knows how many of its batches were under way at once."""

    name, revision, dimension, max_tokens = "counting", "1", 2, 10

    def __init__(self) -> None:
        self.running = self.most = 0

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.running -= 1
        return np.zeros((len(texts), 2), np.float32)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        return np.zeros(2, np.float32)


@pytest.mark.parametrize("batches", [1, 2, 3])
async def test_no_more_batches_are_embedded_at_once_than_are_allowed(batches: int) -> None:
    embedder = Counting()
    guarded = guard_embedder(embedder, IngestSettings(embed_batches=batches))
    await asyncio.gather(*[guarded.embed_documents(["a"]) for _ in range(20)])
    assert embedder.most == batches


async def test_waiting_for_a_place_does_not_count_as_embedding(breaker: Breaker) -> None:
    class Slow(Counting):
        async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
            await asyncio.sleep(0.05)
            return await super().embed_documents(texts)

    guard = Guard(breaker, step="Embedding a batch", timeout_s=0.5, setting="X")
    guarded = GuardedEmbedder(Slow(), guard, batches=1)
    vectors = await asyncio.gather(*[guarded.embed_documents(["a"]) for _ in range(20)])
    assert len(vectors) == 20
