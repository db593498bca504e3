"""Scores of question and passage pairs: the `Reranker` interface, late interaction, and cross-encoders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.settings import EmbeddingSettings, RerankerSettings

if TYPE_CHECKING:
    import torch
    from sentence_transformers import CrossEncoder, SentenceTransformer

LATE_INTERACTION = "late-interaction"
BATCH = 8
"""Passages read at once, between two looks at the clock."""

Scorer = Callable[[str, Sequence[str]], Sequence[float]]


class Reranker(Protocol):
    """Says how well each passage answers a question; reads both, and so costs more than the index."""

    @property
    def name(self) -> str:
        """The model, for traces and reports."""
        ...

    async def score(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """A score for each passage, of shape (passages,), in their order; higher is better.

        Passages that there was no time for are NaN; they are the last ones. Scores of different questions are not
        comparable.
        """
        ...


class TimedReranker:
    """`Reranker` on a thread of its own, which reads a few passages at a time until its time is over."""

    def __init__(self, score: Scorer, *, name: str, budget_ms: int) -> None:
        self._score = score
        self._name = name
        self._budget_s = budget_ms / 1000
        self._thread = ThreadPoolExecutor(1, "rerank")

    @property
    def name(self) -> str:
        """The model, for traces and reports."""
        return self._name

    async def score(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """A score for each passage, of shape (passages,), NaN for the last ones when the time was over.

        The time counts from the call, so that waiting for other questions is part of it. The first few passages are
        read in any case.
        """
        end = time.monotonic() + self._budget_s
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, query, passages, end)

    def _run(self, query: str, passages: Sequence[str], end: float) -> NDArray[np.float32]:
        scores = np.full(len(passages), np.nan, dtype=np.float32)
        for start in range(0, len(passages), BATCH):
            if start and time.monotonic() >= end:
                break
            scores[start : start + BATCH] = self._score(query, passages[start : start + BATCH])
        return scores

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def open_reranker(settings: RerankerSettings, embedding: EmbeddingSettings) -> AsyncIterator[Reranker | None]:
    """Load the model in a thread; None when the settings name none.

    Raises:
        InvalidInput: the model cannot be loaded.
    """
    if settings.model is None:
        yield None
        return
    if settings.model == LATE_INTERACTION:
        score = await asyncio.to_thread(_late_interaction, embedding)
    else:
        score = await asyncio.to_thread(_cross_encoder, settings.model, settings.revision)
    reranker = TimedReranker(score, name=settings.model, budget_ms=settings.budget_ms)
    try:
        yield reranker
    finally:
        reranker.close()


def _late_interaction(embedding: EmbeddingSettings) -> Scorer:
    """The mean over the question's tokens of the cosine to the passage's nearest token.

    Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over
    BERT", SIGIR 2020, with the token vectors of the embedding model, which was not trained for it.
    """
    import torch

    from models.embedder import load_model

    model = load_model(embedding)
    special = torch.tensor(model.tokenizer.all_special_ids)

    def score(query: str, passages: Sequence[str]) -> list[float]:
        with torch.inference_mode():
            asked, of_query, ids = _token_vectors(model, [query])
            words = of_query[0] & ~torch.isin(ids[0], special)
            vectors, present, _ = _token_vectors(model, passages)
            near = torch.einsum("qd,ptd->pqt", asked[0][words], vectors)
            near = near.masked_fill(~present[:, None, :], -1.0).max(dim=-1).values
            scores: list[float] = near.mean(dim=-1).tolist() if words.any() else [0.0] * len(passages)
        return scores

    return score


def _token_vectors(model: SentenceTransformer, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unit vectors (texts, tokens, dimension), which tokens are there, and their ids."""
    import torch

    features = model.tokenize(list(texts))
    features = {name: value.to(model.device) for name, value in features.items() if isinstance(value, torch.Tensor)}
    vectors = model[0](features)["token_embeddings"].float()
    present = features["attention_mask"].bool()
    return torch.nn.functional.normalize(vectors, dim=-1).cpu(), present.cpu(), features["input_ids"].cpu()


def _cross_encoder(name: str, revision: str | None) -> Scorer:
    import torch
    from sentence_transformers import CrossEncoder

    try:
        model: CrossEncoder = CrossEncoder(
            name, revision=revision, device="cuda" if torch.cuda.is_available() else "cpu", num_labels=1
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(
            f"RERANKER__MODEL {name!r} cannot be loaded. Use {LATE_INTERACTION!r}, a folder that holds a cross-encoder "
            "of sentence-transformers with one output, or such a model of the hub (which must be reachable)."
        ) from error

    def score(query: str, passages: Sequence[str]) -> list[float]:
        pairs = [(query, passage) for passage in passages]
        return [float(value) for value in model.predict(pairs, batch_size=BATCH, show_progress_bar=False)]

    return score
