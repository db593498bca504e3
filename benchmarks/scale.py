"""Search among 100,000 or 1,000,000 chunks: the time of each stage, what the graph misses, and memory.

    python -m benchmarks.scale
    python -m benchmarks.scale --chunks 1000000 --folder FOLDER

Texts follow Zipf's law. Vectors are mixed from real ones: two sentences of Python's language reference, embedded by
the default model, in a random share, and noise; so they fill the few dimensions that real vectors fill. The questions'
vectors are mixed in the same way, from other draws. Another tenant has a tenth as many chunks in the same index.

Building and measuring are separate processes, so that the memory of the one is not in the figures of the other. With
``--folder`` what was built stays there, and the next run only measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from app.postgres import run_postgres
from app.services import prepare_database
from benchmarks.corpus import DIMENSION, SEED, Corpus, chunk_id, make_phrase, make_texts, store, unit
from benchmarks.report import Report, circumstances, parser, percentile, publish, temporary_folder
from benchmarks.search import StoredVectors
from core.database import open_pool
from core.domain import EmbedderStamp, Scope, TenantId
from core.engines.edge.index import open_edge_index
from core.index import IndexQuery, VectorIndex
from core.settings import DatabaseSettings, EmbeddingSettings
from models.embedder import open_embedder
from models.embedders import open_embedders
from models.lexical import LexicalEncoder
from tools.search import Search
from tools.shelves import Shelves

CHUNKS = 100_000
STRANGER_SHARE = 10
"""The other tenant has a tenth as many chunks."""
LIMIT, CANDIDATES = 10, 50
SENTENCES = 1024
SENTENCE_CHARS = 60
NOISE = 0.3
"""The length of the noise that is added to a mixture of length 1."""
SENTENCE_LIMIT = 120
"""Characters of a sentence that are embedded, to save time."""
DEPTHS = (10, CANDIDATES)
PART = 10_000
MIB = 2**20
NEVER = 1 << 40
WARM_UP = 20
STAGES = ("embed", "index", "fuse", "fetch", "total")


@dataclass(frozen=True, kw_only=True)
class Built:
    """What the building process leaves for the measuring one, as JSON."""

    tenant: str
    stored_s: float
    optimised_s: float


class OneIndex:
    """`core.index.Indexes` of a single index, whatever the embedder."""

    def __init__(self, index: VectorIndex) -> None:
        self._index = index

    async def find(self, embedder: EmbedderStamp) -> VectorIndex:
        """The index."""
        return self._index


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is missing, measure and print."""
    where = circumstances("scale", arguments)
    options = _arguments(arguments)
    with nullcontext(options.folder) if options.folder else temporary_folder() as folder:
        folder.mkdir(parents=True, exist_ok=True)
        spawn = multiprocessing.get_context("spawn")
        for step in (build, measure):
            process = spawn.Process(target=step, args=(folder, options.chunks, options.queries))
            process.start()
            process.join()
            if process.exitcode:
                return 1
        found = json.loads((folder / "found.json").read_text("utf-8"))
    publish([report(found, options)], where, options)
    return 0


def build(folder: Path, chunks: int, queries: int) -> None:
    """Store the chunks of both tenants, find the true neighbours, build the search graphs."""
    if (folder / "built.json").exists():
        return
    corpus = make_mixed_corpus(sentences_of(folder / "sentences.npy"), chunks, queries)
    truth = exact(corpus.vectors, np.stack([vector for _, vector in corpus.questions]))
    np.save(folder / "truth.npy", truth)
    np.save(folder / "asked.npy", np.stack([vector for _, vector in corpus.questions]))
    (folder / "questions.json").write_text(json.dumps([text for text, _ in corpus.questions]), "utf-8")
    with run_postgres(folder) as url:
        built = asyncio.run(fill(folder, url, corpus))
    (folder / "built.json").write_text(json.dumps(vars(built)), "utf-8")


async def fill(folder: Path, url: str, corpus: Corpus) -> Built:
    """Both tenants' chunks in PostgreSQL and in the index, which is optimised at the end."""
    async with (
        open_pool(DatabaseSettings.model_validate({"url": url})) as pool,
        open_edge_index(folder / "qdrant", dimension=DIMENSION, optimise_after=NEVER) as index,
    ):
        await prepare_database(pool)
        start = time.perf_counter()
        await store(pool, index, corpus, len(corpus.texts) // STRANGER_SHARE)
        tenant = await store(pool, index, corpus, len(corpus.texts))
        stored_s = time.perf_counter() - start
        print(f"stored in {stored_s:.0f} s", flush=True)
        await index.optimise()
        optimised_s = time.perf_counter() - start - stored_s
        print(f"optimised in {optimised_s:.0f} s", flush=True)
    return Built(tenant=str(tenant), stored_s=stored_s, optimised_s=optimised_s)


def make_mixed_corpus(sentences: NDArray[np.float32], chunks: int, questions: int) -> Corpus:
    """Texts by Zipf's law, vectors mixed from those of real sentences."""
    generator = np.random.default_rng(SEED)
    texts = make_texts(generator, chunks)
    vectors = np.concatenate(
        [mixed(generator, sentences, min(PART, chunks - start)) for start in range(0, chunks, PART)]
    )
    phrases = [make_phrase(generator, texts[row]) for row in generator.integers(chunks, size=questions)]
    return Corpus(texts, vectors, list(zip(phrases, mixed(generator, sentences, questions), strict=True)))


def sentences_of(file: Path) -> NDArray[np.float32]:
    """The vectors of the sentences, from the file if it is there; else they are embedded and put there."""
    if not file.exists():
        np.save(file, asyncio.run(embed_sentences()))
    return np.asarray(np.load(file), dtype=np.float32)


async def embed_sentences() -> NDArray[np.float32]:
    """The vectors of sentences of Python's language reference, of shape (sentences, dimension)."""
    from pydoc_data.topics import topics

    text = " ".join(" ".join(text.split()) for _, text in sorted(topics.items()))
    sentences = dict.fromkeys(part for part in text.split(". ") if len(part) >= SENTENCE_CHARS)
    async with open_embedder(EmbeddingSettings()) as embedder:
        return await embedder.embed_documents([part[:SENTENCE_LIMIT] for part in list(sentences)[:SENTENCES]])


def mixed(generator: np.random.Generator, sentences: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Unit vectors of shape (count, dimension), each between two of the sentences and a little beside."""
    first, second = sentences[generator.integers(len(sentences), size=(2, count))]
    share = generator.random((count, 1), dtype=np.float32) / 2
    noise = unit(generator.standard_normal((count, DIMENSION), dtype=np.float32))
    return unit(unit((1 - share) * first + share * second) + NOISE * noise)


def exact(vectors: NDArray[np.float32], asked: NDArray[np.float32]) -> NDArray[np.int64]:
    """The rows of the `CANDIDATES` nearest vectors, best first, by the cosine to every one."""
    nearest = []
    for vector in asked:
        scores = vectors @ vector
        rows = np.argpartition(-scores, CANDIDATES)[:CANDIDATES]
        nearest.append(rows[np.argsort(-scores[rows])])
    return np.stack(nearest)


def measure(folder: Path, chunks: int, queries: int) -> None:
    """Ask every question, and leave the figures in the folder."""
    with run_postgres(folder) as url:
        found = asyncio.run(ask(folder, url))
    (folder / "found.json").write_text(json.dumps({**found, "chunks": chunks, "questions": queries}), "utf-8")


async def ask(folder: Path, url: str) -> dict[str, Any]:
    """Milliseconds of each stage, the share of the true neighbours that is found, and MiB of this process."""
    built = Built(**json.loads((folder / "built.json").read_text("utf-8")))
    scope = Scope(tenant=TenantId(uuid.UUID(built.tenant)))
    texts = json.loads((folder / "questions.json").read_text("utf-8"))
    asked = dict(zip(texts, np.load(folder / "asked.npy"), strict=True))
    before = memory()
    start = time.perf_counter()
    async with (
        open_pool(DatabaseSettings.model_validate({"url": url})) as pool,
        open_edge_index(folder / "qdrant", dimension=DIMENSION, optimise_after=NEVER) as index,
        AsyncExitStack() as stack,
    ):
        opened_s = time.perf_counter() - start
        embedders = await stack.enter_async_context(open_embedders(StoredVectors(asked), EmbeddingSettings()))
        shelves = Shelves(pool, embedders, OneIndex(index))
        search = Search(pool, shelves, LexicalEncoder(), candidates=CANDIDATES)
        for text in texts[:WARM_UP]:
            await search(text, scope=scope, limit=LIMIT)
        spent = [(await search(text, scope=scope, limit=LIMIT)).timings for text in texts]
        after = memory()
        recall = await recalls(index, asked, np.load(folder / "truth.npy"), scope)
    return {
        "stages": {name: [timings[name] for timings in spent] for name in STAGES},
        "recall": recall,
        "memory": {name: after[name] - before[name] for name in after},
        "disk": disk(folder / "qdrant"),
        "opened_s": opened_s,
        **vars(built),
    }


async def recalls(
    index: VectorIndex, asked: Mapping[str, NDArray[np.float32]], truth: NDArray[np.int64], scope: Scope
) -> dict[int, float]:
    """The mean share of the true nearest that the index finds, by the depth."""
    shares: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    for vector, rows in zip(asked.values(), truth, strict=True):
        found = await index.query(IndexQuery(dense=vector, limit=CANDIDATES), scope=scope)
        for depth in DEPTHS:
            right = {chunk_id(scope.tenant, int(row)) for row in rows[:depth]}
            shares[depth].append(len(right & {match.id for match in found.dense[:depth]}) / depth)
    return {depth: float(np.mean(values)) for depth, values in shares.items()}


def memory() -> dict[str, float]:
    """MiB of this process: what it must have, and with what the system may drop."""
    info = psutil.Process().memory_full_info()
    return {"own": info.uss / MIB, "resident": info.rss / MIB}


def disk(folder: Path) -> float:
    """MiB that the folder takes."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / MIB


def report(found: Mapping[str, Any], options: argparse.Namespace) -> Report:
    """The table of the stages; the rest in notes."""
    rows = [
        [stage, *(f"{percentile(found['stages'][stage], share):.1f}" for share in (50, 95, 99))] for stage in STAGES
    ]
    recall = ", ".join(f"{share:.3f} of the true {depth}" for depth, share in found["recall"].items())
    used = found["memory"]
    what = (
        f"Milliseconds; `embed` is the BM25 encoding alone. {options.chunks} chunks of the tenant and "
        f"{options.chunks // STRANGER_SHARE} of another, {options.queries} questions, one after the other."
    )
    memory_note = (
        f"Recall of the dense side within the tenant against the cosine to every vector: {recall}. Memory: "
        f"{used['own']:.0f} MiB of the process's own, {used['resident']:.0f} MiB with the files that the system keeps "
        f"at hand; {found['disk']:.0f} MiB of disk. Stored in {found['stored_s']:.0f} s, optimised in "
        f"{found['optimised_s']:.0f} s, opened in {found['opened_s']:.1f} s."
    )
    header = ["stage", "p50", "p95", "p99"]
    return Report(section=f"scale-{options.chunks}", header=header, rows=rows, notes=[what, memory_note], figures=found)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("scale", "Search at scale.")
    made.add_argument("--chunks", type=int, default=CHUNKS, help="of the tenant (default: %(default)s)")
    made.add_argument("--queries", type=int, default=200, help="default: %(default)s")
    made.add_argument("--folder", type=Path, help="where to keep what is built; others must be able to enter it")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
