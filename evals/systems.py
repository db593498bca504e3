"""What is measured: the read path's own parts, each way of searching as a list of passage ids.

Every passage of a set is one chunk under its title, embedded and indexed as a document's chunks are; a set is a tenant
of a real index in a folder that goes away.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from core.domain import Chunk, ChunkId, CollectionId, DocumentId, Scope, TenantId
from core.engines.edge.index import open_edge_index
from core.index import IndexQuery, Point, Ranking, VectorIndex
from core.settings import RerankerSettings, RetrievalSettings, Settings
from evals.beir import Dataset, Passage
from evals.vectors import CachedVectors
from models.embedder import Embedder, open_embedder
from models.lexical import LexicalEncoder
from models.reranker import Reranker, open_reranker
from tools.fusion import Matches, fuse, rerank, scored, trust

DEPTH = 100
"""Depth of the lists that are measured alone."""

Runs = Mapping[str, Mapping[str, Sequence[str]]]
"""For each way of searching and each question the ids of the passages found, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of the read path."""

    embedder: Embedder
    lexical: LexicalEncoder
    index: VectorIndex
    vectors: CachedVectors
    retrieval: RetrievalSettings
    reranker: Reranker | None
    reranking: RerankerSettings


@asynccontextmanager
async def open_parts(settings: Settings, cache: Path | None) -> AsyncIterator[Parts]:
    """Open the parts as the settings say; the index in a temporary folder."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="ragstone-evals-")))
        embedder = await stack.enter_async_context(open_embedder(settings.embedding))
        index = await stack.enter_async_context(open_edge_index(folder / "index", dimension=embedder.dimension))
        yield Parts(
            embedder=embedder,
            lexical=LexicalEncoder(),
            index=index,
            vectors=CachedVectors(embedder, cache),
            retrieval=settings.retrieval,
            reranker=await stack.enter_async_context(open_reranker(settings.reranker, settings.embedding)),
            reranking=settings.reranker,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, what the index found for it, and how far the embedder is trusted with it."""

    key: str
    text: str
    ranking: Ranking
    known: float


@dataclass(frozen=True, slots=True)
class Searched:
    """A set in the index: its chunks, the ids of their passages, and all its questions."""

    chunks: Mapping[ChunkId, Chunk]
    names: Mapping[ChunkId, str]
    asked: Sequence[Asked]


async def search(parts: Parts, dataset: Dataset) -> Searched:
    """Store the set in the index, as a tenant of its own, and ask every question."""
    scope = Scope(tenant=TenantId(uuid.uuid4()))
    chunks = {chunk.id: chunk for chunk in (chunk_of(passage) for passage in dataset.passages)}
    names = dict(zip(chunks, (passage.id for passage in dataset.passages), strict=True))
    await store(parts, scope.tenant, list(chunks.values()))
    vectors = await parts.vectors.of_questions(list(dataset.queries.values()))
    depth = max(DEPTH, parts.retrieval.candidates)
    asked = []
    for (key, text), vector in zip(dataset.queries.items(), vectors, strict=True):
        query = IndexQuery(dense=vector, lexical=parts.lexical.encode_query(text), limit=depth)
        ranking = await parts.index.query(query, scope=scope)
        asked.append(Asked(key, text, ranking, trust(text, parts.embedder.count_tokens(text))))
    return Searched(chunks, names, asked)


async def run(parts: Parts, dataset: Dataset) -> Runs:
    """Every question of the set, searched in every way."""
    searched = await search(parts, dataset)
    runs: dict[str, dict[str, Sequence[str]]] = defaultdict(dict)
    for one in searched.asked:
        hybrid = hybrid_of(parts, one.ranking, one.known)
        found: dict[str, Sequence[tuple[ChunkId, object]]] = {
            "dense": one.ranking.dense[:DEPTH],
            "lexical": one.ranking.lexical[:DEPTH],
            "hybrid": hybrid,
        }
        if parts.reranker is not None:
            found["hybrid + rerank"] = await _reranked(parts.reranker, parts.reranking, one, hybrid, searched.chunks)
        for system, matches in found.items():
            runs[system][one.key] = [searched.names[match[0]] for match in matches]
    return runs


def hybrid_of(parts: Parts, ranking: Ranking, known: float) -> Matches:
    """The lists fused as a search does it, when the embedder is trusted with the question as far as ``known``."""
    depth = parts.retrieval.candidates
    top = Ranking(dense=ranking.dense[:depth], lexical=ranking.lexical[:depth])
    return fuse(top, dense_share=parts.retrieval.dense_share * known)


async def _reranked(
    reranker: Reranker,
    settings: RerankerSettings,
    asked: Asked,
    matches: Matches,
    chunks: Mapping[ChunkId, Chunk],
) -> Matches:
    best = [chunk for chunk, _ in matches[: settings.candidates]]
    scores = await reranker.score(asked.text, [chunks[chunk].embedded_text for chunk in best])
    return rerank(matches, scored(best, scores), share=settings.share * asked.known)


def chunk_of(passage: Passage) -> Chunk:
    """The passage as the only chunk of a document, under its title."""
    return Chunk(
        id=ChunkId(uuid.uuid4()),
        document=DocumentId(uuid.uuid4()),
        ordinal=0,
        text=passage.text,
        digest=b"",
        start=0,
        end=len(passage.text),
        section=(passage.title,) if passage.title else (),
    )


async def store(parts: Parts, tenant: TenantId, chunks: Sequence[Chunk]) -> None:
    """Put the chunks into the index, as the documents of a tenant."""
    texts = [chunk.embedded_text for chunk in chunks]
    collection = CollectionId(uuid.uuid4())
    points = [
        Point(
            id=chunk.id,
            tenant=tenant,
            collection=collection,
            document=chunk.document,
            generation=1,
            dense=dense,
            lexical=lexical,
        )
        for chunk, dense, lexical in zip(
            chunks, await parts.vectors.of(texts), parts.lexical.encode_documents(texts), strict=True
        )
    ]
    await parts.index.upsert(points)
