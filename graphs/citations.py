"""Citations by evidence: each sentence of an answer is matched with the passage sentences that say it.

A small model cites badly and invents sources; the match does not. A mark that the model wrote only breaks ties, a
quote is cut out of the passage and never taken from the model, and a sentence that no passage supports gets no mark.
The method is post-hoc attribution, as in Gao et al., "RARR: Researching and Revising What Language Models Say",
ACL 2023, with word coverage as the measure of support.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.domain import Citation, Hit
from graphs.words import content_words, coverage
from ingest.sentence import sentences

MARK = re.compile(r"\s*[\[(](\d{1,2}(?:\s*,\s*\d{1,2})*)[\])]")
SUPPORT = 0.6
"""The least share of a sentence's words that a quote must hold."""
MARKED_BONUS = 0.1
WINDOW = 2
"""The most sentences of a quote."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stretch ``start:end`` of a passage's text and how well it supports a sentence, 0 to 1."""

    passage: int
    start: int
    end: int
    support: float


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of an answer without marks, the passages that the model marked, and the evidence if there is any."""

    text: str
    marked: Sequence[int]
    evidence: Evidence | None


def split_marks(sentence: str, passages: int) -> tuple[str, list[int]]:
    """The sentence without its marks, and the 0-based passages that they name; unknown numbers are dropped."""
    numbers = [int(number) for group in MARK.findall(sentence) for number in re.findall(r"\d+", group)]
    return MARK.sub("", sentence).strip(), [number - 1 for number in numbers if 1 <= number <= passages]


def support(sentence: str, question: str, evidence: str) -> float:
    """How much of what the sentence says is in the evidence, 0 to 1.

    What the sentence repeats of the question proves nothing, so the words that it adds must be covered as well, and
    every number that it adds must be there.
    """
    there = set(content_words(evidence))
    said = content_words(sentence)
    asked = set(content_words(question))
    added = [word for word in said if word not in asked]
    if any(word[:1].isdigit() and word not in there for word in added):
        return 0.0
    whole = coverage(said, there)
    return min(whole, coverage(added, there)) if added else whole


def find_evidence(sentence: str, question: str, passages: Sequence[str], marked: Sequence[int]) -> Evidence | None:
    """The shortest stretch of sentences that supports the sentence best, or ``None`` when none does well enough."""
    best: Evidence | None = None
    best_rank = (0.0, 0)
    for number, passage in enumerate(passages):
        spans = sentences(passage)
        bonus = MARKED_BONUS if number in marked else 0.0
        for first in range(len(spans)):
            for last in range(first, min(first + WINDOW, len(spans))):
                start, end = spans[first][0], spans[last][1]
                value = support(sentence, question, passage[start:end])
                rank = (value + bonus, first - last)
                if value >= SUPPORT and rank > best_rank:
                    best, best_rank = Evidence(number, start, end, value), rank
    return best


def examine(sentence: str, question: str, passages: Sequence[str], owners: Sequence[int] | None = None) -> Claim:
    """A sentence of an answer as a claim with its evidence.

    Args:
        sentence: what the model wrote, with its marks.
        question: what was asked.
        passages: the texts to look in.
        owners: for each of them the 0-based number that a mark has for it; its own place when they are left out.
    """
    owners = range(len(passages)) if owners is None else owners
    text, named = split_marks(sentence, max(owners, default=-1) + 1)
    marked = [place for place, owner in enumerate(owners) if owner in named]
    return Claim(text, marked, find_evidence(text, question, passages, marked) if text else None)


class Citations:
    """The citations of one answer, numbered in the order of their marks; the same quote keeps its number.

    The passages of an `Evidence` are the chunks of all hits, one after the other.
    """

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._parts = [(hit, chunk) for hit in hits for chunk in hit.chunks]
        self._numbers: dict[tuple[int, int, int], int] = {}

    def mark(self, evidence: Evidence) -> int:
        """The number of the mark for this evidence."""
        return self._numbers.setdefault((evidence.passage, evidence.start, evidence.end), len(self._numbers) + 1)

    def collected(self) -> list[Citation]:
        """The citations, in the order of their marks."""
        return [self._citation(number, key) for key, number in self._numbers.items()]

    def _citation(self, number: int, key: tuple[int, int, int]) -> Citation:
        passage, start, end = key
        hit, chunk = self._parts[passage]
        return Citation(
            n=number,
            document_id=chunk.document,
            document_name=hit.document_name,
            chunk_id=chunk.id,
            page=chunk.page_at(chunk.start + start),
            section=tuple(chunk.section),
            quote=chunk.text[start:end],
            start=chunk.start + start,
            end=chunk.start + end,
        )
