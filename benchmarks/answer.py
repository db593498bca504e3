"""An answer over the whole API, started as a user starts it, against the same prompt sent to the model server.

    python -m benchmarks.answer

A second model server of the same file gets the same prompts in the same order, so that its prompt cache is in the same
state. Both are asked in turn, and who is first changes with every question. Also measured: the memory of all parts
while documents are read and questions are answered, and the time until a first and a second start are ready.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from langchain_core.messages import convert_to_openai_messages

from benchmarks.installation import Memory, run_installation
from benchmarks.model_server import computed, models_folder, run_model_server
from benchmarks.questions import Task, make_tasks
from benchmarks.report import ROOT, Report, circumstances, median, parser, publish, temporary_folder
from core.domain import Chunk, ChunkId, CollectionId, DocumentId, Hit, Scores
from core.settings import Settings, read_settings
from graphs.decisions import is_relevant
from graphs.prompts import read_prompt
from graphs.rag import answer_messages
from models.catalog import read_catalog

POLL_S = 0.1
TIMEOUT_S = 600.0

Moments = Mapping[str, float]
"""Of one answer: milliseconds until ``first_token``, ``first_sentence`` (verified) and ``end``, milliseconds that the
model computed on ``prompt`` and ``answer``, and the numbers ``prompt_tokens`` and ``answer_tokens``."""


class Pair(NamedTuple):
    """The same question to both sides."""

    product: Moments
    bare: Moments


class Product:
    """The API of a running installation, and the address of its model server."""

    def __init__(self, url: str, key: str, model_url: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)
        self._model_url = model_url

    def upload(self, tasks: Sequence[Task]) -> None:
        """Upload the documents and wait until all can be searched.

        Raises:
            RuntimeError: one of them failed.
        """
        files = [("files", (task.name, task.document.encode())) for task in tasks]
        self.http.post("/documents", files=files).raise_for_status()
        while True:
            answer = self.http.get("/documents", params={"limit": 200}).raise_for_status().json()
            states = [document["status"] for document in answer["documents"]]
            if "failed" in states:
                raise RuntimeError("A document could not be ingested")
            if states == ["indexed"] * len(tasks):
                return
            time.sleep(POLL_S)

    def ask(self, question: str) -> Moments:
        """A run on a thread of its own, streamed.

        Raises:
            RuntimeError: the run failed.
        """
        body = {
            "assistant_id": "rag",
            "input": {"messages": [{"role": "user", "content": question}]},
            "stream_mode": ["messages-tuple", "custom"],
        }
        return timed(self.http, "/runs/stream", body, self._model_url, _event_of_run)


class Bare:
    """A model server, asked as the platform asks it."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)
        self._url = url
        self._chat = settings.chat

    def ask(self, messages: Sequence[Any]) -> Moments:
        """A streamed answer to the messages."""
        body = {
            "model": self._chat.model,
            "messages": messages,
            "temperature": self._chat.temperature,
            "max_completion_tokens": self._chat.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return timed(self._http, "/chat/completions", body, self._url, _event_of_model)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    where = circumstances("answer", arguments)
    options = _arguments(arguments)
    settings = read_settings()
    tasks = make_tasks(options.questions + 1)
    with temporary_folder() as folder:
        models, left = models_folder(folder, options.models_dir, read_catalog().entry(settings.chat.model))
        with run_installation(folder, models) as first:
            key = first.key
        with run_installation(folder, models) as second, run_model_server(settings.chat, models) as bare_url:
            memory = Memory(second.process.pid)
            product = Product(second.url, key, second.model_url())
            with memory.watched():
                product.upload(tasks)
                pairs = ask_all(product, Bare(bare_url, settings), settings, tasks)
    reports = [answers(pairs), memory_of(memory), started(first.ready_s, second.ready_s, left)]
    publish(reports, where, options)
    return 0


def ask_all(product: Product, bare: Bare, settings: Settings, tasks: Sequence[Task]) -> list[Pair]:
    """Each question to both sides; the first one warms both up and does not count.

    Raises:
        RuntimeError: the two sides were not sent the same prompt.
    """
    prompts = [prompt_of(product.http, settings, task.question) for task in tasks]
    pairs = []
    for number, (task, prompt) in enumerate(zip(tasks, prompts, strict=True)):
        theirs = bare.ask(prompt) if number % 2 else None
        ours = product.ask(task.question)
        pair = Pair(ours, theirs or bare.ask(prompt))
        if ours["prompt_tokens"] != pair.bare["prompt_tokens"]:
            raise RuntimeError("The prompts of the two sides differ")
        print(f"{task.question} {ours['end']:.0f} ms, bare {pair.bare['end']:.0f} ms", flush=True)
        pairs.append(pair)
    return pairs[1:]


def prompt_of(http: httpx.Client, settings: Settings, question: str) -> Sequence[Any]:
    """The messages that the graph will send for the question."""
    body = {"query": question, "limit": settings.retrieval.passages}
    found = map(hit_of, http.post("/search", json=body).raise_for_status().json()["hits"])
    hits = [hit for hit in found if is_relevant(hit, question, settings.retrieval.min_score)]
    return list(convert_to_openai_messages(answer_messages(read_prompt("answer"), question, hits)))


def hit_of(found: Mapping[str, Any]) -> Hit:
    """A hit from the wire."""
    chunk = found["chunk"]
    return Hit(
        chunk=Chunk(
            id=ChunkId(UUID(chunk["id"])),
            document=DocumentId(UUID(found["document_id"])),
            digest=b"",
            **{name: chunk[name] for name in ("ordinal", "text", "start", "end", "page", "section")},
        ),
        document_name=found["document_name"],
        collection=CollectionId(UUID(found["collection_id"])),
        scores=Scores(**found["scores"]),
    )


def timed(
    http: httpx.Client,
    path: str,
    body: Mapping[str, Any],
    model_url: str,
    read: Callable[[str, Any], Mapping[str, float] | None],
) -> Moments:
    """Send the request and note what ``read`` sees in the stream: a name alone gets the time at which it came first."""
    before = computed(model_url)
    seen: dict[str, float] = {}
    start = time.perf_counter()
    with http.stream("POST", path, json=body) as response:
        for event, data in events(response.raise_for_status()):
            now = 1000 * (time.perf_counter() - start)
            for name, number in (read(event, data) or {}).items():
                seen.setdefault(name, now if number < 0 else number)
    seen["end"] = 1000 * (time.perf_counter() - start)
    after = computed(model_url)
    return {**seen, "prompt": after.prompt - before.prompt, "answer": after.answer - before.answer}


NOW = -1.0
"""Stands for the time at which it is seen."""


def _event_of_run(event: str, data: Any) -> Mapping[str, float] | None:
    if event == "error":
        raise RuntimeError(f"The run failed: {data}")
    if event == "messages" and data[0]["content"]:
        return {"first_token": NOW}
    if event != "custom":
        return None
    if data["type"] == "answer" and data["text"]:
        return {"first_sentence": NOW}
    return _tokens(data) if data["type"] == "usage" else None


def _event_of_model(_: str, data: Any) -> Mapping[str, float] | None:
    if data["choices"] and data["choices"][0]["delta"].get("content"):
        return {"first_token": NOW}
    return _tokens(data["usage"]) if data.get("usage") else None


def _tokens(usage: Mapping[str, float]) -> Mapping[str, float]:
    return {"prompt_tokens": usage["prompt_tokens"], "answer_tokens": usage["completion_tokens"]}


def events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    """The events of a stream, with their data."""
    event = ""
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data" and value != "[DONE]":
            yield event, json.loads(value)


def answers(pairs: Sequence[Pair]) -> Report:
    """The table of times: medians, and medians of each question's ratios."""

    def line(name: str, sides: Sequence[Moments]) -> list[str]:
        sentence = "first_sentence" if "first_sentence" in sides[0] else "end"
        whole = [median([side[key] for side in sides]) for key in ("first_token", sentence, "end")]
        model = [
            median([side["prompt"] for side in sides]),
            median([side["prompt"] + side["answer"] for side in sides]),
        ]
        around = [median([side["first_token"] - side["prompt"] for side in sides])]
        around += [median([side["end"] - side["prompt"] - side["answer"] for side in sides])]
        return [name, *(f"{value:.0f}" for value in (*whole, *model, *around))]

    def ratio(key: str) -> str:
        return f"**{median([pair.product[key] / pair.bare[key] for pair in pairs]):.2f}**"

    rows = [
        line("Ragstone, `POST /runs/stream`", [pair.product for pair in pairs]),
        line("model server, the same prompt", [pair.bare for pair in pairs]),
        ["ratio", ratio("first_token"), "", ratio("end"), "", "", "", ""],
    ]
    tokens = [median([pair.product[f"{name}_tokens"] for pair in pairs]) for name in ("prompt", "answer")]
    return Report(
        section="answer",
        header=[
            "milliseconds",
            "first token",
            "first verified sentence",
            "end",
            "model: prompt",
            "model: all",
            "around it: first token",
            "around it: end",
        ],
        rows=rows,
        notes=[f"{len(pairs)} questions, medians; {tokens[0]:.0f} tokens of prompt, {tokens[1]:.0f} of answer."],
        figures=[pair._asdict() for pair in pairs],
    )


def memory_of(memory: Memory) -> Report:
    """The table of the peaks."""
    order = sorted(memory.pss, key=lambda name: -memory.pss[name])
    return Report(
        section="memory",
        header=["MiB", "PSS", "RSS"],
        rows=[[name, f"{memory.pss[name]:.0f}", f"{memory.rss[name]:.0f}"] for name in order],
        notes=["Peaks, once a second; each part's peak has its own moment. The user interface had no visitor."],
        figures={"pss": memory.pss, "rss": memory.rss},
    )


def started(first_s: float, second_s: float, left: str) -> Report:
    """The table of the starts."""
    beside = f"first, which also makes the database{f' and {left}' if left else ''}"
    return Report(
        section="start",
        header=["start", "seconds until ready"],
        rows=[[beside, f"{first_s:.1f}"], ["second", f"{second_s:.1f}"]],
        figures={"first_s": first_s, "second_s": second_s, "left": left},
    )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("answer", "An answer against the model server, memory, and the time of a start.")
    made.add_argument("--questions", type=int, default=16, help="default: %(default)s")
    default = Path(os.environ.get("MODELS_DIR") or ROOT / ".data" / "models")
    made.add_argument("--models-dir", type=Path, default=default, help="default: MODELS_DIR, or .data/models")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
