"""The model card of a trained reranker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from models.training.recipe import Recipe

CARD = """---
license: {licence}
language: en
base_model: sentence-transformers/all-MiniLM-L6-v2
pipeline_tag: text-ranking
library_name: sentence-transformers
---

# A reranker from all-MiniLM-L6-v2

A cross-encoder with one output: how well a passage answers a question. Use it with `RERANKER__MODEL=FOLDER`.

## Data and licence

Trained on {examples} pairs of question and passage from {sources}, with negatives mined by BM25 and by vectors of
the base model. {dropped} passages were left out because they overlap with a set that it is evaluated on. The base model
is under Apache-2.0, the data under {licence}, and this model with them.

## Training

`{command}`

{steps} of {of_steps} steps, with this recipe:

```yaml
{recipe}```

## Figures

On {questions} questions about articles that were held out, over the 10 passages that the base model's vectors found:
MRR@10 {before:.3f} in the order of the vectors, {after:.3f} in the order of this model.
"""


@dataclass(frozen=True, slots=True)
class Run:
    """How a model was made."""

    command: str
    recipe: Recipe
    sources: Sequence[str]
    dropped: int
    examples: int


@dataclass(frozen=True, slots=True)
class Figures:
    """MRR@10 on held-out questions in the order of the vectors and in the model's, after so many steps."""

    steps: int
    of_steps: int
    questions: int
    before: float
    after: float


def write_card(run: Run, figures: Figures, out: Path) -> None:
    """Write the card into the model's folder."""
    text = CARD.format(
        licence=run.recipe.licence,
        examples=run.examples,
        sources=", ".join(run.sources),
        dropped=run.dropped,
        command=run.command,
        steps=figures.steps,
        of_steps=figures.of_steps,
        recipe=yaml.safe_dump(run.recipe.model_dump(), sort_keys=False),
        questions=figures.questions,
        before=figures.before,
        after=figures.after,
    )
    (out / "README.md").write_text(text, "utf-8")
