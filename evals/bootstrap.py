"""Bootstrap confidence intervals of a mean over questions: pure functions of the values of each question.

Percentile bootstrap; paired, when it is given the differences of two systems question by question (Sakai, "Evaluating
evaluation metrics based on the bootstrap", SIGIR 2006).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 20_061


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def interval(values: NDArray[np.float64], *, resamples: int = RESAMPLES, confidence: float = CONFIDENCE) -> Interval:
    """The mean of ``values``, of shape (questions,), and where it lies with the given confidence.

    The same values always give the same interval.
    """
    draws = np.random.default_rng(SEED).integers(0, len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high))
