"""Measures of a ranking by trec_eval's definitions: pure functions of the ids found and of the judgements.

``found`` are ids, best first; ``judged`` maps the ids of judged passages to grades, where 0 and below is not relevant
and an id that is missing is not judged, which counts as not relevant. The gain of nDCG is the grade itself and its
discount ``log2(rank + 1)`` (Järvelin and Kekäläinen 2002, as ``ndcg_cut`` in trec_eval). The values are those of
pytrec_eval for the same order; trec_eval itself would order equal scores by id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

Judged = Mapping[str, int]
Measure = Callable[[Sequence[str], Judged], float]


def ndcg(found: Sequence[str], judged: Judged, *, depth: int) -> float:
    """Normalised discounted cumulative gain of the ``depth`` best; 0 when nothing is relevant."""
    ideal = _gain(sorted(judged.values(), reverse=True)[:depth])
    return _gain([judged.get(found_id, 0) for found_id in found[:depth]]) / ideal if ideal else 0.0


def recall(found: Sequence[str], judged: Judged, *, depth: int) -> float:
    """Share of the relevant passages that are among the ``depth`` best."""
    relevant = _relevant(judged)
    return len(relevant & set(found[:depth])) / len(relevant) if relevant else 0.0


def average_precision(found: Sequence[str], judged: Judged) -> float:
    """Mean of the precision at the rank of each relevant passage; those not found count 0. Its mean is MAP."""
    relevant = _relevant(judged)
    hits, total = 0, 0.0
    for rank, found_id in enumerate(found, start=1):
        if found_id in relevant:
            hits += 1
            total += hits / rank
    return total / len(relevant) if relevant else 0.0


def reciprocal_rank(found: Sequence[str], judged: Judged, *, depth: int) -> float:
    """1 / rank of the first relevant passage among the ``depth`` best, or 0. Its mean is MRR."""
    relevant = _relevant(judged)
    return next((1 / rank for rank, found_id in enumerate(found[:depth], start=1) if found_id in relevant), 0.0)


MEASURES: Mapping[str, Measure] = {
    "nDCG@10": lambda found, judged: ndcg(found, judged, depth=10),
    "R@10": lambda found, judged: recall(found, judged, depth=10),
    "R@100": lambda found, judged: recall(found, judged, depth=100),
    "MAP": average_precision,
    "MRR@10": lambda found, judged: reciprocal_rank(found, judged, depth=10),
}


def _relevant(judged: Judged) -> set[str]:
    return {judged_id for judged_id, grade in judged.items() if grade > 0}


def _gain(grades: Sequence[int]) -> float:
    return sum(max(grade, 0) / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))
