"""A thousand turns in one thread, and a thousand threads: memory, connections and tables meanwhile.

    python -m benchmarks.soak
    python -m benchmarks.soak --turns 200 --threads 200 --plot soak.png

A Ragstone process with the graph of `benchmarks.soak_agents` on a PostgreSQL of its own. First one thread takes one run
after the other, then as many threads take a run each, some at once. Measured are the memory of the process (RSS), the
connections that it holds, the time of a run, and the size of every table with its indexes. Memory and connections must
not grow with what was done before; a turn must not cost more the later it comes, but for its own message.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from benchmarks.report import ROOT, Report, circumstances, median, parser, publish, temporary_folder
from benchmarks.soak_agents import ANSWER, NAME
from benchmarks.stream_sides import Ours, open_ours
from core.database import Pool, open_pool
from core.settings import DatabaseSettings

IMAGE = ROOT / "docs" / "images" / "soak.png"
LOOKS = 40
"""So often is looked at each part of it."""
AT_ONCE = 10
QUESTION = "Who looks after the lamp of the harbour, and for how long? " * 2
TABLES = """
SELECT relname AS name, pg_total_relation_size(oid)::bigint AS bytes FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
CONNECTIONS = """
SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'soak'
"""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was there after so many runs: MiB of the process, connections, milliseconds of a run since, bytes."""

    runs: int
    rss: float
    connections: int
    run_ms: float
    tables: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Course:
    """One part of it, from before its first run to after its last."""

    name: str
    looks: list[Look]

    def grown(self, table: str, start: float, end: float) -> float:
        """Bytes that a run added to a table, between two shares of the way."""
        first, last = (self.looks[round(share * (len(self.looks) - 1))] for share in (start, end))
        return (last.tables.get(table, 0) - first.tables.get(table, 0)) / (last.runs - first.runs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, plot and print."""
    where = circumstances("soak", arguments)
    options = _arguments(arguments)
    with temporary_folder() as folder, open_ours(folder, "benchmarks.soak_agents") as ours:
        courses = asyncio.run(soak(ours, options.turns, options.threads))
    plot(courses, options.plot)
    publish([report(courses)], where, options)
    return 0


async def soak(ours: Ours, turns: int, threads: int) -> list[Course]:
    """Both parts."""
    url = f"{ours.database}&application_name=soak"
    settings = DatabaseSettings.model_validate({"url": url, "pool_min": 1})
    async with get_client(url=ours.url, api_key=ours.key) as sdk, open_pool(settings) as pool:
        await ask(sdk, str((await sdk.threads.create())["thread_id"]))
        one = str((await sdk.threads.create())["thread_id"])
        course = [await take_part("turns of one thread", ours, pool, turns, sdk, one)]
        return [*course, await take_part("threads", ours, pool, threads, sdk, None)]


async def take_part(name: str, ours: Ours, pool: Pool, runs: int, sdk: LangGraphClient, thread: str | None) -> Course:
    """So many runs, on one thread or each on its own, with a look before, meanwhile and after."""
    looks = [await look(ours, pool, 0, 0.0)]
    step = max(1, runs // LOOKS)
    for done in range(step, runs + 1, step):
        begun = time.perf_counter()
        if thread is not None:
            for _ in range(step):
                await ask(sdk, thread)
        else:
            gate = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*[ask_alone(sdk, gate) for _ in range(step)])
        looks.append(await look(ours, pool, done, 1000 * (time.perf_counter() - begun) / step))
        print(f"{name}: {done}, {looks[-1].rss:.0f} MiB, {looks[-1].run_ms:.0f} ms a run", flush=True)
    return Course(name=name, looks=looks)


async def ask_alone(sdk: LangGraphClient, gate: asyncio.Semaphore) -> None:
    """A run on a thread of its own, which stays."""
    async with gate:
        thread = str(uuid.uuid4())
        await sdk.threads.create(thread_id=thread)
        await ask(sdk, thread)


async def ask(sdk: LangGraphClient, thread: str) -> None:
    """A run that is streamed to its end.

    Raises:
        RuntimeError: it does not answer.
    """
    question: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}]}
    answered = False
    async for part in sdk.runs.stream(thread, NAME, input=question, stream_mode="updates"):
        answered |= part.event == "updates" and part.data["answer"]["messages"][-1]["content"] == ANSWER
    if not answered:
        raise RuntimeError(f"A run of thread {thread} gave no answer")


async def look(ours: Ours, pool: Pool, runs: int, run_ms: float) -> Look:
    """What is there now."""
    async with pool.connection() as connection:
        tables = await (await connection.execute(TABLES.encode())).fetchall()
        row = await (await connection.execute(CONNECTIONS.encode())).fetchone()
    assert row is not None
    return Look(
        runs=runs,
        rss=psutil.Process(ours.pid).memory_info().rss / 2**20,
        connections=row["n"],
        run_ms=run_ms,
        tables={row["name"]: row["bytes"] for row in tables},
    )


def biggest(courses: Sequence[Course], number: int = 6) -> list[str]:
    """The tables that grew most."""
    names = {name for course in courses for name in course.looks[-1].tables}
    return sorted(names, key=lambda name: -max(course.grown(name, 0, 1) for course in courses))[:number]


def plot(courses: Sequence[Course], path: Path) -> None:
    """Draw both parts side by side."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(4, len(courses), figsize=(10, 11), sharex="col", layout="constrained")
    for column, course in enumerate(courses):
        runs = [look.runs for look in course.looks]
        lines: list[tuple[str, list[float]]] = [
            ("memory (MiB)", [look.rss for look in course.looks]),
            ("connections", [look.connections for look in course.looks]),
            ("a run (ms)", [look.run_ms for look in course.looks]),
        ]
        for axis, (name, values) in zip(axes[:, column], lines, strict=False):
            axis.plot(runs[1:], values[1:])
            axis.set_ylim(0, 1.3 * max(values))
            axis.set_ylabel(name)
        for table in biggest(courses):
            axes[3, column].plot(runs, [look.tables.get(table, 0) / 2**20 for look in course.looks], label=table)
        axes[3, column].set_ylabel("tables (MiB)")
        axes[3, column].set_xlabel(course.name)
        axes[3, column].legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def report(courses: Sequence[Course]) -> Report:
    """At the start, in the middle and at the end; and what a run adds to the tables early and late."""
    header = ["", "", "at the start", "in the middle", "at the end"]
    rows = []
    for course in courses:
        parts = [course.looks[1:6], middle(course.looks), course.looks[-5:]]
        rows += [
            [course.name, "memory (MiB)", *[f"{median([look.rss for look in part]):.0f}" for part in parts]],
            ["", "connections", *[f"{median([look.connections for look in part]):.0f}" for part in parts]],
            ["", "a run (ms)", *[f"{median([look.run_ms for look in part]):.0f}" for part in parts]],
        ]
        thirds = ((0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1))
        for table in biggest(courses):
            grown = [f"{course.grown(table, start, end):.0f}" for start, end in thirds]
            rows.append(["", f"`{table}`, bytes for each run", *grown])
    done = " and ".join(f"{course.looks[-1].runs} {course.name}" for course in courses)
    note = (
        f"{done}, {AT_ONCE} threads at once; a turn is a question of {len(QUESTION)} characters and an answer of "
        f"{len(ANSWER)}. Tables are counted with their indexes and with what is not vacuumed yet."
    )
    return Report(
        section="soak",
        header=header,
        rows=rows,
        notes=[note],
        figures=[asdict(course) for course in courses],
    )


def middle(looks: Sequence[Look]) -> Sequence[Look]:
    """Five looks of the middle."""
    place = len(looks) // 2
    return looks[place - 2 : place + 3]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("soak", "A thousand turns in one thread, and a thousand threads.")
    made.add_argument("--turns", type=int, default=1000, help="default: %(default)s")
    made.add_argument("--threads", type=int, default=1000, help="default: %(default)s")
    made.add_argument("--plot", type=Path, default=IMAGE, metavar="FILE", help="default: docs/images/soak.png")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
