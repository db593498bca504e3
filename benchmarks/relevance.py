"""How well the threshold of relevance tells questions about the documents from questions about something else.

``python -m benchmarks.relevance --documents XQUAD --strangers CRANFIELD``: both are folders in BEIR layout
(``corpus.jsonl``, ``queries.jsonl``). Prints, for each threshold, the share of each set's questions for which one of
the three best passages of XQUAD counts as relevant: it should be 1 for its own questions and 0 for the strangers'.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.domain import Chunk, ChunkId, CollectionId, DocumentId, Hit, Scores
from core.settings import EmbeddingSettings, RetrievalSettings
from graphs.decisions import is_relevant
from models.embedder import Embedder, open_embedder

QUESTIONS = 200
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relevance", description=__doc__)
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--strangers", type=Path, required=True)
    options = parser.parse_args()
    for folder in (options.documents, options.strangers):
        if not (folder / "queries.jsonl").exists():
            parser.error(f"{folder} holds no queries.jsonl: give a data set in BEIR layout")
    asyncio.run(measure(options.documents, options.strangers))


async def measure(documents: Path, strangers: Path) -> None:
    """Print the table."""
    async with open_embedder(EmbeddingSettings()) as embedder:
        passages = texts(documents / "corpus.jsonl")
        vectors = await embedder.embed_documents(passages)
        own = await best(embedder, sample(documents), passages, vectors)
        foreign = await best(embedder, sample(strangers), passages, vectors)
    default = RetrievalSettings().min_score
    print("| cosine | own questions kept | strangers' questions kept |\n|---|---|---|")
    for threshold in THRESHOLDS:
        mark = " (default)" if threshold == default else ""
        print(f"| {threshold:.2f}{mark} | {kept(own, threshold):.3f} | {kept(foreign, threshold):.3f} |")


def texts(path: Path) -> list[str]:
    """The texts of a JSONL file."""
    return [str(json.loads(line)["text"]) for line in path.read_text("utf-8").splitlines()]


def sample(folder: Path) -> list[str]:
    """Some of the questions, the same ones every time."""
    questions = texts(folder / "queries.jsonl")
    return random.Random(1).sample(questions, min(QUESTIONS, len(questions)))


async def best(
    embedder: Embedder, questions: Sequence[str], passages: Sequence[str], vectors: np.ndarray
) -> list[tuple[str, list[Hit]]]:
    """Each question with its three nearest passages."""
    found = []
    for question in questions:
        scores = vectors @ await embedder.embed_query(question)
        nearest = np.argsort(-scores)[:3]
        found.append((question, [hit(passages[place], float(scores[place])) for place in nearest]))
    return found


def hit(text: str, score: float) -> Hit:
    """A passage as the search finds it."""
    nobody = uuid.UUID(int=0)
    chunk = Chunk(
        id=ChunkId(nobody), document=DocumentId(nobody), ordinal=0, text=text, digest=b"", start=0, end=len(text)
    )
    return Hit(chunk=chunk, document_name="", collection=CollectionId(nobody), scores=Scores(fused=0, dense=score))


def kept(found: Sequence[tuple[str, list[Hit]]], threshold: float) -> float:
    """The share of questions with a relevant passage."""
    relevant = [any(is_relevant(hit, question, threshold) for hit in hits) for question, hits in found]
    return sum(relevant) / len(relevant)


if __name__ == "__main__":
    main()
