from __future__ import annotations

import math

import numpy as np
import pytest

from evals.bootstrap import interval
from evals.metrics import MEASURES, average_precision, ndcg, recall, reciprocal_rank

FOUND = ["a", "b", "c", "d"]
JUDGED = {"b": 1, "d": 3, "x": 2, "c": 0, "n": -1}


def test_ndcg_is_the_discounted_sum_of_grades_over_the_best_possible() -> None:
    gain = 1 / math.log2(3) + 3 / math.log2(5)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(FOUND, JUDGED, depth=10) == pytest.approx(gain / ideal)
    assert ndcg(FOUND, JUDGED, depth=3) == pytest.approx(1 / math.log2(3) / ideal)
    assert ndcg(["d", "x", "b"], JUDGED, depth=10) == pytest.approx(1.0)


def test_recall_counts_what_is_relevant_however_little() -> None:
    assert recall(FOUND, JUDGED, depth=4) == pytest.approx(2 / 3)
    assert recall(FOUND, JUDGED, depth=2) == pytest.approx(1 / 3)


def test_average_precision_counts_what_was_not_found() -> None:
    assert average_precision(FOUND, JUDGED) == pytest.approx((1 / 2 + 2 / 4) / 3)


def test_the_reciprocal_rank_is_that_of_the_first_relevant_passage() -> None:
    assert reciprocal_rank(FOUND, JUDGED, depth=10) == pytest.approx(1 / 2)
    assert reciprocal_rank(FOUND, JUDGED, depth=1) == 0.0


@pytest.mark.parametrize("name", MEASURES)
def test_nothing_found_and_nothing_relevant_measure_nothing(name: str) -> None:
    assert MEASURES[name]([], JUDGED) == 0.0
    assert MEASURES[name](FOUND, {"a": 0}) == 0.0


def test_the_interval_holds_the_mean_and_narrows_with_more_questions() -> None:
    values = np.tile([0.0, 1.0], 25)
    few, many = interval(values), interval(np.tile(values, 16))
    assert few.mean == many.mean == 0.5
    assert few.low < 0.5 < few.high
    # The standard error of 50 fair coins is 0.0707, of 800 a quarter of it.
    assert few.high - few.low == pytest.approx(2 * 1.96 * 0.0707, rel=0.1)
    assert many.high - many.low == pytest.approx((few.high - few.low) / 4, rel=0.15)


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(3).random(40)
    assert interval(values) == interval(values)


def test_a_certain_value_has_an_interval_of_no_width() -> None:
    assert interval(np.full(20, 0.25)) == (0.25, 0.25, 0.25)
