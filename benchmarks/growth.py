"""What a thousand chunks cost, in the index and in PostgreSQL, when there are none yet and when there are many.

    python -m benchmarks.growth

Vectors are there already, since embedding does not know how many chunks there are. Nothing is optimised meanwhile: that
is done by a process of its own. The cost is the time from the first row to the last point, chunks one thousand at a
time; the ratio is of the median of the last ten thousands to that of the first ten.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from app.postgres import run_postgres
from benchmarks.corpus import (
    CHUNKS_OF_DOCUMENT,
    DIMENSION,
    Corpus,
    Place,
    chunk_id,
    make_corpus,
    make_owner,
    store_points,
    store_rows,
)
from benchmarks.report import Report, circumstances, median, parser, publish, temporary_folder
from core.database import open_pool
from core.domain import DocumentId
from core.engines.edge.index import open_edge_index
from core.settings import DatabaseSettings
from ingest.schema import prepare_write_path

CHUNKS = 100_000
GROUP = 1000
COMPARED = 10
NEVER = 1 << 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    where = circumstances("growth", arguments)
    options = _arguments(arguments)
    with temporary_folder() as folder, run_postgres(folder) as url:
        spent = asyncio.run(measure(folder, url, make_corpus(options.chunks, 1)))
    publish([report(spent)], where, options)
    return 0


async def measure(folder: Path, url: str, corpus: Corpus) -> list[float]:
    """Milliseconds for each thousand chunks."""
    spent = []
    async with (
        open_pool(DatabaseSettings.model_validate({"url": url})) as pool,
        open_edge_index(folder / "qdrant", dimension=DIMENSION, optimise_after=NEVER) as index,
    ):
        await prepare_write_path(pool)
        owner = await make_owner(pool)
        for first in range(0, len(corpus.texts), GROUP):
            rows = range(first, min(first + GROUP, len(corpus.texts)))
            documents = {row // CHUNKS_OF_DOCUMENT: DocumentId(uuid.uuid4()) for row in rows}
            places = [Place(chunk_id(owner.tenant, row), documents[row // CHUNKS_OF_DOCUMENT], row) for row in rows]
            start = time.perf_counter()
            await store_rows(pool, corpus, owner, list(documents.values()), places)
            await store_points(index, corpus, owner, places)
            spent.append(1000 * (time.perf_counter() - start))
    return spent


def report(spent: Sequence[float]) -> Report:
    """The first, middle and last thousands."""
    middle = len(spent) // 2
    parts = {
        "first": spent[:COMPARED],
        "middle": spent[middle : middle + COMPARED],
        "last": spent[-COMPARED:],
    }
    base = median(parts["first"])
    rows = [[name, f"{median(part):.0f}", f"**{median(part) / base:.2f}**"] for name, part in parts.items()]
    note = f"{len(spent)} thousand chunks; medians of {COMPARED} thousands each."
    return Report(
        section="growth", header=["thousands", "ms", "against the first"], rows=rows, notes=[note], figures=list(spent)
    )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("growth", "Ingestion into a growing index.")
    made.add_argument("--chunks", type=int, default=CHUNKS, help="default: %(default)s")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
