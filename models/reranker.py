"""Scores of question and passage pairs: the `Reranker` interface, late interaction, and cross-encoders."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.settings import EmbeddingSettings, RerankerSettings
from models.embedder import load_model

if TYPE_CHECKING:
    import torch
    from sentence_transformers import CrossEncoder

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
    score: Scorer
    if settings.model == LATE_INTERACTION:
        score = (await asyncio.to_thread(LateInteraction, embedding, settings.cache_mb * 2**20)).score
    else:
        score = await asyncio.to_thread(_cross_encoder, settings.model, settings.revision)
    reranker = TimedReranker(score, name=settings.model, budget_ms=settings.budget_ms)
    try:
        yield reranker
    finally:
        reranker.close()


class LateInteraction:
    """The mean over the question's tokens of the cosine to the passage's nearest token.

    Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over
    BERT", SIGIR 2020, with the token vectors of the embedding model, which was not trained for it. The vectors of the
    passages that were read last are kept, up to ``cache_bytes``: what is found often is read once. Not thread-safe.
    """

    def __init__(self, embedding: EmbeddingSettings, cache_bytes: int) -> None:
        import torch

        self._model = load_model(embedding)
        self._special = torch.tensor(self._model.tokenizer.all_special_ids)
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._room = cache_bytes

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """A score between -1 and 1 for each passage; 0 for all when the question has no tokens."""
        import torch

        with torch.inference_mode():
            (asked,) = self._read([query], special=False)
            if not len(asked):
                return [0.0] * len(passages)
            asked = asked.float()
            return [float((asked @ vectors.float().T).amax(dim=1).mean()) for vectors in self._vectors(passages)]

    def _vectors(self, passages: Sequence[str]) -> list[torch.Tensor]:
        strange = [passage for passage in dict.fromkeys(passages) if passage not in self._kept]
        fresh = dict(zip(strange, self._read(strange, special=True) if strange else [], strict=True))
        found = []
        for passage in passages:
            if passage in self._kept:
                self._kept.move_to_end(passage)
            found.append(self._kept[passage] if passage in self._kept else fresh[passage])
        for passage, vectors in fresh.items():
            self._kept[passage] = vectors
            self._room -= vectors.nbytes
        while self._room < 0:
            _, oldest = self._kept.popitem(last=False)
            self._room += oldest.nbytes
        return found

    def _read(self, texts: Sequence[str], *, special: bool) -> list[torch.Tensor]:
        """Unit vectors (tokens, dimension) of each text, with those of the special tokens or without."""
        import torch

        features = self._model.preprocess(list(texts))
        features = {name: value.to(self._model.device) for name, value in features.items() if torch.is_tensor(value)}
        wanted = features["attention_mask"].bool()
        if not special:
            wanted &= ~torch.isin(features["input_ids"], self._special.to(self._model.device))
        vectors = torch.nn.functional.normalize(self._model[0](features)["token_embeddings"].float(), dim=-1)
        return [own[there].half().cpu() for own, there in zip(vectors, wanted, strict=True)]


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
