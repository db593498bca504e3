"""The evaluation set of Chroma's report on chunking: five corpora, and questions with the excerpts that answer them.

``corpora/*.md`` and ``questions_df.csv`` of github.com/brandonstarxel/chunking_evaluation (MIT).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidInput
from evals.chunking_metrics import Stretch

CORPORA, QUESTIONS = "corpora", "questions_df.csv"


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the stretches of text that answer it."""

    text: str
    gold: Sequence[Stretch]


@dataclass(frozen=True, slots=True)
class ChunkingSet:
    """The text of each corpus by its name, and the questions."""

    corpora: Mapping[str, str]
    questions: Sequence[Question]


def read_chunking_set(folder: Path) -> ChunkingSet:
    """Read the set.

    Raises:
        InvalidInput: the folder does not hold it.
    """
    table = folder / QUESTIONS
    if not table.is_file() or not (folder / CORPORA).is_dir():
        raise InvalidInput(
            f"{str(folder)!r} holds no chunking set: give a folder with {QUESTIONS} and {CORPORA}/*.md, which are in "
            "chunking_evaluation/evaluation_framework/general_evaluation_data of "
            "https://github.com/brandonstarxel/chunking_evaluation"
        )
    corpora = {path.stem: path.read_text("utf-8") for path in sorted((folder / CORPORA).glob("*.md"))}
    with table.open(encoding="utf-8", newline="") as file:
        questions = [
            Question(row["question"], _gold(row["corpus_id"], json.loads(row["references"])))
            for row in csv.DictReader(file)
        ]
    return ChunkingSet(corpora, questions)


def _gold(corpus: str, references: Sequence[Mapping[str, int]]) -> list[Stretch]:
    return [Stretch(corpus, int(one["start_index"]), int(one["end_index"])) for one in references]
