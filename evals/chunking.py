"""``python -m evals chunking --data PATH``: how much of the answers stands in the five chunks that are found.

PATH is the evaluation set of Chroma's report "Evaluating Chunking Strategies for Retrieval" (2024). All corpora share
one index. Prints recall, precision, the precision that the chunks would allow, and intersection over union, by
characters, mean ± standard deviation over the questions: for the dense list alone, as in the report, and for the
product's search.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from core.domain import Chunk, ChunkId, CollectionId, DocumentId, LoadedDocument, Scope, TenantId
from core.errors import InvalidInput
from core.index import IndexQuery, Point
from core.settings import read_settings
from evals.chunking_data import ChunkingSet, read_chunking_set
from evals.chunking_metrics import Stretch, precision_omega, score
from evals.chunking_tokens import Cl100k
from evals.systems import Parts, open_parts
from ingest.chunking.chunker import open_chunker
from ingest.chunking.spec import ChunkerSpec, RecursiveSpec, TokensSpec, default_spec, read_spec
from ingest.formats.commonmark import markdown_blocks
from models.embedder import Embedder
from tools.fusion import fuse

RETRIEVED = 5
SEARCHES = ("dense", "hybrid")
MEASURES = ("recall", "precision", "precision Ω", "IoU")
PUBLISHED: Mapping[str, tuple[ChunkerSpec, tuple[float, ...]]] = {
    "published: TokenText 250, overlap 125": (TokensSpec(tokens=250, overlap=125), (82.4, 3.6, 11.4, 3.5)),
    "published: Recursive 200": (RecursiveSpec(tokens=200), (75.7, 6.5, 31.2, 6.5)),
}
"""Rows of the report for all-MiniLM-L6-v2 (sizes in cl100k tokens): our spec, and the means that they got."""
HEADER = ("chunks", "search", "number", "characters", *MEASURES)


@dataclass(frozen=True, slots=True)
class Result:
    """One way of cutting and searching: mean and standard deviation of each measure over the questions, in per cent."""

    name: str
    search: str
    chunks: int
    characters: float
    means: Mapping[str, float]
    deviations: Mapping[str, float]


def main(words: Sequence[str]) -> None:
    """Measure every spec, print the table, write the file that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m evals chunking", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="corpora/*.md and questions_df.csv")
    parser.add_argument("--spec", action="append", metavar="JSON", help="a chunker; without one: the default")
    parser.add_argument("--published", action="store_true", help="also two rows of the report, in its own tokens")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the chunks' vectors here")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    options = parser.parse_args(words)
    specs = [_spec(text) for text in options.spec or ()]
    results = asyncio.run(measure(read_chunking_set(options.data), specs, options.cache, published=options.published))
    print(table(results))
    if options.out is not None:
        rows = [{name: getattr(result, name) for name in Result.__slots__} for result in results]
        options.out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def _spec(text: str) -> ChunkerSpec:
    try:
        return read_spec(json.loads(text))
    except (json.JSONDecodeError, ValidationError) as error:
        raise InvalidInput(f"--spec {text!r} is no chunker: {error}") from error


async def measure(
    data: ChunkingSet, specs: Sequence[ChunkerSpec], cache: Path | None, *, published: bool
) -> list[Result]:
    """The results of each spec; of the default one when none is given."""
    settings = read_settings()
    results: list[Result] = []
    async with open_parts(settings, cache) as parts:
        questions = np.stack([await parts.embedder.embed_query(question.text) for question in data.questions])
        if published:
            ruler = Cl100k(parts.embedder)
            for name, (spec, means) in PUBLISHED.items():
                results.append(Result(name, "dense", 0, 0.0, dict(zip(MEASURES, means, strict=True)), {}))
                chunks = await cut(data, spec, ruler)
                results += await _search(parts, data, questions, chunks, f"the same, ours: {spec.stamp}", ("dense",))
        for spec in specs or [default_spec(settings.ingest, parts.embedder)]:
            chunks = await cut(data, spec, parts.embedder)
            results += await _search(parts, data, questions, chunks, spec.stamp, SEARCHES)
    return results


async def cut(data: ChunkingSet, spec: ChunkerSpec, embedder: Embedder) -> list[tuple[Chunk, Stretch]]:
    """The chunks of all corpora, and where they stand."""
    chunker = open_chunker(spec, embedder)
    chunks = []
    for corpus, text in data.corpora.items():
        loaded = LoadedDocument(text=text, blocks=list(markdown_blocks(text)))
        document = DocumentId(uuid.uuid5(uuid.NAMESPACE_URL, corpus))
        chunks += [(one, Stretch(corpus, one.start, one.end)) for one in await chunker.chunk(loaded, document)]
    return chunks


async def _search(
    parts: Parts,
    data: ChunkingSet,
    questions: NDArray[np.float32],
    chunks: Sequence[tuple[Chunk, Stretch]],
    name: str,
    searches: Sequence[str],
) -> list[Result]:
    vectors = await parts.vectors.of([chunk.embedded_text for chunk, _ in chunks])
    omegas = [precision_omega(question.gold, [place for _, place in chunks]) for question in data.questions]
    results = []
    for search in searches:
        if search == "dense":
            found = [list(row) for row in np.argsort(-(questions @ vectors.T), axis=1)[:, :RETRIEVED]]
        else:
            found = await _hybrid(parts, data, questions, [chunk for chunk, _ in chunks], vectors)
        rows = []
        for question, places, omega in zip(data.questions, found, omegas, strict=True):
            recall, precision, iou = score(question.gold, [chunks[place][1] for place in places])
            rows.append((recall, precision, omega, iou))
        table_of = 100 * np.array(rows)
        results.append(
            Result(
                name=name,
                search=search,
                chunks=len(chunks),
                characters=float(np.mean([place.end - place.start for _, place in chunks])),
                means=dict(zip(MEASURES, table_of.mean(axis=0).tolist(), strict=True)),
                deviations=dict(zip(MEASURES, table_of.std(axis=0).tolist(), strict=True)),
            )
        )
    return results


async def _hybrid(
    parts: Parts,
    data: ChunkingSet,
    questions: NDArray[np.float32],
    chunks: Sequence[Chunk],
    vectors: NDArray[np.float32],
) -> list[list[int]]:
    """The places of the chunks that the product's search finds, in an index of their own tenant."""
    tenant, collection = TenantId(uuid.uuid4()), CollectionId(uuid.uuid4())
    ids = [ChunkId(uuid.uuid4()) for _ in chunks]
    places = {chunk_id: place for place, chunk_id in enumerate(ids)}
    lexical = parts.lexical.encode_documents([chunk.embedded_text for chunk in chunks])
    points = [
        Point(
            id=chunk_id,
            tenant=tenant,
            collection=collection,
            document=chunk.document,
            generation=1,
            dense=dense,
            lexical=terms,
        )
        for chunk_id, chunk, dense, terms in zip(ids, chunks, vectors, lexical, strict=True)
    ]
    await parts.index.upsert(points)
    found = []
    for question, vector in zip(data.questions, questions, strict=True):
        query = IndexQuery(dense=vector, lexical=parts.lexical.encode_query(question.text), limit=parts.candidates)
        ranking = await parts.index.query(query, scope=Scope(tenant=tenant))
        found.append([places[chunk_id] for chunk_id, _ in fuse(ranking)[:RETRIEVED]])
    return found


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table."""
    lines = [HEADER, ("---", "---", *["---:"] * (len(HEADER) - 2))]
    for result in results:
        size = (str(result.chunks), f"{result.characters:.0f}") if result.chunks else ("", "")
        cells = [
            f"{mean:.1f} ± {result.deviations[name]:.1f}" if result.deviations else f"{mean:.1f}"
            for name, mean in result.means.items()
        ]
        lines.append((result.name, result.search, *size, *cells))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
