"""Passages that a search ranks high for a question and that do not answer it: BM25 and cosine, as search has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models.lexical import LexicalEncoder
from models.training.questions import Question

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True, slots=True)
class Lists:
    """What a question finds: the places of passages by BM25 and by cosine, best first, and all the cosines."""

    lexical: Sequence[int]
    dense: Sequence[int]
    cosines: NDArray[np.float32]


class Miner:
    """Searches passages by their words and their vectors."""

    def __init__(self, passages: Sequence[str], embedder: SentenceTransformer) -> None:
        self._passages = list(passages)
        self._places = {passage: place for place, passage in enumerate(self._passages)}
        self._embedder = embedder
        self._vectors = self._embed(self._passages)
        self._lexical = LexicalEncoder()
        self._postings: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for place, terms in enumerate(self._lexical.encode_documents(self._passages)):
            for term, weight in zip(terms.indices, terms.values, strict=True):
                self._postings[term].append((place, weight))

    def negatives(self, questions: Sequence[Question], *, count: int, depth: int, margin: float) -> list[list[str]]:
        """Up to ``count`` passages for each question, from both lists in turn, hardest first.

        A passage whose cosine to the question is above ``margin`` times that of its farthest answer may answer too, and
        is passed over (Moreira et al., "NV-Retriever", 2024).
        """
        found = []
        for question, lists in zip(questions, self.search(questions), strict=True):
            answers = {self._places[text] for text in question.answers}
            ceiling = margin * min(float(lists.cosines[place]) for place in answers)
            pairs = zip_longest(lists.lexical[:depth], lists.dense[:depth])
            ranked = dict.fromkeys(place for pair in pairs for place in pair if place is not None)
            hard = [place for place in ranked if place not in answers and lists.cosines[place] < ceiling]
            found.append([self._passages[place] for place in hard[:count]])
        return found

    def candidates(self, questions: Sequence[Question], depth: int) -> list[list[str]]:
        """The ``depth`` nearest passages of each question by cosine, nearest first."""
        return [[self._passages[place] for place in lists.dense[:depth]] for lists in self.search(questions)]

    def search(self, questions: Sequence[Question]) -> list[Lists]:
        """Both lists of each question, whole; the lexical one has those passages that share a word with it."""
        cosines = self._embed([question.text for question in questions]) @ self._vectors.T
        return [
            Lists(self._by_words(question.text), np.argsort(-row, kind="stable").tolist(), row)
            for question, row in zip(questions, cosines, strict=True)
        ]

    def _by_words(self, text: str) -> list[int]:
        scores: dict[int, float] = defaultdict(float)
        size = len(self._passages)
        for term in self._lexical.encode_query(text).indices:
            holders = self._postings.get(term, [])
            rarity = float(np.log1p((size - len(holders) + 0.5) / (len(holders) + 0.5)))
            for place, weight in holders:
                scores[place] += rarity * weight
        return sorted(scores, key=lambda place: -scores[place])

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        step = 32
        parts = [
            self._embedder.encode(list(texts[start : start + step]), normalize_embeddings=True, show_progress_bar=False)
            for start in tqdm(range(0, len(texts), step), desc="embed", disable=len(texts) < 10 * step)
        ]
        return np.concatenate(parts).astype(np.float32)
