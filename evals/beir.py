"""Retrieval sets in BEIR layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/*.tsv`` in one folder."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InvalidInput

CORPUS, QUERIES, JUDGEMENTS = "corpus.jsonl", "queries.jsonl", "qrels"
TEST = "test.tsv"
INNER = "beir"
"""A folder of this name gives its set the name of the folder that it lies in."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage of a set. ``title`` is empty where the set has none, or where the text begins with it."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Passages, questions by id, and the grade of each judged passage for each question.

    Only questions that have a relevant passage are kept: the others measure nothing.
    """

    name: str
    passages: Sequence[Passage]
    queries: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]


def find_datasets(path: Path) -> list[Path]:
    """The folders in BEIR layout at and below ``path``, in the order of their names.

    Raises:
        InvalidInput: there is none.
    """
    folders = sorted(corpus.parent for corpus in path.rglob(CORPUS) if (corpus.parent / QUERIES).is_file())
    if not folders:
        raise InvalidInput(
            f"{str(path)!r} holds no retrieval set: give a folder with {CORPUS}, {QUERIES} and {JUDGEMENTS}/*.tsv, or "
            "a folder of such folders."
        )
    return folders


def read_dataset(folder: Path, root: Path) -> Dataset:
    """Read a set; its name is its place below ``root``.

    Raises:
        InvalidInput: a file is missing or malformed.
    """
    try:
        judgements = _judgements(folder)
        return Dataset(
            name=_name(folder, root),
            passages=[_passage(row) for row in _rows(folder / CORPUS)],
            queries={str(row["_id"]): str(row["text"]) for row in _rows(folder / QUERIES) if row["_id"] in judgements},
            judgements=judgements,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{str(folder)!r} is not in BEIR layout ({type(error).__name__}: {error}).") from error


def _passage(row: Mapping[str, Any]) -> Passage:
    title, text = str(row.get("title") or "").strip(), str(row["text"]).strip()
    if not text:
        title, text = "", title
    return Passage(id=str(row["_id"]), title="" if text.startswith(title) else title, text=text)


def _judgements(folder: Path) -> dict[str, dict[str, int]]:
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    files = sorted((folder / JUDGEMENTS).glob("*.tsv"))
    if not files:
        raise FileNotFoundError(f"{JUDGEMENTS}/*.tsv is missing")
    # The other files of a set, train.tsv and dev.tsv, are not for measuring.
    files = [path for path in files if path.name == TEST] or files
    for path in files:
        with path.open(encoding="utf-8", newline="") as lines:
            for query, passage, grade in list(csv.reader(lines, delimiter="\t"))[1:]:
                grades[query][passage] = int(grade)
    return {query: judged for query, judged in grades.items() if any(grade > 0 for grade in judged.values())}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def _name(folder: Path, root: Path) -> str:
    named = folder.parent if folder.name == INNER else folder
    inside = named.relative_to(root) if named != root and named.is_relative_to(root) else None
    return inside.as_posix() if inside else named.resolve().name
