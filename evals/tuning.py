"""``python -m evals tuning --data PATH``: the weight and the depth of the hybrid search, by cross-validation over sets.

Each set is left out once: the setting that is best on the others is measured on it. Prints the gain in nDCG@10 over the
better of the dense and the lexical list.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from core.errors import InvalidInput
from core.index import Ranking
from core.settings import read_settings
from evals.beir import Dataset, find_datasets, read_dataset
from evals.metrics import ndcg
from evals.systems import Asked, Searched, open_parts, search
from tools.fusion import fuse

SHARES = (0.4, 0.5, 0.6, 0.7, 0.8)
DEPTHS = (30, 50, 100)
LOSS = 3.0
"""How much more a loss on the worst set counts than a gain on the average one."""

Setting = tuple[float, int]
"""``dense_share`` and ``candidates``."""
Gains = Mapping[str, Mapping[Setting, float]]
"""For each set the gain of each setting."""


def main(words: Sequence[str]) -> None:
    """Measure every setting on every set and print both tables."""
    parser = argparse.ArgumentParser(prog="python -m evals tuning", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="a folder of sets in BEIR layout")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the passages' vectors here")
    options = parser.parse_args(words)
    datasets = [read_dataset(folder, options.data) for folder in find_datasets(options.data)]
    if len(datasets) < 2:
        raise InvalidInput("Cross-validation over sets needs two sets or more: give a folder of several.")
    gains = asyncio.run(measure(datasets, options.cache))
    print(table(gains), "", left_out(gains), sep="\n")


async def measure(datasets: Sequence[Dataset], cache: Path | None) -> Gains:
    """The gain of every setting on every set."""
    async with open_parts(read_settings(), cache) as parts:
        return {dataset.name: gains_on(dataset, await search(parts, dataset)) for dataset in datasets}


def gains_on(dataset: Dataset, searched: Searched) -> dict[Setting, float]:
    """The gain of every setting on a set."""

    def mean(found: Callable[[Asked], Sequence[tuple[object, ...]]]) -> float:
        names: Mapping[object, str] = searched.names  # type: ignore[assignment]
        return float(
            np.mean(
                [
                    ndcg([names[match[0]] for match in found(one)[:10]], dataset.judgements[one.key], depth=10)
                    for one in searched.asked
                ]
            )
        )

    single = max(mean(lambda one: one.ranking.dense), mean(lambda one: one.ranking.lexical))

    def hybrid(share: float, depth: int) -> float:
        return mean(lambda one: fuse(cut(one.ranking, depth), dense_share=share * one.known))

    return {setting: hybrid(*setting) - single for setting in itertools.product(SHARES, DEPTHS)}


def cut(ranking: Ranking, depth: int) -> Ranking:
    """The best of both lists."""
    return Ranking(dense=ranking.dense[:depth], lexical=ranking.lexical[:depth])


def best(gains: Gains) -> Setting:
    """The setting with the best mean gain, where a loss on the worst set counts more than the mean."""

    def worth(setting: Setting) -> float:
        values = [on_set[setting] for on_set in gains.values()]
        return sum(values) / len(values) + LOSS * min(0.0, *values)

    return max(itertools.product(SHARES, DEPTHS), key=worth)


def table(gains: Gains) -> str:
    """The gain of every setting on every set, as Markdown."""
    chosen = best(gains)
    rows = [["dense share, depth", *gains], ["---", *["---:"] * len(gains)]]
    for setting in itertools.product(SHARES, DEPTHS):
        mark = " (best)" if setting == chosen else ""
        rows.append([f"{setting[0]}, {setting[1]}{mark}", *(f"{on_set[setting]:+.3f}" for on_set in gains.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def left_out(gains: Gains) -> str:
    """For each set the setting that is best on the others, and its gain on this one."""
    rows = [["left out", "dense share, depth", "gain there"], ["---", "---", "---:"]]
    for name, on_set in gains.items():
        share, depth = best({other: values for other, values in gains.items() if other != name})
        rows.append([name, f"{share}, {depth}", f"{on_set[share, depth]:+.3f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
