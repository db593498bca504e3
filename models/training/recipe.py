"""What a training run is asked to do."""

from __future__ import annotations

from pathlib import Path

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from core.errors import InvalidInput


class Recipe(BaseModel):
    """The numbers of a training run; equal numbers and data give equal examples, in an equal order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    licence: str = Field("unknown", description="of the data, and so of the model")
    seed: int = 1
    held_out: float = Field(0.2, gt=0, lt=1, description="share of the articles that are kept for the evaluation")
    questions: int = Field(2000, ge=1, description="questions to train on, at most")
    held_out_questions: int = Field(100, ge=1, description="questions to evaluate on, at most")
    negatives: int = Field(3, ge=1, description="mined passages that do not answer, for each question")
    depth: int = Field(20, ge=1, description="how deep in each list negatives are looked for")
    margin: float = Field(
        0.95, gt=0, description="a mined passage closer than this part of the answer's cosine may answer"
    )
    epochs: float = Field(1.0, gt=0)
    batch: int = Field(16, ge=1)
    learning_rate: float = Field(2e-5, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    max_tokens: int = Field(256, ge=16, le=512, description="of question and passage together")
    frozen_layers: int = Field(0, ge=0, description="of the transformer, from below; with them the word embeddings")
    checkpoint_steps: int = Field(25, ge=1)


def read_recipe(path: Path) -> Recipe:
    """A recipe from YAML.

    Raises:
        InvalidInput: the file is missing or says what no recipe says.
    """
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
    except (OSError, yaml.YAMLError, pydantic.ValidationError) as error:
        raise InvalidInput(f"{str(path)!r} is no recipe: {error}") from error
