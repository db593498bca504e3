"""``python -m evals retrieval --data PATH``: how well passages are found, by each way of searching.

PATH is a retrieval set in BEIR layout, or a folder of several; a chunking set is measured as ``chunking`` does it.
Prints nDCG@10, R@10, R@100, MAP and MRR@10, with 95 % bootstrap confidence intervals of nDCG@10 and of its difference
to the better of the dense and the lexical list.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from core.settings import read_settings
from evals import chunking
from evals.beir import Dataset, find_datasets, read_dataset
from evals.bootstrap import Interval, interval
from evals.chunking_data import QUESTIONS
from evals.metrics import MEASURES
from evals.systems import Runs, open_parts, run

MAIN = "nDCG@10"
SINGLE = ("dense", "lexical")
HEADER = ("set", "search", MAIN, "95 %", "to the better single list", *(name for name in MEASURES if name != MAIN))


@dataclass(frozen=True, slots=True)
class Result:
    """One way of searching a set: the mean of each measure; ``gain`` is the paired difference in nDCG@10."""

    dataset: str
    system: str
    questions: int
    means: Mapping[str, float]
    ndcg: Interval
    gain: Interval | None


def main(words: Sequence[str]) -> None:
    """Measure every set, print the table, write the files that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m evals retrieval", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="a set in BEIR layout, or several")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the passages' vectors here")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw them as PNG; needs matplotlib")
    options = parser.parse_args(words)
    if (options.data / QUESTIONS).is_file():
        chunking.main(chunking_words(options))
        return
    datasets = [read_dataset(folder, options.data) for folder in find_datasets(options.data)]
    results = asyncio.run(measure(datasets, options.cache))
    print(table(results))
    if options.out is not None:
        options.out.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n", "utf-8")
    if options.plot is not None:
        from evals.plot import draw

        draw(results, options.plot)


def chunking_words(options: argparse.Namespace) -> list[str]:
    """The words of ``python -m evals chunking`` for a folder that holds a chunking set."""
    given = {"--data": options.data, "--cache": options.cache, "--out": options.out}
    return [str(word) for name, value in given.items() if value is not None for word in (name, value)]


async def measure(datasets: Sequence[Dataset], cache: Path | None) -> list[Result]:
    """The results of every set, in order."""
    async with open_parts(read_settings(), cache) as parts:
        return [result for dataset in datasets for result in judge(dataset, await run(parts, dataset))]


def judge(dataset: Dataset, runs: Runs) -> list[Result]:
    """The measures of each way of searching."""
    values = {
        system: {
            name: np.array([measure(found[key], dataset.judgements[key]) for key in dataset.queries])
            for name, measure in MEASURES.items()
        }
        for system, found in runs.items()
    }
    best = max(SINGLE, key=lambda system: values[system][MAIN].mean())
    return [
        Result(
            dataset=dataset.name,
            system=system,
            questions=len(dataset.queries),
            means={name: float(column.mean()) for name, column in columns.items()},
            ndcg=interval(columns[MAIN]),
            gain=None if system in SINGLE else interval(columns[MAIN] - values[best][MAIN]),
        )
        for system, columns in values.items()
    ]


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table."""
    rows = [HEADER, ["---", "---", *["---:"] * (len(HEADER) - 2)], *map(_row, results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(result: Result) -> list[str]:
    gain = result.gain
    return [
        f"{result.dataset} ({result.questions})",
        result.system,
        f"{result.ndcg.mean:.3f}",
        f"{result.ndcg.low:.3f} to {result.ndcg.high:.3f}",
        "" if gain is None else f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
        *(f"{value:.3f}" for name, value in result.means.items() if name != MAIN),
    ]
