"""``python -m evals rewriting --data PATH``: whether other wordings and made-up answers (HyDE) find more.

PATH is a retrieval set in BEIR layout. The chat model at CHAT__BASE_URL says a sample of its questions anew, as the
assistant does with RETRIEVAL__QUERIES and RETRIEVAL__HYDE. Prints nDCG@10 and R@10 with and without them, the paired
difference with its 95 % bootstrap confidence interval, and how long the model took for a question.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.domain import Scope, TenantId
from core.errors import InvalidInput
from core.index import IndexQuery
from core.settings import RetrievalSettings, read_settings
from evals.beir import Dataset, find_datasets, read_dataset
from evals.bootstrap import interval
from evals.metrics import MEASURES
from evals.systems import Parts, chunk_of, hybrid_of, open_parts, store
from graphs.rewriting import Rewriter
from models.chat import open_chat
from tools.fusion import Matches, trust
from tools.variants import Variant, merged

QUESTIONS = 60
BUDGET_MS = 60_000
"""Here the model may take long: how long it took is part of the result."""
PLAIN = "the question alone"
HEADER = ("searched with", "nDCG@10", "R@10", "difference in nDCG@10 (95 %)", "model, s p50", "p95")


@dataclass(frozen=True, slots=True)
class Reworded:
    """A question with its variants by the name of the way that made them, and the seconds that each took."""

    key: str
    variants: Mapping[str, Sequence[Variant]]
    seconds: Mapping[str, float]


def main(words: Sequence[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m evals rewriting", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="a set in BEIR layout")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="how many of its questions")
    parser.add_argument("--queries", type=int, default=2, help="other wordings of each")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the passages' vectors here")
    options = parser.parse_args(words)
    if read_settings().chat.base_url is None:
        raise InvalidInput("There is no chat model to ask: set CHAT__BASE_URL to a running server.")
    for folder in find_datasets(options.data):
        dataset = read_dataset(folder, options.data)
        print(asyncio.run(measure(dataset, options.questions, options.queries, options.cache)))


async def measure(dataset: Dataset, questions: int, queries: int, cache: Path | None) -> str:
    """The table of a set."""
    settings = read_settings()
    keys = sorted(dataset.queries)
    chosen = np.random.default_rng(1).permutation(len(keys))[:questions]
    keys = [keys[place] for place in chosen]
    ways = {
        f"+ {queries} other wordings": RetrievalSettings(queries=queries, rewrite_budget_ms=BUDGET_MS),
        "+ a made-up answer (HyDE)": RetrievalSettings(hyde=True, rewrite_budget_ms=BUDGET_MS),
    }
    async with open_chat(settings.chat) as chat, open_parts(settings, cache) as parts:
        rewriters = {way: Rewriter(chat, retrieval) for way, retrieval in ways.items()}
        reworded = [await reword(rewriters, key, dataset.queries[key]) for key in keys]
        found = await search(parts, dataset, reworded)
    rows = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *rows_of(dataset, found, reworded)]
    head = f"{dataset.name}, {len(keys)} questions, {settings.chat.model}\n\n"
    return head + "\n".join(f"| {' | '.join(row)} |" for row in rows)


async def reword(rewriters: Mapping[str, Rewriter], key: str, question: str) -> Reworded:
    """The question said anew in each way."""
    variants: dict[str, Sequence[Variant]] = {}
    seconds: dict[str, float] = {}
    for way, rewriter in rewriters.items():
        detail: dict[str, Any] = {}
        start = time.perf_counter()
        variants[way] = await rewriter.variants(question, detail)
        seconds[way] = time.perf_counter() - start
    variants["+ both"] = [variant for made in variants.values() for variant in made]
    seconds["+ both"] = sum(seconds.values())
    return Reworded(key, {PLAIN: (), **variants}, {PLAIN: 0.0, **seconds})


async def search(parts: Parts, dataset: Dataset, reworded: Sequence[Reworded]) -> dict[str, list[list[str]]]:
    """For each way the ids of the passages found for each question, best first."""
    tenant = TenantId(uuid.uuid4())
    chunks = [chunk_of(passage) for passage in dataset.passages]
    names = {chunk.id: passage.id for chunk, passage in zip(chunks, dataset.passages, strict=True)}
    await store(parts, tenant, chunks)
    found: dict[str, list[list[str]]] = defaultdict(list)
    for item in reworded:
        own = await matches(parts, tenant, Variant(dataset.queries[item.key]))
        for way, variants in item.variants.items():
            lists = [own, *[await matches(parts, tenant, variant) for variant in variants]]
            best = merged(lists) if variants else own
            found[way].append([names[chunk] for chunk, _ in best])
    return found


async def matches(parts: Parts, tenant: TenantId, variant: Variant) -> Matches:
    """What the search finds for a text."""
    query = IndexQuery(
        dense=await parts.embedder.embed_query(variant.text),
        lexical=None if variant.mode == "dense" else parts.lexical.encode_query(variant.text),
        limit=parts.retrieval.candidates,
    )
    ranking = await parts.index.query(query, scope=Scope(tenant=tenant))
    return hybrid_of(parts, ranking, trust(variant.text, parts.embedder.count_tokens(variant.text)))


def rows_of(dataset: Dataset, found: Mapping[str, list[list[str]]], reworded: Sequence[Reworded]) -> list[list[str]]:
    """A row for each way."""
    judged = [dataset.judgements[item.key] for item in reworded]
    ndcg = {
        way: np.array([MEASURES["nDCG@10"](*pair) for pair in zip(r, judged, strict=True)]) for way, r in found.items()
    }
    recall = {
        way: np.mean([MEASURES["R@10"](*pair) for pair in zip(r, judged, strict=True)]) for way, r in found.items()
    }
    rows = []
    for way in found:
        gain = interval(ndcg[way] - ndcg[PLAIN])
        seconds = np.array([item.seconds[way] for item in reworded])
        times = [""] * 2 if way == PLAIN else [f"{np.percentile(seconds, share):.1f}" for share in (50, 95)]
        difference = "" if way == PLAIN else f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        rows.append([way, f"{ndcg[way].mean():.3f}", f"{recall[way]:.3f}", difference, *times])
    return rows
