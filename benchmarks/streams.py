"""Streams of runs against the neighbours: the same graph, whose model speaks at a fixed pace, on four servers.

    python -m benchmarks.streams
    python -m benchmarks.streams --levels 1 10 --turns 1 --only Ragstone

Ragstone stores every event and state before it shows it. aegra-api stores them in PostgreSQL too, langgraph-api is run
in memory (`langgraph dev`), and a bare FastAPI endpoint streams `graph.astream` and stores nothing: what is between it
and Ragstone is the price of durable runs. Each of the others is installed into an environment of its own, in the user's
cache folder, the first time. The readers are a process of their own (`benchmarks/stream_client.py`) that starts as many
streams at once as the level says, each followed by the next. The servers take turns; a fresh one is started for each
turn, is warmed up, and is the only one that runs. Processor time is that of the server with its PostgreSQL.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psutil

from benchmarks.processor import processor_seconds
from benchmarks.report import ROOT, Report, circumstances, parser, percentile, publish, temporary_folder
from benchmarks.stream_graph import NAME, PAUSE_S, TOKENS, WORDS
from benchmarks.stream_sides import SIDES, Running, Side, Unable

ROUNDS = {1: 20, 10: 10, 50: 4, 200: 2}
"""How many runs each reader starts at a level."""
WARM_UP = (4, 5)
SETTLE_S = 0.5


class Level(NamedTuple):
    """What one server did at one level in one turn; ``processor`` in seconds, of the server and of the readers."""

    users: int
    runs: int
    seconds: float
    processor: float
    client_processor: float
    first_ms: list[float]
    whole_ms: list[float]
    failed: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a run of ours failed."""
    where = circumstances("streams", arguments)
    options = _arguments(arguments)
    sides = [side for side in SIDES if not options.only or side.name in options.only]
    measured: dict[str, list[Level]] = {side.name: [] for side in sides}
    unable: dict[str, str] = {}
    notes: dict[str, str] = {}
    for turn in range(options.turns):
        for side in [*sides[turn % len(sides) :], *sides[: turn % len(sides)]]:
            if side.name in unable:
                continue
            try:
                note, levels = take_turn(side, options.levels)
            except Unable as error:
                unable[side.name] = str(error)
                print(f"{side.name}: {error}", file=sys.stderr, flush=True)
                continue
            measured[side.name] += levels
            notes[side.name] = note
    publish([report(measured, unable, notes, options)], where, options)
    ours = measured.get(SIDES[0].name, [])
    return 1 if any(level.failed for level in ours) or SIDES[0].name in unable else 0


def take_turn(side: Side, levels: Sequence[int]) -> tuple[str, list[Level]]:
    """A server from its start to its end: each level, lowest first; and what is to be said of how it was started.

    Raises:
        Unable: it cannot be installed or started.
    """
    made = []
    with temporary_folder() as folder, side.open(folder) as server:
        read(server, *WARM_UP)
        for users in levels:
            level = read(server, users, rounds_of(users))
            made.append(level)
            first = f"{percentile(level.first_ms, 50):.0f} ms" if level.first_ms else "none"
            print(
                f"{side.name}, {users} streams: first token {first}, {level.runs / level.seconds:.1f} runs/s, "
                f"{len(level.failed)} failed {level.failed[:1]}",
                flush=True,
            )
    return server.note, made


def rounds_of(users: int) -> int:
    """How many runs each of so many readers starts."""
    return ROUNDS.get(users, max(2, 200 // users))


def read(server: Running, users: int, rounds: int) -> Level:
    """Let the readers read; the processor's time is that of all processes below this one but the readers'.

    Raises:
        Unable: the readers' threads cannot be made.
    """
    job = [server.url, server.headers, NAME, users, rounds, "".join(WORDS)]
    names = ("url", "headers", "assistant", "users", "rounds", "expected")
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stream_client"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(json.dumps(dict(zip(names, job, strict=True))) + "\n")
        client.stdin.flush()
        if client.stdout.readline().strip() != "ready":
            raise Unable("it makes no threads")
        before = spent_by_servers(client.pid)
        client.stdin.write("go\n")
        client.stdin.flush()
        told: dict[str, Any] = json.loads(client.stdout.readline())
        # What is stored after the last byte was sent counts too.
        time.sleep(SETTLE_S)
        spent = spent_by_servers(client.pid) - before
    return Level(users=users, runs=len(told["first_ms"]), processor=spent, **told)


def spent_by_servers(client: int) -> float:
    """Processor seconds of all processes below this one but the readers', with those that have ended."""
    return processor_seconds(psutil.Process().children(recursive=True), but=client)


def report(
    measured: dict[str, list[Level]], unable: dict[str, str], notes: dict[str, str], options: argparse.Namespace
) -> Report:
    """A row for each server and level."""
    rows = [
        row(name, users, [level for level in levels if level.users == users])
        for users in options.levels
        for name, levels in measured.items()
        if name not in unable
    ]
    tokens = f"{TOKENS} tokens, one every {1000 * PAUSE_S:.0f} ms"
    said = f"One node, {tokens}; {options.turns} turns of each server, so many runs of each reader: " + ", ".join(
        f"{rounds_of(users)} at {users}" for users in options.levels
    )
    failures = [
        f"{name}, {level.users} streams: {level.failed[0]}"
        for name, levels in measured.items()
        for level in levels
        if level.failed
    ]
    return Report(
        section="streams",
        header=["", "streams", "first token p50 (ms)", "p95 (ms)", "runs/s", "processor per token (µs)", "failed"],
        rows=rows,
        notes=[f"{said}. {' '.join(note for note in notes.values() if note)}".strip()]
        + [f"{name} was not measured: {why}." for name, why in unable.items()]
        + [f"A failure: {text}" for text in dict.fromkeys(failures)],
        figures={name: [level._asdict() for level in levels] for name, levels in measured.items()} | {"unable": unable},
    )


def row(name: str, users: int, levels: Sequence[Level]) -> list[str]:
    """All turns of a server at a level together."""
    first = [value for level in levels for value in level.first_ms]
    runs = sum(level.runs for level in levels)
    failed = sum(len(level.failed) for level in levels)
    if not runs:
        return [name, str(users), "", "", "", "", str(failed)]
    processor = sum(level.processor for level in levels)
    return [
        name,
        str(users),
        f"{percentile(first, 50):.0f}",
        f"{percentile(first, 95):.0f}",
        f"{runs / sum(level.seconds for level in levels):.1f}",
        f"{1e6 * processor / runs / TOKENS:.0f}",
        str(failed),
    ]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("streams", "Streams of runs on Ragstone, aegra, langgraph-api and a bare endpoint.")
    made.add_argument("--levels", type=int, nargs="+", default=list(ROUNDS), help="streams at once")
    made.add_argument("--turns", type=int, default=2, help="of each server; default: %(default)s")
    made.add_argument("--only", nargs="+", choices=[side.name for side in SIDES], help="not the others")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
