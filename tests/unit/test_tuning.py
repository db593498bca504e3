from __future__ import annotations

import uuid
from collections.abc import Mapping

import pytest

from core.domain import ChunkId
from core.index import Match, Ranking
from evals.beir import Dataset
from evals.systems import Asked, Searched
from evals.tuning import DEPTHS, SHARES, Setting, best, gains_on, left_out

A, B, C = (ChunkId(uuid.UUID(int=number)) for number in (1, 2, 3))


NOTHING: Mapping[Setting, float] = {(share, depth): 0.0 for share in SHARES for depth in DEPTHS}


def test_a_setting_that_loses_on_a_set_is_not_chosen_for_its_mean() -> None:
    gains: Mapping[str, Mapping[Setting, float]] = {
        "one": {**NOTHING, (0.4, 30): 0.10, (0.6, 100): 0.02},
        "two": {**NOTHING, (0.4, 30): -0.03, (0.6, 100): 0.01},
    }
    assert best(gains) == (0.6, 100)


def test_the_setting_for_a_set_is_chosen_on_the_others() -> None:
    gains: Mapping[str, Mapping[Setting, float]] = {
        "one": {**NOTHING, (0.4, 30): 0.2},
        "two": {**NOTHING, (0.7, 50): 0.1, (0.4, 30): -0.05},
    }
    rows = left_out(gains).splitlines()[2:]
    assert rows == ["| one | 0.7, 50 | +0.000 |", "| two | 0.4, 30 | -0.050 |"]


def test_the_gain_is_counted_from_the_better_single_list() -> None:
    dataset = Dataset("set", (), {"q": "x"}, {"q": {"b": 1}})
    ranking = Ranking(dense=[Match(A, 0.8), Match(B, 0.7)], lexical=[Match(C, 5.0), Match(B, 4.0)])
    searched = Searched({}, {A: "a", B: "b", C: "c"}, [Asked("q", "x", ranking, 1.0)])
    # Each list has the passage second; together they have it first.
    assert gains_on(dataset, searched)[0.5, 50] == pytest.approx(1.0 - 0.63093, abs=1e-4)
