"""A few labelled questions about three towns, each an article."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from models.training.questions import LABELLED

TOWNS = ("Kerzenfels", "Ravnholm", "Aldermoor")
MEASURED = "The bridge of Ravnholm was opened in 1904 by the queen herself on a wet morning."
FACTS = (
    (
        "When was the bridge of {} opened?",
        "The bridge of {} was opened in 1904 by the queen herself on a wet morning.",
    ),
    ("What is baked in {}?", "In {} they bake a dark bread with caraway, which keeps for a week."),
    ("Who is the mayor of {}?", "The mayor of {} is Jonas Ravn, who mends nets in his spare time."),
    ("How many people live in {}?", "{} has four thousand inhabitants, most of whom work at the harbour."),
)


def write_data(folder: Path) -> None:
    """Each question with the passage that answers it, and with one of the same town that does not."""
    rows = []
    for town in TOWNS:
        passages = [passage.format(town) for _, passage in FACTS]
        for place, (question, _) in enumerate(FACTS):
            for passage, relevant in ((passages[place], "yes"), (passages[place - 1], "no")):
                text = question.format(town)
                rows.append({"source": "towns", "question": text, "passage": passage, "relevant": relevant})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LABELLED).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_set(folder: Path, *, passages: Sequence[str], queries: Sequence[str]) -> None:
    """A retrieval set in BEIR layout, without judgements."""
    folder.mkdir()
    for name, texts in (("corpus", passages), ("queries", queries)):
        rows = [json.dumps({"_id": str(number), "text": text}) for number, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
