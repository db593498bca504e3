from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.chunking_metrics import Stretch, precision_omega, score


def at(start: int, end: int, corpus: str = "a") -> Stretch:
    return Stretch(corpus, start, end)


def test_a_chunk_that_is_the_answer_is_perfect() -> None:
    assert score([at(10, 20)], [at(10, 20)]) == (1.0, 1.0, 1.0)


def test_half_of_the_answer_in_a_chunk_twice_as_long() -> None:
    # 10 of 20 wanted characters among 20: shared 10, found 20, missing 10.
    assert score([at(0, 20)], [at(10, 30)]) == (0.5, 0.5, 10 / 30)


def test_text_that_two_chunks_repeat_counts_once_as_found_and_twice_as_read() -> None:
    found = score([at(0, 10)], [at(0, 20), at(0, 20)])
    assert found == (1.0, 10 / 40, 10 / 40)


def test_chunks_of_another_corpus_are_read_and_hold_nothing() -> None:
    assert score([at(0, 10)], [at(0, 10, "b")]) == (0.0, 0.0, 0.0)


def test_several_excerpts_are_one_whole() -> None:
    found = score([at(0, 10), at(50, 80)], [at(45, 85)])
    assert found == (30 / 40, 30 / 40, 30 / 50)


def test_the_best_that_the_chunks_allow_counts_only_those_that_hold_an_excerpt() -> None:
    chunks = [at(0, 40), at(40, 80), at(80, 120), at(0, 40, "b")]
    assert precision_omega([at(30, 50)], chunks) == 20 / 80
    assert precision_omega([at(200, 210)], chunks) == 0.0


stretches = st.lists(
    st.builds(lambda corpus, start, length: at(start, start + length, corpus), st.sampled_from("ab"),
              st.integers(0, 60), st.integers(1, 30)), min_size=1, max_size=5)  # fmt: skip


@given(stretches, stretches)
def test_counting_characters_one_by_one_gives_the_same(gold: list[Stretch], found: list[Stretch]) -> None:
    places = [{(one.corpus, n) for n in range(one.start, one.end)} for one in found]
    wanted = [{(one.corpus, n) for n in range(one.start, one.end)} for one in gold]
    read, shared = set().union(*places), set().union(*places) & set().union(*wanted)
    missing = sum(len(one - read) for one in wanted)
    got = sum(len(one) for one in places)
    measured = score(gold, found)
    assert measured.recall == pytest.approx(len(shared) / sum(len(one) for one in wanted))
    assert measured.precision == pytest.approx(len(shared) / got)
    assert measured.iou == pytest.approx(len(shared) / (got + missing))
