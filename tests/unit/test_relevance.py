from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidInput
from evals.relevance import Signals, areas, choose, is_held_out, read, signals, table


def made(cosines: list[float], words: list[bool] | None = None) -> Signals:
    flags = np.array(words or [False] * len(cosines))
    return Signals(np.array(cosines), flags, flags.astype(np.float64))


def test_a_question_is_not_found_when_neither_meaning_nor_words_are_near() -> None:
    found = made([0.3, 0.5, 0.3], [False, False, True])
    assert found.not_found(0.4).tolist() == [True, False, False]


def test_the_choice_has_the_highest_recall_that_refuses_few_enough() -> None:
    # Of 20 answerable questions one lies at 0.31 and one at 0.42: above 0.40 two would be refused.
    cosines = [0.31, 0.42, *[0.9] * 18, *[0.1] * 5]
    answerable = np.array([True] * 20 + [False] * 5)
    assert choose(made(cosines), answerable) == 0.4
    assert choose(made([0.1] * 4), np.array([True] * 4)) == 0.2


def test_the_table_tells_precision_recall_and_what_is_refused() -> None:
    answerable = np.array([True, True, False, False])
    lines = table(made([0.9, 0.32, 0.32, 0.9]), answerable, {"strangers": made([0.1, 0.9])}, 0.4)
    (row,) = [line for line in lines if line.startswith("| 0.40")]
    assert row == "| 0.40 (the choice) | 0.500 | 0.500 | 0.500 | 0.500 |"
    assert [line for line in lines if line.startswith("| 0.35 (the default)")]


def test_signals_come_from_the_nearest_passages() -> None:
    passages = ["The lamp burns oil.", "Boats leave at nine.", "Error ERR-4711 means a stuck valve."]
    matrix = np.eye(3, dtype=np.float32)
    found = signals(
        ["What is ERR-4711?", "How old?"], np.array([[0.1, 0, 0.2], [0, 0.6, 0]], np.float32), passages, matrix
    )
    assert found.cosine.tolist() == pytest.approx([0.2, 0.6])
    assert found.words.tolist() == [True, False]


def test_a_signal_that_tells_all_apart_has_an_area_of_one() -> None:
    answerable = np.array([True, False] * 20)
    held_out = np.array([True] * 20 + [False] * 20)
    ranks = areas(made([0.9, 0.1] * 20), answerable, held_out)
    assert (ranks["cosine"], ranks["words"]) == (1.0, 0.5)
    assert ranks["both, by a logistic model"] == 1.0


def test_questions_are_read_and_halved_the_same_way_every_time(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    row = {"id": "a", "question": "Why?", "passages": ["x", "y", "x"], "answerable": False}
    file.write_text(json.dumps(row), "utf-8")
    asked, passages = read(file)
    assert (asked[0].question, asked[0].answerable, passages) == ("Why?", False, ["x", "y"])
    assert 40 < sum(is_held_out(str(number)) for number in range(100)) < 60
    file.write_text('{"id": 1}', "utf-8")
    with pytest.raises(InvalidInput, match="no file of questions"):
        read(file)
