"""The results of the retrieval evaluation as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import InvalidInput

if TYPE_CHECKING:
    from evals.retrieval import Result

BAR = 0.8
"""Width of all bars of a set together, where the sets stand 1 apart."""


def draw(results: Sequence[Result], path: Path) -> None:
    """Write nDCG@10 with its confidence interval, a group of bars for each set, to ``path`` as PNG.

    Raises:
        InvalidInput: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InvalidInput("The plot needs matplotlib: python -m pip install --group evals") from error
    datasets = list(dict.fromkeys(result.dataset for result in results))
    systems = list(dict.fromkeys(result.system for result in results))
    width = BAR / len(systems)
    figure = Figure(figsize=(2 + 1.6 * len(datasets), 4.5), layout="constrained")
    axes = figure.subplots()
    for place, system in enumerate(systems):
        own = [result for result in results if result.system == system]
        where = [datasets.index(result.dataset) + (place - (len(systems) - 1) / 2) * width for result in own]
        means = [result.ndcg.mean for result in own]
        reach = [
            [result.ndcg.mean - result.ndcg.low for result in own],
            [result.ndcg.high - result.ndcg.mean for result in own],
        ]
        axes.bar(where, means, width, yerr=reach, capsize=2, label=system)
    axes.set_xticks(range(len(datasets)), datasets)
    axes.set_ylabel("nDCG@10, 95 % confidence")
    axes.set_ylim(0, 1)
    axes.legend(ncols=len(systems), loc="upper center", bbox_to_anchor=(0.5, 1.12), frameon=False)
    figure.savefig(path, format="png", dpi=150)
