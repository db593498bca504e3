"""What the graphs decide without a model: pure functions of what they have found."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.domain import Hit
from graphs.words import content_words, coverage

NOT_FOUND = re.compile(r"^\W*not\s+found\b", re.IGNORECASE)
LEXICAL_COVERAGE = 0.75
"""The share of the question's words that makes a passage relevant whatever its vector says (codes, names, numbers)."""


def is_relevant(hit: Hit, question: str, min_score: float) -> bool:
    """Whether the passage may hold an answer: near by meaning, or holding most of the question's words."""
    if hit.scores.dense is not None and hit.scores.dense >= min_score:
        return True
    words = content_words(question)
    return coverage(words, set(content_words(hit.chunk.embedded_text))) >= LEXICAL_COVERAGE


def says_not_found(draft: str) -> bool:
    """Whether the model says that the passages do not answer the question."""
    return NOT_FOUND.match(draft) is not None


def usable_rewrite(rewrite: str, question: str, history: Sequence[str]) -> bool:
    """Whether a model's rewrite may replace the question: short, one line, and about nothing new.

    Every word of it must come from the question or the conversation, or the search would follow an invention.
    """
    if not rewrite or "\n" in rewrite or len(rewrite) > 3 * len(question) + 200:
        return False
    known = set(content_words(" ".join([question, *history])))
    return coverage(content_words(rewrite), known) == 1.0
