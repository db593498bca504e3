from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InvalidInput
from models.training.mining import Miner
from models.training.questions import LABELLED, Question, articles_of, divide, read_labelled, shingles
from models.training.recipe import read_recipe
from models.training.reranker import RECIPE
from tests.training.data import MEASURED, write_data, write_set


def test_a_passage_that_shares_eight_words_with_an_evaluation_is_dropped(tmp_path: Path) -> None:
    write_data(tmp_path)
    write_set(tmp_path / "set", passages=[f"By the way: {MEASURED}"], queries=["What else?"])
    whole, left = read_labelled(tmp_path, []), read_labelled(tmp_path, [tmp_path / "set"])
    assert MEASURED in whole.passages
    bridges = {passage for passage in whole.passages if "bridge" in passage}
    assert bridges.isdisjoint(left.passages)
    assert (whole.dropped, left.dropped, len(left.passages)) == (0, len(bridges), len(whole.passages) - len(bridges))
    assert {question.text for question in whole.questions} - {question.text for question in left.questions} == {
        question.text for question in whole.questions if bridges.intersection(question.answers)
    }


def test_a_question_that_an_evaluation_asks_is_dropped_however_it_is_written(tmp_path: Path) -> None:
    write_data(tmp_path)
    asked = read_labelled(tmp_path, []).questions[0].text
    write_set(tmp_path / "set", passages=["Nothing of all this."], queries=[asked.upper() + " ?"])
    assert asked not in {question.text for question in read_labelled(tmp_path, [tmp_path / "set"]).questions}


def test_short_texts_are_compared_whole() -> None:
    assert shingles("Two words.") == {("two", "words")}
    assert len(shingles("one two three four five six seven eight nine")) == 2


def test_what_hangs_together_by_questions_and_passages_is_one_article() -> None:
    articles = articles_of([("q1", "p1"), ("q1", "p2"), ("q2", "p2"), ("q3", "p3")])
    assert articles["q1"] == articles["q2"] != articles["q3"]


def test_no_article_is_both_trained_on_and_held_out() -> None:
    questions = [Question(f"q{number}", ("a",), (), number // 4) for number in range(40)]
    trained, held_out = divide(questions, 0.2, seed=3)
    assert len(trained) + len(held_out) == 40
    assert {question.article for question in trained}.isdisjoint({question.article for question in held_out})
    assert len({question.article for question in held_out}) == 2
    assert divide(questions, 0.2, seed=3) == (trained, held_out)


def test_one_article_cannot_be_divided() -> None:
    with pytest.raises(InvalidInput, match="hold out"):
        divide([Question("q", ("a",), (), 0)], 0.2, seed=1)


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=LABELLED):
        read_labelled(tmp_path, [])


def test_a_recipe_that_says_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("layers: 3\n", "utf-8")
    with pytest.raises(InvalidInput, match="layers"):
        read_recipe(tmp_path / "r.yaml")


def test_our_recipe_can_be_read() -> None:
    assert read_recipe(RECIPE).licence == "cc-by-sa-4.0"


def test_mined_passages_are_near_the_question_and_do_not_answer_it() -> None:
    from core.settings import EmbeddingSettings
    from models.embedder import load_model

    answer = "The lighthouse of Kerzenfels was built in 1821."
    near = "The lighthouse of Kerzenfels is painted red and white."
    far = "Bread rises because yeast makes gas."
    miner = Miner([far, near, answer], load_model(EmbeddingSettings()))
    question = Question("When was the lighthouse of Kerzenfels built?", (answer,), (), 0)
    assert miner.candidates([question], 3) == [[answer, near, far]]
    assert miner.negatives([question], count=1, depth=3, margin=1.0) == [[near]]
    assert miner.negatives([question], count=2, depth=3, margin=0.3) == [[far]]
    (lists,) = miner.search([question])
    assert lists.lexical == [2, 1]


def test_a_malformed_row_is_refused(tmp_path: Path) -> None:
    (tmp_path / LABELLED).write_text('{"question": "What?"}\n', "utf-8")
    with pytest.raises(InvalidInput, match="passage"):
        read_labelled(tmp_path, [])
