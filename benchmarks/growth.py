"""What a thousand chunks cost, in the index and in PostgreSQL, when there are none yet and when there are many.

    python -m benchmarks.growth

Vectors are there already, since embedding does not know how many chunks there are. Nothing is optimised meanwhile: that
is done by a process of its own. When one database and index hold all but the last ten thousand chunks, empty ones
stand beside them; from then on a thousand chunks go into the one and a thousand into the other, in turn, so
that what else the machine does falls on both. The cost is the time from the first row to the last point.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from app.postgres import run_postgres
from benchmarks.corpus import (
    CHUNKS_OF_DOCUMENT,
    DIMENSION,
    Corpus,
    Owner,
    Place,
    chunk_id,
    make_corpus,
    make_owner,
    store_points,
    store_rows,
)
from benchmarks.report import Report, circumstances, median, parser, publish, temporary_folder
from core.database import Pool, open_pool
from core.domain import DocumentId
from core.engines.edge.index import open_edge_index
from core.index import VectorIndex
from core.settings import DatabaseSettings
from ingest.schema import prepare_write_path

CHUNKS = 100_000
GROUP = 1000
COMPARED = 10
NEVER = 1 << 40


@dataclass(frozen=True, slots=True)
class Shelf:
    """A database and an index with one tenant's chunks."""

    pool: Pool
    index: VectorIndex
    owner: Owner

    async def add(self, corpus: Corpus, first: int) -> float:
        """Store a thousand chunks of the corpus from ``first`` on; milliseconds."""
        rows = range(first, first + GROUP)
        documents = {row // CHUNKS_OF_DOCUMENT: DocumentId(uuid.uuid4()) for row in rows}
        places = [Place(chunk_id(self.owner.tenant, row), documents[row // CHUNKS_OF_DOCUMENT], row) for row in rows]
        start = time.perf_counter()
        await store_rows(self.pool, corpus, self.owner, list(documents.values()), places)
        await store_points(self.index, corpus, self.owner, places)
        return 1000 * (time.perf_counter() - start)


class Spent(NamedTuple):
    """Milliseconds for each thousand: into the empty shelf, and into the full one."""

    empty: list[float]
    full: list[float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    where = circumstances("growth", arguments)
    options = _arguments(arguments)
    with temporary_folder() as folder, ExitStack() as stack:
        full, empty = (stack.enter_context(run_postgres(made(folder / name))) for name in ("full", "empty"))
        spent = asyncio.run(measure(folder, full, empty, make_corpus(options.chunks, 1)))
    publish([report(spent, options.chunks)], where, options)
    return 0


def made(folder: Path) -> Path:
    """The folder, which is made."""
    folder.mkdir()
    return folder


async def measure(folder: Path, full_url: str, empty_url: str, corpus: Corpus) -> Spent:
    """The cost of each of the last thousands, and of as many on an empty shelf."""
    spent = Spent([], [])
    whole = len(corpus.texts) - len(corpus.texts) % GROUP
    compared = min(COMPARED, whole // GROUP)
    async with open_shelf(folder / "full", full_url) as full, open_shelf(folder / "empty", empty_url) as empty:
        for first in range(0, whole - compared * GROUP, GROUP):
            await full.add(corpus, first)
        for number, first in enumerate(range(whole - compared * GROUP, whole, GROUP)):
            turns = [(spent.empty, empty), (spent.full, full)]
            for times, shelf in turns if number % 2 else turns[::-1]:
                times.append(await shelf.add(corpus, first))
    return spent


@asynccontextmanager
async def open_shelf(folder: Path, url: str) -> AsyncIterator[Shelf]:
    """A new database and a new index."""
    async with (
        open_pool(DatabaseSettings.model_validate({"url": url})) as pool,
        open_edge_index(folder / "qdrant", dimension=DIMENSION, optimise_after=NEVER) as index,
    ):
        await prepare_write_path(pool)
        yield Shelf(pool, index, await make_owner(pool))


def report(spent: Spent, chunks: int) -> Report:
    """Medians of both, and of the ratios of the turns."""
    ratio = median([full / empty for empty, full in zip(*spent, strict=True)])
    rows = [
        [f"the first {len(spent.empty)}", f"{median(spent.empty):.0f}", "1"],
        [f"the last {len(spent.full)}", f"{median(spent.full):.0f}", f"**{ratio:.2f}**"],
    ]
    note = f"{chunks} chunks, {len(spent.full)} thousands each in turn, medians."
    return Report(
        section="growth",
        header=["thousands", "ms for each", "against the first"],
        rows=rows,
        notes=[note],
        figures=spent._asdict(),
    )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("growth", "Ingestion into a growing index.")
    made.add_argument("--chunks", type=int, default=CHUNKS, help="default: %(default)s")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
