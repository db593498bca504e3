"""`python -m evals chunking` on a small set, with the real embedder and a real index."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from evals.__main__ import main
from evals.chunking_data import read_chunking_set
from tests.documents import FERRIES, LIGHTHOUSE

CORPORA = {"coast": FERRIES + "\n" + "The bay of Tornby freezes in cold winters. " * 40, "tower": LIGHTHOUSE}
ANSWERS = {
    "What does a return ticket cost?": ("coast", "A return ticket costs eleven crowns for adults."),
    "Who built the lighthouse of Kerzenfels?": (
        "tower",
        "The lighthouse of Kerzenfels was built in 1821 by the engineer Marta Olsund.",
    ),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "corpora").mkdir()
    for name, text in CORPORA.items():
        (tmp_path / "corpora" / f"{name}.md").write_text(text, "utf-8")
    with (tmp_path / "questions_df.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("question", "references", "corpus_id"))
        for question, (corpus, answer) in ANSWERS.items():
            start = CORPORA[corpus].index(answer)
            excerpt = {"content": answer, "start_index": start, "end_index": start + len(answer)}
            writer.writerow((question, json.dumps([excerpt]), corpus))
    return tmp_path


def test_the_excerpts_are_the_very_places_of_the_answers(data: Path) -> None:
    found = read_chunking_set(data)
    for question in found.questions:
        (gold,) = question.gold
        assert found.corpora[gold.corpus][gold.start : gold.end] == ANSWERS[question.text][1]


def test_every_spec_is_measured_with_every_search_and_the_vectors_are_kept(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = ['{"strategy": "sentences", "tokens": 32}', '{"strategy": "tokens", "tokens": 128}']
    words = ["chunking", "--data", str(data), "--cache", str(data / "cache"), "--out", str(data / "out.json")]
    assert main([*words, "--spec", specs[0], "--spec", specs[1]]) == 0
    rows = json.loads((data / "out.json").read_text("utf-8"))
    assert [row["search"] for row in rows] == ["dense", "lexical", "hybrid"] * 2
    for row in rows:
        assert row["means"]["recall"] == pytest.approx(100)
        assert 0 < row["means"]["IoU"] == pytest.approx(row["means"]["precision"])
    small, large = rows[0], rows[3]
    assert small["chunks"] > large["chunks"]
    assert small["means"]["precision Ω"] > large["means"]["precision Ω"]
    assert "| sentences-1:tokens=32,overlap=0 | hybrid |" in capsys.readouterr().out
    assert len(list((data / "cache").iterdir())) == len(specs)


def test_the_lexical_list_alone_needs_no_vectors(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["chunking", "--data", str(data), "--cache", str(data / "cache"), "--out", str(data / "out.json")]
    assert main([*words, "--lexical", "--spec", '{"strategy": "sentences", "tokens": 32}']) == 0
    (row,) = json.loads((data / "out.json").read_text("utf-8"))
    assert (row["search"], row["means"]["recall"]) == ("lexical", pytest.approx(100))
    assert not (data / "cache").exists()
    assert "| lexical |" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")  # of bpe-openai
def test_the_published_rows_are_cut_in_their_own_tokens(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chunking", "--data", str(data), "--published", "--spec", '{"strategy": "structure"}']) == 0
    out = capsys.readouterr().out
    assert "| published: Recursive 200 | dense |  |  | 75.7 | 6.5 | 31.2 | 6.5 |" in out
    assert "the same, ours: tokens-1:tokens=250,overlap=125" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "nowhere"], "holds no chunking set"),
        (["--data", "nowhere", "--spec", '{"strategy": "magic"}'], "is no chunker"),
        (["--data", "nowhere", "--spec", "structure"], "is no chunker"),
    ],
)
def test_what_cannot_be_measured_is_said(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chunking", *words]) == 2
    assert told in capsys.readouterr().err
