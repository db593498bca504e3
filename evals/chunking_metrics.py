"""Measures of chunks that were retrieved, by characters: recall, precision and intersection over union.

Those of Smith and Troynikov, "Evaluating Chunking Strategies for Retrieval", Chroma 2024: what counts is how much of
the text that answers a question stands in the chunks, and how much else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Stretch(NamedTuple):
    """Characters ``start:end`` of a corpus."""

    corpus: str
    start: int
    end: int


class Score(NamedTuple):
    """What the chunks retrieved for one question are worth; each from 0 to 1."""

    recall: float
    precision: float
    iou: float


def score(gold: Sequence[Stretch], found: Sequence[Stretch]) -> Score:
    """Recall ``|gold ∩ found| / |gold|``, precision ``/ |found|``, IoU ``/ (|found| + |gold not found|)``.

    Text that stands in several found chunks counts once in the intersection, and each time in ``|found|``.
    """
    shared = _length(_union(_shared(gold, found)))
    wanted, got = _length(gold), _length(found)
    missing = sum(one.end - one.start - _length(_union(_shared([one], found))) for one in gold)
    return Score(shared / wanted, shared / got if got else 0.0, shared / (got + missing))


def precision_omega(gold: Sequence[Stretch], chunks: Iterable[Stretch]) -> float:
    """The IoU when exactly the chunks that hold gold text are retrieved: the best that the chunks allow.

    The source calls it a precision; where the chunks hold all of the text both are the same.
    """
    holding = [chunk for chunk in chunks if _shared(gold, [chunk])]
    return score(gold, _union(holding)).iou if holding else 0.0


def _shared(gold: Iterable[Stretch], found: Sequence[Stretch]) -> list[Stretch]:
    both = (
        Stretch(one.corpus, max(one.start, other.start), min(one.end, other.end))
        for one in gold
        for other in found
        if one.corpus == other.corpus
    )
    return [stretch for stretch in both if stretch.start < stretch.end]


def _union(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same characters without repetition."""
    merged: list[Stretch] = []
    for stretch in sorted(stretches):
        if merged and merged[-1].corpus == stretch.corpus and stretch.start <= merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, stretch.end))
        else:
            merged.append(stretch)
    return merged


def _length(stretches: Iterable[Stretch]) -> int:
    return sum(stretch.end - stretch.start for stretch in stretches)
