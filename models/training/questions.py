"""Labelled questions and passages, without what evaluations are made of, divided by article."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InvalidInput

LABELLED = "relevance_yes_no.jsonl"
SHINGLE = 8
"""Words in a row that two passages must not share."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the passages that answer it, and those of its article that were judged not to."""

    text: str
    answers: tuple[str, ...]
    refused: tuple[str, ...]
    article: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """What is left of the data: ``dropped`` passages overlapped with an evaluation."""

    questions: Sequence[Question]
    sources: Sequence[str]
    dropped: int

    @property
    def passages(self) -> list[str]:
        """Each passage once, in the order of the questions."""
        texts = (text for question in self.questions for text in (*question.answers, *question.refused))
        return list(dict.fromkeys(texts))


def read_labelled(folder: Path, exclude: Sequence[Path]) -> Labelled:
    """Read the labelled pairs of a folder; ``exclude`` are retrieval sets in BEIR layout that are measured on.

    A passage goes when it shares eight words in a row with a passage of such a set, a question when such a set asks it.

    Raises:
        InvalidInput: a file is missing or malformed, or nothing is left.
    """
    rows = list(_rows(folder / LABELLED, "question", "passage", "relevant", "source"))
    foreign: set[tuple[str, ...]] = set()
    asked: set[tuple[str, ...]] = set()
    for path in exclude:
        foreign |= {shingle for row in _rows(path / "corpus.jsonl", "text") for shingle in shingles(row["text"])}
        asked |= {words(row["text"]) for row in _rows(path / "queries.jsonl", "text")}
    texts = {row["passage"] for row in rows}
    kept = {text for text in texts if foreign.isdisjoint(shingles(text))}
    articles = articles_of([(row["question"], row["passage"]) for row in rows])
    questions = [
        Question(question, tuple(answers), tuple(refused), articles[question])
        for question, (answers, refused) in _grouped(row for row in rows if row["passage"] in kept).items()
        if answers and words(question) not in asked
    ]
    if not questions:
        raise InvalidInput(f"{str(folder / LABELLED)!r} holds no question with an answer that may be trained on.")
    return Labelled(questions, sorted({row["source"] for row in rows}), len(texts) - len(kept))


def articles_of(pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    """A number for each question's article: all that is linked by questions and passages is one article.

    The refused passages of a question are of the article that answers it, so an article's passages hang together.
    """
    parents: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parents.setdefault(node, node) != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for question, passage in pairs:
        parents[root(("question", question))] = root(("passage", passage))
    numbers: dict[tuple[str, str], int] = {}
    return {
        text: numbers.setdefault(root((kind, text)), len(numbers)) for kind, text in list(parents) if kind == "question"
    }


def divide(questions: Sequence[Question], held_out: float, seed: int) -> tuple[list[Question], list[Question]]:
    """Questions to train on, and those of the articles that are kept for the evaluation: at least one article each.

    Raises:
        InvalidInput: there are fewer than two articles.
    """
    articles = sorted({question.article for question in questions})
    if len(articles) < 2:
        raise InvalidInput("The labelled questions are all of one article: there is nothing to hold out.")
    mixed = random.Random(seed)  # noqa: S311 (the same each time)
    mixed.shuffle(articles)
    kept = set(articles[: min(len(articles) - 1, max(1, round(held_out * len(articles))))])
    shuffled = mixed.sample(list(questions), len(questions))
    return [each for each in shuffled if each.article not in kept], [each for each in shuffled if each.article in kept]


def words(text: str) -> tuple[str, ...]:
    """The words of a text, in lower case."""
    return tuple(re.findall(r"\w+", text.lower()))


def shingles(text: str) -> set[tuple[str, ...]]:
    """Each eight words in a row; a shorter text as a whole."""
    found = words(text)
    return {found[start : start + SHINGLE] for start in range(max(1, len(found) - SHINGLE + 1))}


def _grouped(rows: Iterable[dict[str, Any]]) -> dict[str, tuple[list[str], list[str]]]:
    groups: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for row in rows:
        groups[row["question"]][row["relevant"] != "yes"].append(row["passage"])
    return groups


def _rows(path: Path, *fields: str) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                yield {field: str(row[field]) for field in fields}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{str(path)!r} cannot be read ({type(error).__name__}: {error}).") from error
