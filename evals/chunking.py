"""``python -m evals chunking --data PATH``: how much of the answers stands in the five chunks that are found.

PATH is the evaluation set of Chroma's report "Evaluating Chunking Strategies for Retrieval" (2024). All corpora share
one index. Prints recall, precision, the precision that the chunks would allow, and intersection over union, by
characters, mean ± standard deviation over the questions: for the dense list alone, as in the report, for the lexical
one, and for the product's search, which fuses both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmarks.report import PAGE, Circumstances, circumstances, with_section
from core.domain import Chunk, ChunkId, CollectionId, DocumentId, LoadedDocument, Scope, TenantId
from core.errors import InvalidInput
from core.index import IndexQuery, Point
from core.settings import read_settings
from evals.chunking_data import ChunkingSet, read_chunking_set
from evals.chunking_metrics import Stretch, precision_omega, score
from evals.chunking_tokens import Cl100k
from evals.systems import Parts, hybrid_of, open_parts
from ingest.chunking.chunker import open_chunker
from ingest.chunking.spec import ChunkerSpec, RecursiveSpec, TokensSpec, default_spec, read_spec
from ingest.formats.commonmark import markdown_blocks
from models.embedder import Embedder
from tools.fusion import trust

RETRIEVED = 5
SEARCHES = ("dense", "lexical", "hybrid")
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
    """Measure every spec, print the table, write what was asked for."""
    options = _parser().parse_args(words)
    where = _where(options)
    specs = [_spec(text) for text in options.spec or ()]
    data = read_chunking_set(options.data)
    searches = ("lexical",) if options.lexical else SEARCHES
    results = asyncio.run(measure(data, specs, options.cache, published=options.published, searches=searches))
    print(table(results))
    if options.record:
        _record(results, where)
    if options.out is not None:
        rows = [{name: getattr(result, name) for name in Result.__slots__} for result in results]
        options.out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals chunking", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="corpora/*.md and questions_df.csv")
    parser.add_argument("--spec", action="append", metavar="JSON", help="a chunker; without one: the default")
    parser.add_argument("--published", action="store_true", help="also two rows of the report, in its own tokens")
    parser.add_argument("--lexical", action="store_true", help="the lexical list alone, for which nothing is embedded")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the chunks' vectors here")
    parser.add_argument("--record", action="store_true", help="also put the table into docs/benchmarks.md")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def _where(options: argparse.Namespace) -> Circumstances:
    """When and on what it is measured, before it begins; where the set lies says nothing."""
    telling = [f"--spec '{spec}'" for spec in options.spec or ()] + ["--published"] * options.published
    telling += ["--lexical"] * options.lexical
    return replace(circumstances("evals"), command=" ".join(["python -m evals chunking --data PATH", *telling]))


def _record(results: Sequence[Result], where: Circumstances) -> None:
    """Put the table into its section of the page."""
    text = f"{where.sentence()}\n\n{table(results)}"
    PAGE.write_text(with_section(PAGE.read_text("utf-8"), "chunking", text), "utf-8")


def _spec(text: str) -> ChunkerSpec:
    try:
        return read_spec(json.loads(text))
    except (json.JSONDecodeError, ValidationError) as error:
        raise InvalidInput(f"--spec {text!r} is no chunker: {error}") from error


async def measure(
    data: ChunkingSet,
    specs: Sequence[ChunkerSpec],
    cache: Path | None,
    *,
    published: bool,
    searches: Sequence[str] = SEARCHES,
) -> list[Result]:
    """The results of each spec; of the default one when none is given."""
    settings = read_settings()
    results: list[Result] = []
    async with open_parts(settings, cache) as parts:
        dense = published or searches != ("lexical",)
        questions = [await parts.embedder.embed_query(one.text) for one in data.questions] if dense else None
        if published:
            ruler = Cl100k(parts.embedder)
            for name, (spec, means) in PUBLISHED.items():
                results.append(Result(name, "dense", 0, 0.0, dict(zip(MEASURES, means, strict=True)), {}))
                chunks = await cut(data, spec, ruler)
                results += await _measured(parts, data, questions, chunks, f"the same, ours: {spec.stamp}", ("dense",))
        for spec in specs or [default_spec(settings.ingest, parts.embedder)]:
            chunks = await cut(data, spec, parts.embedder)
            results += await _measured(parts, data, questions, chunks, spec.stamp, searches)
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


async def _measured(
    parts: Parts,
    data: ChunkingSet,
    questions: Sequence[NDArray[np.float32]] | None,
    chunks: Sequence[tuple[Chunk, Stretch]],
    name: str,
    searches: Sequence[str],
) -> list[Result]:
    places = [place for _, place in chunks]
    omegas = [precision_omega(question.gold, places) for question in data.questions]
    found = await _found(parts, data, questions, [chunk for chunk, _ in chunks])
    results = []
    for search in searches:
        scores = [
            score(question.gold, [places[n] for n in best])
            for question, best in zip(data.questions, found[search], strict=True)
        ]
        rows = 100 * np.array(
            [(one.recall, one.precision, omega, one.iou) for one, omega in zip(scores, omegas, strict=True)]
        )
        results.append(
            Result(
                name=name,
                search=search,
                chunks=len(chunks),
                characters=float(np.mean([place.end - place.start for place in places])),
                means=dict(zip(MEASURES, rows.mean(axis=0).tolist(), strict=True)),
                deviations=dict(zip(MEASURES, rows.std(axis=0).tolist(), strict=True)),
            )
        )
    return results


async def _found(
    parts: Parts, data: ChunkingSet, questions: Sequence[NDArray[np.float32]] | None, chunks: Sequence[Chunk]
) -> Mapping[str, list[list[int]]]:
    """For each search and question the places of the best chunks, in an index where they are a tenant's only ones.

    Without the questions' vectors nothing is embedded, and the dense lists are empty.
    """
    tenant, collection = TenantId(uuid.uuid4()), CollectionId(uuid.uuid4())
    places = {ChunkId(uuid.uuid4()): place for place in range(len(chunks))}
    texts = [chunk.embedded_text for chunk in chunks]
    if questions is None:
        # The index wants a vector of each point; that it is the same for all is never seen.
        vectors = np.full((len(chunks), parts.embedder.dimension), parts.embedder.dimension**-0.5, np.float32)
    else:
        vectors = await parts.vectors.of(texts)
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
        for chunk_id, chunk, dense, terms in zip(
            places, chunks, vectors, parts.lexical.encode_documents(texts), strict=True
        )
    ]
    await parts.index.upsert(points)
    found: dict[str, list[list[int]]] = {search: [] for search in SEARCHES}
    for place, question in enumerate(data.questions):
        dense = None if questions is None else questions[place]
        query = IndexQuery(
            dense=dense, lexical=parts.lexical.encode_query(question.text), limit=parts.retrieval.candidates
        )
        ranking = await parts.index.query(query, scope=Scope(tenant=tenant))
        known = trust(question.text, parts.embedder.count_tokens(question.text))
        found["dense"].append([places[match.id] for match in ranking.dense[:RETRIEVED]])
        found["lexical"].append([places[match.id] for match in ranking.lexical[:RETRIEVED]])
        found["hybrid"].append([places[chunk_id] for chunk_id, _ in hybrid_of(parts, ranking, known)[:RETRIEVED]])
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
