"""Ingestion, from the upload to `indexed`, against the bare embedder on the very same chunks.

    python -m benchmarks.ingest
    python -m benchmarks.ingest --data FOLDER

Each round uploads all documents into a collection of its own, over the API on the embedded PostgreSQL and Qdrant
Edge, and then embeds the chunks that came of it once more with nothing around: in the batches of the pipeline, and
in one call. Without ``--data`` the documents are the pages of Python's language reference that come with Python.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from app.keys import ensure_first_key
from app.main import create_app
from app.postgres import run_postgres
from app.services import Services
from benchmarks.report import Report, circumstances, median, parser, publish, temporary_folder
from core.domain import Chunk, DocumentId
from core.settings import ChatSettings, DatabaseSettings, Settings
from ingest.builder import BATCH
from ingest.plan import batches

SUFFIXES = (".md", ".txt", ".html", ".pdf", ".docx")
POLL_S = 0.05
NOWHERE = "http://127.0.0.1:9/v1"
"""The address of a chat model: ingestion has no use for one."""


class Round(NamedTuple):
    """Chunks per second, in one round."""

    product: float
    batched: float
    at_once: float


class Bench(NamedTuple):
    """The platform under measurement and a client of it."""

    http: httpx.AsyncClient
    services: Services


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when there is nothing to ingest."""
    where = circumstances("ingest", arguments)
    options = _arguments(arguments)
    files = read_files(options.data)[: options.documents]
    if not files:
        print(f"There is no document in {options.data}: nothing was measured", file=sys.stderr)
        return 1
    with temporary_folder() as folder, run_postgres(folder) as url:
        settings = Settings(
            data_dir=folder,
            database=DatabaseSettings.model_validate({"url": url}),
            chat=ChatSettings.model_validate({"base_url": NOWHERE}),
        )
        chunks, rounds = asyncio.run(measure(settings, files, options.rounds))
    publish([report(files, chunks, rounds, options.data)], where, options)
    return 0


def read_files(folder: Path | None) -> list[tuple[str, bytes]]:
    """Names and bytes of the documents of a folder, or of Python's language reference."""
    if folder is not None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
        return [(path.name, path.read_bytes()) for path in paths]
    from pydoc_data.topics import topics

    return [(f"{name}.txt", text.encode()) for name, text in sorted(topics.items())]


async def measure(settings: Settings, files: list[tuple[str, bytes]], rounds: int) -> tuple[int, list[Round]]:
    """The chunks of all documents, and what each round found."""
    async with open_bench(settings) as bench:
        await ingest(bench, "warm-up", files[:1])
        measured, chunks = [], 0
        for number in range(rounds):
            documents, seconds = await ingest(bench, f"round-{number}", files)
            parts = [await chunks_of(bench, document) for document in documents]
            chunks = sum(map(len, parts))
            bare = [await embed(bench, batched(parts)), await embed(bench, [[c for part in parts for c in part]])]
            measured.append(Round(chunks / seconds, *(chunks / spent for spent in bare)))
            print("round {}: product {:.1f}, bare {:.1f} and {:.1f} chunks/s".format(number, *measured[-1]), flush=True)
        return chunks, measured


@asynccontextmanager
async def open_bench(settings: Settings) -> AsyncIterator[Bench]:
    """The API in this process, with all that it opens."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        services: Services = app.state.services
        headers = {"Authorization": f"Bearer {await ensure_first_key(services.pool)}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://bench", headers=headers) as http:
            yield Bench(http, services)


async def ingest(bench: Bench, collection: str, files: list[tuple[str, bytes]]) -> tuple[list[DocumentId], float]:
    """Upload the files in one request; their ids, and the seconds until the last is indexed."""
    (await bench.http.post("/collections", json={"name": collection})).raise_for_status()
    start = time.perf_counter()
    response = await bench.http.post(
        "/documents", data={"collection": collection}, files=[("files", file) for file in files], timeout=600
    )
    documents = [document["id"] for document in response.raise_for_status().json()["documents"]]
    while await unfinished(bench, documents):  # noqa: ASYNC110 (the end is in the database)
        await asyncio.sleep(POLL_S)
    return documents, time.perf_counter() - start


async def unfinished(bench: Bench, documents: list[DocumentId]) -> bool:
    """Whether one of the documents is still on its way; asked of the database, to cost little.

    Raises:
        RuntimeError: one of them failed.
    """
    async with bench.services.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT status, count(*) AS number FROM documents WHERE id = ANY(%s::uuid[]) GROUP BY status", (documents,)
        )
        states = {row["status"]: row["number"] for row in await cursor.fetchall()}
    if "failed" in states:
        raise RuntimeError(f"{states['failed']} documents could not be ingested")
    return states.get("indexed") != len(documents)


async def chunks_of(bench: Bench, document: DocumentId) -> list[Chunk]:
    """The chunks that became of a document."""
    async with bench.services.pool.connection() as connection:
        cursor = await connection.execute("SELECT tenant_id FROM documents WHERE id = %s", (document,))
        row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("A document is gone")
    return await bench.services.documents.chunks(row["tenant_id"], document, first=0, limit=1_000_000)


def batched(parts: list[list[Chunk]]) -> list[list[Chunk]]:
    """The chunks of each document in the batches of the pipeline."""
    return [batch for part in parts for batch in batches(part, BATCH)]


async def embed(bench: Bench, groups: list[list[Chunk]]) -> float:
    """Seconds that the embedder alone takes for the groups, one after the other."""
    texts = [[chunk.embedded_text for chunk in group] for group in groups]
    start = time.perf_counter()
    for group in texts:
        await bench.services.embedder.embed_documents(group)
    return time.perf_counter() - start


def report(files: list[tuple[str, bytes]], chunks: int, rounds: list[Round], data: Path | None) -> Report:
    """The table: medians of the speeds, and medians of the ratios of each round."""
    product = [round_.product for round_ in rounds]
    rows = [
        ["Ragstone, upload to `indexed`", f"{median(product):.1f}", "1"],
        bare_row("bare embedder, the same batches", product, [round_.batched for round_ in rounds]),
        bare_row("bare embedder, all chunks in one call", product, [round_.at_once for round_ in rounds]),
    ]
    source = "Python's language reference" if data is None else f"the folder {data.name!r}"
    kilobytes = sum(len(body) for _, body in files) // 1000
    note = f"{len(files)} documents ({kilobytes} kB of {source}), {chunks} chunks, {len(rounds)} rounds, medians."
    return Report(
        section="ingest",
        header=["", "chunks/s", "Ragstone / this"],
        rows=rows,
        notes=[note],
        figures={"documents": len(files), "chunks": chunks, "rounds": [round_._asdict() for round_ in rounds]},
    )


def bare_row(name: str, product: Sequence[float], bare: Sequence[float]) -> list[str]:
    """A line of the table: the speed, and how much of it the platform reaches."""
    ratios = [ours / theirs for ours, theirs in zip(product, bare, strict=True)]
    return [name, f"{median(bare):.1f}", f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("ingest", "Ingestion against the bare embedder.")
    made.add_argument("--data", type=Path, metavar="FOLDER", help="documents; Python's reference when left out")
    made.add_argument("--documents", type=int, default=24, help="at most so many (default: %(default)s)")
    made.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
