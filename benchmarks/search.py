"""Search on the whole read path against the bare query of the vector engine on the same shard.

    python -m benchmarks.search
    python -m benchmarks.search --large

Ragstone's side is `tools.search.Search`: BM25 encoding, the index on its threads, fusion, and the rows from
PostgreSQL; the question's vector is there already. The bare side is `query_batch` of Qdrant Edge with the same
requests, made beforehand: dense and lexical, 50 deep, within the tenant. Each round asks both sides every question.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray

from app.postgres import run_postgres
from app.services import prepare_database
from benchmarks.corpus import DIMENSION, Corpus, make_corpus, store
from benchmarks.report import Report, circumstances, median, parser, percentile, publish, temporary_folder
from core.database import open_pool
from core.domain import Scope
from core.engines.edge.index import EdgeIndex, open_edge_index
from core.engines.edge.request import requests
from core.index import IndexQuery
from core.settings import DatabaseSettings
from models.lexical import LexicalEncoder
from tools.search import Search
from tools.shelves import OneShelf

SMALL, LARGE = 10_000, 100_000
LIMIT = 10
CANDIDATES = 50
STRANGER_SHARE = 4
"""The other tenant has a quarter as many chunks."""
CONCURRENCIES = (1, 4)
NEVER = 1 << 40


class Question(NamedTuple):
    """A question, and what the bare engine is asked instead."""

    text: str
    bare: engine.QueryBatchRequest


@dataclass(frozen=True)
class Measured:
    """Milliseconds of every search of a round, on both sides; ``stages`` are the medians of Ragstone's own.

    ``product_s`` and ``bare_s`` are the seconds of the whole round.
    """

    product: Sequence[float]
    bare: Sequence[float]
    product_s: float
    bare_s: float
    stages: Mapping[str, float]

    def ratio(self, share: float) -> float:
        """Ragstone's percentile over the bare one."""
        return percentile(self.product, share) / percentile(self.bare, share)


Found = Mapping[tuple[str, int], Sequence[Measured]]
"""The rounds for each state of the index and concurrency."""


class StoredVectors:
    """An embedder that has embedded every question already."""

    name, revision, dimension, max_tokens = "stored", "1", DIMENSION, 256

    def __init__(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        self._vectors = vectors

    def count_tokens(self, text: str) -> int:
        """The words of the text."""
        return len(text.split())

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """The places of the words."""
        return [word.span() for word in re.finditer(r"\S+", text)]

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The stored vectors."""
        return np.stack([self._vectors[text] for text in texts])

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """The stored vector."""
        return self._vectors[text]


class Sides:
    """The two things that are compared, each asked by ``concurrency`` askers at once."""

    def __init__(self, search: Search, index: EdgeIndex, scope: Scope, concurrency: int) -> None:
        self._search = search
        self._scope = scope
        # The very shard that the index searches, which nobody else can open.
        self._shard = index._live.engine  # noqa: SLF001
        self._concurrency = concurrency

    async def round(self, questions: Sequence[Question], *, bare_first: bool) -> Measured:
        """Every question to both sides."""
        bare = await self._timed_bare(questions) if bare_first else None
        start = time.perf_counter()
        product, stages = await self._product(questions)
        product_s = time.perf_counter() - start
        spent, bare_s = bare or await self._timed_bare(questions)
        medians = {name: median([stage[name] for stage in stages]) for name in stages[0]}
        return Measured(product, spent, product_s, bare_s, medians)

    async def _product(self, questions: Sequence[Question]) -> tuple[list[float], list[Mapping[str, float]]]:
        waiting = iter(questions)
        spent: list[float] = []
        stages: list[Mapping[str, float]] = []

        async def ask() -> None:
            for question in waiting:
                start = time.perf_counter()
                result = await self._search(question.text, scope=self._scope, limit=LIMIT)
                spent.append(1000 * (time.perf_counter() - start))
                stages.append(result.timings)
                if len(result.hits) < LIMIT:
                    raise RuntimeError(f"{len(result.hits)} hits instead of {LIMIT}")

        await asyncio.gather(*(ask() for _ in range(self._concurrency)))
        return spent, stages

    async def _timed_bare(self, questions: Sequence[Question]) -> tuple[list[float], float]:
        start = time.perf_counter()
        return await asyncio.to_thread(self._bare, questions), time.perf_counter() - start

    def _bare(self, questions: Sequence[Question]) -> list[float]:
        waiting = iter(questions)
        spent: list[float] = []

        def ask(_: int) -> None:
            # From answer to answer, so that waiting for the interpreter lock counts, as it does on the other side.
            start = time.perf_counter()
            while (question := next(waiting, None)) is not None:
                if not all(self._shard.query_batch(question.bare)):
                    raise RuntimeError("The engine found nothing")
                end = time.perf_counter()
                spent.append(1000 * (end - start))
                start = end

        with ThreadPoolExecutor(self._concurrency) as threads:
            list(threads.map(ask, range(self._concurrency)))
        return spent


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    where = circumstances("search", arguments)
    options = _arguments(arguments)
    chunks = options.chunks or (LARGE if options.large else SMALL)
    with temporary_folder() as folder, run_postgres(folder) as url:
        found = asyncio.run(measure(folder, url, make_corpus(chunks, options.queries), options.rounds))
    publish([report(found, chunks, options)], where, options)
    return 0


async def measure(folder: Path, url: str, corpus: Corpus, rounds: int) -> Found:
    """Rounds of both sides, before and after the search graphs are built."""
    found: dict[tuple[str, int], Sequence[Measured]] = {}
    async with (
        open_pool(DatabaseSettings.model_validate({"url": url})) as pool,
        open_edge_index(folder / "qdrant", dimension=DIMENSION, optimise_after=NEVER) as index,
    ):
        await prepare_database(pool)
        await store(pool, index, corpus, len(corpus.texts) // STRANGER_SHARE)
        scope = Scope(tenant=await store(pool, index, corpus, len(corpus.texts)))
        print(f"stored {len(corpus.texts)} chunks", flush=True)
        questions = make_questions(corpus, scope)
        search = Search(
            pool,
            OneShelf(StoredVectors(dict(corpus.questions)), index),
            LexicalEncoder(),
            candidates=CANDIDATES,
        )
        for state in ("new", "optimised"):
            if state == "optimised":
                await index.optimise()
            for concurrency in CONCURRENCIES:
                sides = Sides(search, index, scope, concurrency)
                await sides.round(questions, bare_first=False)
                turns = [await sides.round(questions, bare_first=turn % 2 == 1) for turn in range(rounds)]
                found[state, concurrency] = turns
                print(state, concurrency, [f"{turn.ratio(50):.2f}" for turn in turns], turns[-1].stages, flush=True)
    return found


def make_questions(corpus: Corpus, scope: Scope) -> list[Question]:
    """The corpus's questions, with the bare engine's requests."""
    encoder = LexicalEncoder()
    made = []
    for text, vector in corpus.questions:
        query = IndexQuery(dense=vector, lexical=encoder.encode_query(text), limit=CANDIDATES)
        made.append(Question(text, engine.QueryBatchRequest(list(requests(query, scope).values()))))
    return made


def report(found: Found, chunks: int, options: argparse.Namespace) -> Report:
    """The table: medians over the rounds, of the percentiles and of their ratios."""
    rows = []
    for (state, concurrency), turns in found.items():
        stages = {name: median([turn.stages[name] for turn in turns]) for name in ("embed", "index", "fetch")}
        speeds = [[turn.product_s for turn in turns], [turn.bare_s for turn in turns]]
        cells = [state, str(concurrency)]
        for share in (50, 95):
            product = median([percentile(turn.product, share) for turn in turns])
            bare = median([percentile(turn.bare, share) for turn in turns])
            cells += [f"{product:.1f}", f"{bare:.1f}", f"**{median([turn.ratio(share) for turn in turns]):.2f}**"]
        cells += [f"{median([options.queries / seconds for seconds in side]):.0f}" for side in speeds]
        cells.append(f"**{median([turn.product_s / turn.bare_s for turn in turns]):.2f}**")
        rows.append([*cells, " + ".join(f"{value:.1f}" for value in stages.values())])
    header = ["index", "askers", "p50", "bare", "ratio", "p95", "bare", "ratio", "searches/s", "bare", "ratio"]
    header.append("encode + index + fetch")
    note = (
        f"Milliseconds. {chunks} chunks of the tenant and {chunks // STRANGER_SHARE} of another, {options.queries} "
        f"questions, {options.rounds} rounds, medians over the rounds; the last column holds the medians of the stages."
    )
    figures = {f"{state}, {askers}": [asdict(turn) for turn in turns] for (state, askers), turns in found.items()}
    return Report(section=f"search-{chunks}", header=header, rows=rows, notes=[note], figures=figures)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("search", "Search against the bare vector engine.")
    made.add_argument("--large", action="store_true", help=f"{LARGE} chunks instead of {SMALL}; takes some minutes")
    made.add_argument("--chunks", type=int, help="any other number, which has no section on the page")
    made.add_argument("--queries", type=int, default=200, help="default: %(default)s")
    made.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
