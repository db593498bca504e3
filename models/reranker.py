"""Scores of question and passage pairs, read together: the `Reranker` interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Reranker(Protocol):
    """Says how well each passage answers a question; reads both, and so costs more than the index."""

    @property
    def name(self) -> str:
        """The model, for traces and reports."""
        ...

    async def score(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """A score for each passage, of shape (passages,), in their order; higher is better.

        Scores of different questions are not comparable.
        """
        ...
