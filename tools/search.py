"""Search over the documents that a scope may read: ranked by the index, filtered, made distinct and widened."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, zip_longest

import numpy as np
from numpy.typing import NDArray

from core.database import Pool
from core.domain import ChunkId, Hit, Scope, Scores
from core.errors import InvalidInput, Unavailable
from core.index import IndexQuery, Ranking
from models.lexical import LexicalEncoder
from tools.diversity import distinct, diversified
from tools.expansion import EXPAND_TOKENS, Expand, spread
from tools.filter import Filter
from tools.fusion import DENSE_SHARE, fuse, trust
from tools.passages import Passages
from tools.reranking import Reranking
from tools.shelves import Ground, Shelf, Shelving
from tools.variants import Mode, Variant, merged

SPARE = 20
"""Matches looked up beyond the limit when some of the best are not to be seen, or say what others say already."""
MMR_POOL = 30
"""The least hits that are chosen from for diversity."""
MOST_DOCUMENTS = 10_000
"""Documents that the index is held to by their ids; where more pass a filter, what it finds is sifted."""
DEEPER = 4
"""How many times deeper the index is asked each time that sifting leaves too little."""
TRIES = 3
"""Searches of a scope whose collections are changed to another embedder meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How to search; what is left as it is costs nothing.

    ``variants`` are searched beside the text, fused by rank. ``filter`` was checked (`tools.filter.check_filter`).
    ``threshold`` is the least cosine to the question: hits that only their words or a variant have found get theirs as
    well; in the mode ``lexical`` there is none. ``distinct`` leaves out what a better hit says already. ``diversity``
    is the lambda of maximal marginal relevance, 0 to 1. ``expand`` widens each hit to at most ``expand_tokens`` tokens.
    ``rerank`` asks for the reranker or does without it; None leaves that to the settings.
    """

    mode: Mode = "hybrid"
    rerank: bool | None = None
    variants: Sequence[Variant] = ()
    filter: Filter | None = None
    distinct: bool = False
    diversity: float | None = None
    threshold: float | None = None
    expand: Expand = "none"
    expand_tokens: int = EXPAND_TOKENS


PLAIN = SearchOptions()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits, best first, and the milliseconds of each stage that ran.

    Stages: embed, filter, index, fuse, threshold, rerank, fetch, diversify, expand; and their total.
    """

    hits: Sequence[Hit]
    timings: Mapping[str, float]


class Clock:
    """Adds up the milliseconds of stages."""

    def __init__(self) -> None:
        self._spans: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the block into the stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spans[stage] = self._spans.get(stage, 0.0) + (time.perf_counter() - start) * 1000

    @property
    def timings(self) -> dict[str, float]:
        """Each stage, rounded, and the total."""
        return {stage: round(span, 2) for stage, span in self._spans.items()} | {
            "total": round(sum(self._spans.values()), 2)
        }


class Redivided(Exception):
    """A collection of the scope was changed to another embedder or chunker during the search."""


class Search:
    """Finds chunks. The index ranks, PostgreSQL decides what exists: a deleted document is gone in the same moment."""

    def __init__(
        self,
        pool: Pool,
        shelves: Shelving,
        lexical: LexicalEncoder,
        *,
        candidates: int,
        most_documents: int = MOST_DOCUMENTS,
        dense_share: float = DENSE_SHARE,
        reranking: Reranking | None = None,
    ) -> None:
        self._passages = Passages(pool)
        self._shelves = shelves
        self._lexical = lexical
        self._candidates = candidates
        self._most_documents = most_documents
        self._dense_share = dense_share
        self._reranking = reranking

    async def __call__(self, text: str, *, scope: Scope, limit: int, options: SearchOptions = PLAIN) -> SearchResult:
        """The ``limit`` best chunks within the scope.

        Collections that were made with different embedders are searched each with its own, and taken in turns.

        Raises:
            StampGone: the embedder of a collection cannot be loaded any more; the message has the command that helps.
            Unavailable: the index does not answer.
            InvalidInput: a reranker is asked for, and there is none.
        """
        clock = Clock()
        for _ in range(TRIES):
            ground = await self._shelves.divide(scope)
            try:
                hits = await self._search(text, ground, limit, options, clock)
            except Redivided:
                await self._shelves.changed(ground)
                continue
            except Unavailable:
                # The index of an embedder goes when a collection has been changed to another one.
                if not await self._shelves.changed(ground):
                    raise
                continue
            if hits or not await self._shelves.changed(ground):
                return SearchResult(hits, clock.timings)
        raise Unavailable("The collections change too quickly to be searched. Try again.")

    async def _search(self, text: str, ground: Ground, limit: int, options: SearchOptions, clock: Clock) -> list[Hit]:
        lists = [await self._match(text, shelf, limit, options, clock) for shelf in ground.shelves]
        # By rank: the scores of different embedders cannot be compared.
        matches = [match for rank in zip_longest(*lists) for match in rank if match is not None]
        return await self._choose(matches, ground, limit, options, clock)

    async def _match(
        self, text: str, shelf: Shelf, limit: int, options: SearchOptions, clock: Clock
    ) -> Sequence[tuple[ChunkId, Scores]]:
        reranking = self._wanted_reranking(options)
        with clock("embed"):
            query = await self._encode(text, shelf, options.mode, max(self._candidates, wanted_hits(limit, options)))
        ranking = await self._rank(query, shelf, options.filter, clock)
        with clock("fuse"):
            known, matches = self._fused(text, shelf, ranking)
        if options.variants:
            matches = await self._vary(matches, query.limit, shelf, options, clock)
        if query.dense is not None and (options.threshold is not None or options.variants):
            with clock("threshold"):
                least = -1.0 if options.threshold is None else options.threshold
                matches = await self._near(matches, query.dense, least, shelf)
        if reranking is not None:
            with clock("rerank"):
                matches = await reranking(text, matches, passages=self._passages, scope=shelf.scope, trust=known)
        return matches

    def _wanted_reranking(self, options: SearchOptions) -> Reranking | None:
        if options.rerank and self._reranking is None:
            raise InvalidInput("There is no reranker to search with: set RERANKER__MODEL, or search without `rerank`.")
        wanted = options.rerank or (options.rerank is None and self._reranking is not None and self._reranking.default)
        return self._reranking if wanted else None

    async def _encode(self, text: str, shelf: Shelf, mode: Mode, depth: int) -> IndexQuery:
        return IndexQuery(
            dense=None if mode == "lexical" else await shelf.embedder.embed_query(text),
            lexical=None if mode == "dense" else self._lexical.encode_query(text),
            limit=depth,
        )

    def _fused(self, text: str, shelf: Shelf, ranking: Ranking) -> tuple[float, list[tuple[ChunkId, Scores]]]:
        """How far the dense side knows the text's language, 0 to 1, and both lists as one."""
        known = trust(text, shelf.embedder.count_tokens(text))
        return known, fuse(ranking, dense_share=self._dense_share * known)

    async def _vary(
        self,
        matches: Sequence[tuple[ChunkId, Scores]],
        depth: int,
        shelf: Shelf,
        options: SearchOptions,
        clock: Clock,
    ) -> list[tuple[ChunkId, Scores]]:
        """The matches with those of the variants, fused by rank."""
        lists = [matches]
        for variant in options.variants:
            with clock("embed"):
                query = await self._encode(variant.text, shelf, variant.mode, depth)
            ranking = await self._rank(query, shelf, options.filter, clock)
            with clock("fuse"):
                lists.append(self._fused(variant.text, shelf, ranking)[1])
        return merged(lists)

    async def _rank(self, query: IndexQuery, shelf: Shelf, wanted: Filter | None, clock: Clock) -> Ranking:
        if wanted is None:
            with clock("index"):
                return await shelf.index.query(query, scope=shelf.scope)
        with clock("filter"):
            documents = await self._passages.documents(wanted, shelf.scope, most=self._most_documents)
        if documents is None:
            return await self._sift(query, shelf, wanted, clock)
        with clock("index"):
            return await shelf.index.query(replace(query, documents=documents), scope=shelf.scope)

    async def _sift(self, query: IndexQuery, shelf: Shelf, wanted: Filter, clock: Clock) -> Ranking:
        """The lists as the index would give them for the filter's documents: deeper ones without the others."""
        depth = query.limit
        while True:
            depth *= DEEPER
            with clock("index"):
                ranking = await shelf.index.query(replace(query, limit=depth), scope=shelf.scope)
            with clock("filter"):
                found = {match.id for match in (*ranking.dense, *ranking.lexical)}
                passing = await self._passages.passing(found, wanted, shelf.scope)
            sides = (ranking.dense, ranking.lexical)
            kept = [[match for match in side if match.id in passing][: query.limit] for side in sides]
            if all(len(some) == query.limit or len(side) < depth for some, side in zip(kept, sides, strict=True)):
                return Ranking(dense=kept[0], lexical=kept[1])

    async def _near(
        self, matches: Sequence[tuple[ChunkId, Scores]], question: NDArray[np.float32], threshold: float, shelf: Shelf
    ) -> list[tuple[ChunkId, Scores]]:
        """Those of the matches whose cosine to the question is at least the threshold."""
        unknown = [chunk for chunk, scores in matches if scores.dense is None]
        vectors = await shelf.index.vectors(unknown, scope=shelf.scope)
        cosines = {chunk: float(vector @ question) for chunk, vector in vectors.items()}
        whole = [
            (chunk, replace(scores, dense=scores.dense if scores.dense is not None else cosines.get(chunk)))
            for chunk, scores in matches
        ]
        return [(chunk, scores) for chunk, scores in whole if scores.dense is not None and scores.dense >= threshold]

    async def _choose(
        self,
        matches: Sequence[tuple[ChunkId, Scores]],
        ground: Ground,
        limit: int,
        options: SearchOptions,
        clock: Clock,
    ) -> list[Hit]:
        """The best hits, with more looked up as long as too many are left out."""
        wanted = wanted_hits(limit, options)
        hits: list[Hit] = []
        place = 0
        while True:
            with clock("fetch"):
                while len(hits) < wanted and place < len(matches):
                    step = SPARE if place else wanted
                    more, mark = await self._passages.marked(matches[place : place + step], ground.scope)
                    if mark is not None and ground.mark not in (mark, None):
                        raise Redivided
                    hits += more
                    place += step
            chosen = await self._select(hits, ground, limit, options, clock)
            if len(chosen) >= limit or place >= len(matches):
                return chosen[:limit]
            wanted = len(hits) + SPARE

    async def _select(
        self, hits: Sequence[Hit], ground: Ground, limit: int, options: SearchOptions, clock: Clock
    ) -> list[Hit]:
        chosen = list(hits)
        room = limit if options.expand == "none" else limit + SPARE
        if options.diversity is not None:
            with clock("diversify"):
                chosen = list(distinct(chosen)) if options.distinct else chosen
                vectors = await ground.vectors([hit.chunk.id for hit in chosen])
                chosen = diversified(chosen, vectors, weight=options.diversity, limit=room)
        elif options.distinct:
            with clock("diversify"):
                chosen = list(islice(distinct(chosen), room))
        if options.expand != "none" and chosen:
            with clock("expand"):
                plan = partial(
                    spread,
                    chosen,
                    expand=options.expand,
                    budget=options.expand_tokens,
                    count=ground.shelves[0].embedder.count_tokens,
                    limit=limit,
                )
                chosen = await self._passages.widened(chosen, plan)
        return chosen


def wanted_hits(limit: int, options: SearchOptions) -> int:
    """How many hits are looked up at first, so that after the stages that leave some out there are enough."""
    if options.diversity is not None:
        return max(MMR_POOL, limit + SPARE)
    return limit if not options.distinct and options.expand == "none" else limit + SPARE
