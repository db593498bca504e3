"""``python -m evals relevance --data FILE``: how well "nothing relevant" is decided.

FILE holds questions as JSON lines (``id``, ``question``, ``passages``, ``answerable``), half of which their passages do
not answer. All passages together are the collection; the three nearest to a question are judged as the assistant
judges them. For each threshold of the cosine the table says of the questions called "not found" how many were
unanswerable (precision), how many of the unanswerable were called so (recall), and how many answerable ones were
refused, on the half of the questions that the choice is not made on. The choice is the threshold with the highest
recall that refuses at most one answerable question in twenty on the other half. ``--strangers`` adds the questions of
a set in BEIR layout about something else, ``--own`` those of sets to their own passages, in other languages for
example: cosines belong to a language as much as to a model.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import PAGE, circumstances, with_section
from core.domain import Chunk, ChunkId, CollectionId, DocumentId, Hit, Scores
from core.errors import InvalidInput
from core.settings import RetrievalSettings, read_settings
from evals.beir import Dataset, find_datasets, read_dataset
from evals.systems import chunk_of
from evals.vectors import CachedVectors
from graphs.decisions import is_relevant
from graphs.words import content_words, coverage
from models.embedder import open_embedder

PASSAGES = 3
THRESHOLDS = tuple(round(0.2 + 0.05 * step, 2) for step in range(11))
REFUSED = 0.05
"""The most answerable questions that may be refused, as a share."""
NEVER = 2.0
"""A threshold that no cosine reaches."""

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and whether the collection answers it."""

    id: str
    question: str
    answerable: bool


@dataclass(frozen=True, slots=True)
class Signals:
    """What the decision can go by, each of shape (questions,).

    ``cosine`` of the nearest passage, ``words``: whether one of the passages is relevant by its words alone,
    ``covered``: the greatest share of the question's words in a passage.
    """

    cosine: Floats
    words: Flags
    covered: Floats

    def not_found(self, threshold: float) -> Flags:
        """Whether no passage counts as relevant."""
        return (self.cosine < threshold) & ~self.words

    def of(self, chosen: Flags) -> Signals:
        """The signals of some of the questions."""
        return Signals(self.cosine[chosen], self.words[chosen], self.covered[chosen])


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m evals relevance", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="questions as JSON lines")
    parser.add_argument("--strangers", type=Path, metavar="PATH", help="a set in BEIR layout about something else")
    parser.add_argument("--own", type=Path, action="append", metavar="PATH", help="a set, or several, in BEIR layout")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the vectors here")
    parser.add_argument("--record", action="store_true", help="also put the table into docs/benchmarks.md")
    options = parser.parse_args(words)
    where = replace(
        circumstances("evals"),
        command="python -m evals relevance --data FILE"
        + " --strangers PATH" * (options.strangers is not None)
        + " --own PATH" * len(options.own or ()),
    )
    text = asyncio.run(measure(options.data, options.strangers, options.own or (), options.cache))
    print(text)
    if options.record:
        page = with_section(PAGE.read_text("utf-8"), "relevance", f"{where.sentence()}\n\n{text}")
        PAGE.write_text(page, "utf-8")


async def measure(data: Path, strangers: Path | None, sets: Sequence[Path], cache: Path | None) -> str:
    """The table and what is said below it."""
    asked, passages = read(data)
    foreign = strangers_of(strangers) if strangers else []
    async with open_embedder(read_settings().embedding) as embedder:
        vectors = CachedVectors(embedder, cache)
        matrix = await vectors.of(passages)
        own = signals(
            [item.question for item in asked], await vectors.of_questions([i.question for i in asked]), passages, matrix
        )
        others: dict[str, Signals] = {}
        if foreign:
            others["strangers"] = signals(foreign, await vectors.of_questions(foreign), passages, matrix)
        for path in sets:
            for folder in find_datasets(path):
                dataset = read_dataset(folder, path)
                others[f"own, {dataset.name}"] = await signals_of(dataset, vectors)
    answerable = np.array([item.answerable for item in asked])
    held_out = np.array([is_held_out(item.id) for item in asked])
    choice = choose(own.of(~held_out), answerable[~held_out])
    lines = table(own.of(held_out), answerable[held_out], others, choice)
    ranks = areas(own, answerable, held_out)
    note = (
        f"{held_out.sum()} questions ({(~answerable[held_out]).sum()} unanswerable) over {len(passages)} passages; the "
        f"choice was made on the other {(~held_out).sum()}. How well a signal orders answerable before unanswerable "
        "questions (area under the ROC curve; 0.5 is chance): " + ", ".join(f"{n} {v:.3f}" for n, v in ranks.items())
    )
    return "\n".join(lines) + f"\n\n{note}."


def read(path: Path) -> tuple[list[Asked], list[str]]:
    """The questions, and all passages once.

    Raises:
        InvalidInput: the file is not there, or holds something else.
    """
    try:
        rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        asked = [Asked(str(row["id"]), str(row["question"]), bool(row["answerable"])) for row in rows]
        return asked, sorted({str(passage) for row in rows for passage in row["passages"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{str(path)!r} is no file of questions: give JSON lines with id, question, passages and answerable."
        ) from error


def strangers_of(path: Path) -> list[str]:
    """The questions of the sets at the path."""
    return [text for folder in find_datasets(path) for text in read_dataset(folder, path).queries.values()]


def is_held_out(question: str) -> bool:
    """Whether a question is one of those that are reported and not chosen by: by its id, the same ones every time."""
    return hashlib.sha256(question.encode()).digest()[0] % 2 == 0


def signals(questions: Sequence[str], asked: NDArray[np.float32], passages: Sequence[str], matrix: Any) -> Signals:
    """What the assistant would go by, for each question."""
    cosines = asked @ np.asarray(matrix).T
    nearest = np.argsort(-cosines, axis=1)[:, :PASSAGES]
    words = [
        any(is_relevant(hit(passages[p]), q, NEVER) for p in row) for q, row in zip(questions, nearest, strict=True)
    ]
    held = [set(content_words(passage)) for passage in passages]
    covered = [max(coverage(content_words(q), held[p]) for p in row) for q, row in zip(questions, nearest, strict=True)]
    return Signals(cosines.max(axis=1).astype(np.float64), np.array(words), np.array(covered))


async def signals_of(dataset: Dataset, vectors: CachedVectors) -> Signals:
    """Of the questions of a set over its own passages, which answer all of them."""
    texts = [chunk_of(passage).embedded_text for passage in dataset.passages]
    questions = list(dataset.queries.values())
    return signals(questions, await vectors.of_questions(questions), texts, await vectors.of(texts))


def hit(text: str) -> Hit:
    """A passage as the search finds it, without a cosine."""
    nobody = uuid.UUID(int=0)
    chunk = Chunk(
        id=ChunkId(nobody), document=DocumentId(nobody), ordinal=0, text=text, digest=b"", start=0, end=len(text)
    )
    return Hit(chunk=chunk, document_name="", collection=CollectionId(nobody), scores=Scores(fused=0))


def choose(own: Signals, answerable: Flags) -> float:
    """The threshold with the highest recall of those that refuse few enough answerable questions."""
    fitting = [t for t in THRESHOLDS if own.not_found(t)[answerable].mean() <= REFUSED]
    return max(fitting, default=THRESHOLDS[0])


def table(own: Signals, answerable: Flags, others: Mapping[str, Signals], choice: float) -> list[str]:
    """A row for each threshold."""
    header = ["cosine", "precision", "recall", "refused (answerable)", *(f"refused ({name})" for name in others)]
    default = RetrievalSettings().min_score
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    for threshold in THRESHOLDS:
        refused = own.not_found(threshold)
        marks = ["the choice"] * (threshold == choice) + ["the default"] * (threshold == default)
        name = f"{threshold:.2f}" + (f" ({', '.join(marks)})" if marks else "")
        shares = [(~answerable)[refused].mean() if refused.any() else np.nan, refused[~answerable].mean()]
        shares += [refused[answerable].mean(), *(other.not_found(threshold).mean() for other in others.values())]
        lines.append(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} |")
    return lines


def areas(own: Signals, answerable: Flags, held_out: Flags) -> dict[str, float]:
    """The area under the ROC curve of each signal on the held-out half; the logistic model is of the other half."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    features = np.stack([own.cosine, own.covered], axis=1)
    model = LogisticRegression()  # type: ignore[no-untyped-call]
    model.fit(features[~held_out], answerable[~held_out])
    found = {
        "cosine": own.cosine,
        "words": own.covered,
        "both, by a logistic model": model.predict_proba(features)[:, 1],  # type: ignore[no-untyped-call]
    }
    return {name: float(roc_auc_score(answerable[held_out], values[held_out])) for name, values in found.items()}
