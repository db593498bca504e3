"""A few real steps of training, broken off and taken up again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidInput
from core.settings import EmbeddingSettings, RerankerSettings
from models.reranker import open_reranker
from models.training.__main__ import main
from models.training.reranker import FIGURES, PLAN, reciprocal_rank, run
from tests.training.data import FACTS, TOWNS, write_data

RECIPE = """
seed: 5
negatives: 1
batch: 8
epochs: 1
max_tokens: 48
frozen_layers: 5
learning_rate: 0.001
checkpoint_steps: 2
"""
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """What the command is called with, but for the folder that it writes."""
    write_data(tmp_path / "data")
    (tmp_path / "recipe.yaml").write_text(RECIPE, "utf-8")
    return ["--data", str(tmp_path / "data"), "--recipe", str(tmp_path / "recipe.yaml")]


async def scores(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    passages = [passage.format(TOWNS[0]) for _, passage in FACTS]
    settings = RerankerSettings(model=str(folder), budget_ms=60_000)
    async with open_reranker(settings, EmbeddingSettings()) as reranker:
        assert reranker is not None
        return await reranker.score(FACTS[0][0].format(TOWNS[0]), passages)


async def test_a_run_that_is_broken_off_and_resumed_gives_the_model_of_one_that_was_not(
    tmp_path: Path, words: list[str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    figures = json.loads(run([*words, "--out", str(whole)]))
    assert figures["steps"] == figures["of_steps"] >= 2
    assert figures["questions"] == len(FACTS)
    assert json.loads((whole / FIGURES).read_text("utf-8")) == figures
    plan = json.loads((whole / PLAN).read_text("utf-8"))
    assert {row["question"] for row in plan["examples"]}.isdisjoint({row["question"] for row in plan["held_out"]})
    assert {row["label"] for row in plan["examples"]} == {0.0, 1.0}
    first = json.loads(run([*words, "--out", str(broken), "--minutes", "0"]))
    assert first["steps"] == 1
    early = await scores(broken)
    with pytest.raises(InvalidInput, match="--resume"):
        run([*words, "--out", str(broken)])
    resumed = json.loads(run([*words, "--out", str(broken), "--resume"]))
    assert resumed == figures
    late = await scores(broken)
    np.testing.assert_allclose(late, await scores(whole), atol=1e-5)
    assert not np.allclose(late, early, atol=1e-4)
    card = (broken / "README.md").read_text("utf-8")
    assert f"{figures['steps']} of {figures['of_steps']} steps" in card
    assert "--resume" in card
    assert "from towns" in card


def test_the_rank_of_the_first_answer_counts() -> None:
    assert reciprocal_rank(["a", "b", "c"], ["b", "c"]) == 0.5
    assert reciprocal_rank(["a"], ["b"]) == 0.0


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reranker", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "relevance_yes_no.jsonl" in capsys.readouterr().err
    assert main(["translator"]) == 2
    assert not (tmp_path / "out").exists()
