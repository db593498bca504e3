"""Which quantisation of a chat model is the better default: its speed, and how well it reads three passages.

    python -m benchmarks.chat_models --models-dir .data/models --data grounded_qa.jsonl

Speed is measured in rounds over all variants, so that a machine that is busy for a while is so for each of them, and
the best of each counts. Tokens per second of processor time are given beside those per second: they hardly depend on
what else the machine does. Each line of the data: question, passages, answer, answerable.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import psutil

from models.catalog import CatalogEntry, Quantisation, read_catalog
from models.serving.fetch import prepare
from models.serving.progress import Progress
from models.serving.server import ServerOptions, start

SYSTEM = "Answer the question from the passages, in as few words as possible."
PROMPT_CHARACTERS = 2300
LONGEST_PASSAGES = 1800
VARIANTS: tuple[Quantisation | None, ...] = (None, "Q4_0", "Q8_0")


@dataclass
class Variant:
    """A file and what was measured of it; speeds are in tokens per second, ``cpu`` in tokens per processor second."""

    name: str
    path: Path
    prompt: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    prompt_cpu: list[float] = field(default_factory=list)
    decode_cpu: list[float] = field(default_factory=list)
    f1: float | None = None


class Client:
    """A running server, and the processor time that it has taken."""

    def __init__(self, url: str, pid: int) -> None:
        self._http = httpx.Client(base_url=url, timeout=600)
        self._process = psutil.Process(pid)

    def cpu(self) -> float:
        """Processor seconds so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def ask(self, text: str, max_tokens: int, **more: Any) -> dict[str, Any]:
        """The server's answer, with llama.cpp's timings."""
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        body = {"messages": messages, "max_tokens": max_tokens, "temperature": 0, **more}
        answer: dict[str, Any] = self._http.post("/chat/completions", json=body).raise_for_status().json()
        return answer


def main() -> int:
    """Measure and print a table; 1 when the data is absent."""
    arguments = _arguments()
    if not arguments.data.is_file():
        print(f"There is no data at {str(arguments.data)!r}: nothing was measured", file=sys.stderr)
        return 1
    questions = read_questions(arguments.data, arguments.questions)
    catalog = read_catalog()
    variants = list(_variants(catalog.entry(arguments.model or catalog.default), arguments.models_dir))
    for _ in range(arguments.rounds):
        for variant in variants:
            with serve(variant.path, arguments.threads) as client:
                measure_speed(variant, client, as_prompt(questions[0]))
    for variant in variants if questions else []:
        with serve(variant.path, arguments.threads) as client:
            variant.f1 = quality(client, questions)
    print_table(variants, len(questions))
    return 0


def read_questions(path: Path, limit: int) -> list[dict[str, Any]]:
    """Answerable questions with short passages, spread over the file."""
    with path.open(encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["answerable"] and _length(row) <= LONGEST_PASSAGES]
    return rows[:: max(1, len(rows) // limit)][:limit]


def as_prompt(row: dict[str, Any]) -> str:
    """The passages and the question."""
    passages = "\n\n".join(f"[{n}] {passage}" for n, passage in enumerate(row["passages"], 1))
    return f"{passages}\n\nQuestion: {row['question']}"


@contextmanager
def serve(path: Path, threads: int) -> Iterator[Client]:
    """Serve a file in a child process, as the product does."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    options = ServerOptions(name="measured", path=path, threads=threads, slots=1, context=2048)
    process = context.Process(target=_serve, args=(options, theirs), daemon=True)
    process.start()
    try:
        yield Client(ours.recv(), process.pid or 0)
    finally:
        process.kill()
        process.join()


def measure_speed(variant: Variant, client: Client, text: str) -> None:
    """Read a prompt of about 500 tokens, then write 60 tokens behind it."""
    # What differs comes first, so that the prompt cache has nothing of it.
    text = f"{time.time()} " + (text * 3)[:PROMPT_CHARACTERS]
    for limit, speeds, cpu, name in (
        (1, variant.prompt, variant.prompt_cpu, "prompt"),
        (60, variant.decode, variant.decode_cpu, "predicted"),
    ):
        before = client.cpu()
        timings = client.ask(text, limit, ignore_eos=True)["timings"]
        speeds.append(timings[f"{name}_per_second"])
        cpu.append(timings[f"{name}_n"] / (client.cpu() - before))


def quality(client: Client, questions: list[dict[str, Any]]) -> float:
    """Mean F1 of the answers' words against the true answers' (SQuAD's measure)."""
    scores = []
    for row in questions:
        answer = client.ask(as_prompt(row), 24)["choices"][0]["message"]["content"]
        scores.append(f1(answer, row["answer"]))
    return sum(scores) / len(scores)


def f1(answer: str, truth: str) -> float:
    """The harmonic mean of precision and recall of words, without case, punctuation and articles."""
    ours, theirs = _words(answer), _words(truth)
    common = sum((ours & theirs).values())
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0


def print_table(variants: list[Variant], questions: int) -> None:
    """Print what was measured, as Markdown."""
    best: Callable[[list[float]], str] = lambda values: f"{max(values):.0f}" if values else "-"  # noqa: E731
    print(f"| | MB | prompt/s | decode/s | prompt/cpu-s | decode/cpu-s | F1 ({questions} questions) |")
    print("|---|---|---|---|---|---|---|")
    for v in variants:
        speeds = " | ".join(map(best, (v.prompt, v.decode, v.prompt_cpu, v.decode_cpu)))
        quality = "-" if v.f1 is None else f"{v.f1:.3f}"
        print(f"| {v.name} | {v.path.stat().st_size // 10**6} | {speeds} | {quality} |")


def _variants(entry: CatalogEntry, folder: Path) -> Iterator[Variant]:
    for quantisation in VARIANTS:
        other = entry.model_copy(update={"quantisation": quantisation})
        yield Variant(quantisation or "as published", prepare(other, folder, Progress()))


def _serve(options: ServerOptions, ready: Connection) -> None:
    server, url = start(options)
    ready.send(url)
    while server:
        time.sleep(60)


def _words(text: str) -> Counter[str]:
    words = re.findall(r"\w+", text.lower())
    return Counter(word for word in words if word not in {"a", "an", "the"})


def _length(row: dict[str, Any]) -> int:
    return sum(map(len, row["passages"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chat_models")
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="JSON lines: question, passages, answer, answerable")
    parser.add_argument("--model", help="name in the catalog; the default one when left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
