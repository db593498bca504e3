"""Processes and the database killed under runs whose tools have effects; and what is there afterwards.

    python -m benchmarks.run_faults
    python -m benchmarks.run_faults --kills 100 --restarts 20 --seed 7

Three Ragstone processes (see `benchmarks.nursery`) share a PostgreSQL: one serves the API, one executes runs, one does
both. Readers use either API by the stock client. At random moments a process gets `kill -9`, with the streams that it
serves and the runs that it executes, and is started again; or PostgreSQL is ended and started again, in order or by
`kill -9`. Afterwards every run must have ended, and once; each effect must have happened at most once, whoever
repeated the step; the events of a run must have no gap; every reader must have seen each of them, once; and every
thread must take a further run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.keys import create_key
from benchmarks.fault_load import Load, Seen
from benchmarks.fault_site import Database, Site, Sites
from benchmarks.fault_site import Role as Place
from benchmarks.nursery import Nursery, open_nursery
from benchmarks.report import Report, circumstances, parser, publish, temporary_folder
from core.database import Pool, open_pool
from core.domain import Role
from core.settings import DatabaseSettings

STEPS = (2, 8)
WITHIN_S = 1.5
"""A process is killed at most so many seconds after it answers and runs are on their way; a run takes about as long."""
AT_WORK_S = 10.0
SHUTDOWNS = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
"""PostgreSQL's fast and immediate shutdown, and the loss of its first process."""
HISTORY = """
CREATE TABLE run_history (run_id uuid NOT NULL, before text, after text NOT NULL, at timestamptz DEFAULT now());
CREATE FUNCTION note_run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO run_history (run_id, before, after) VALUES (NEW.id, OLD.status, NEW.status); RETURN NEW;
END $$;
CREATE TRIGGER note_run AFTER UPDATE ON runs FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION note_run();
"""
"""Every change of a run's status is kept: an end that was overwritten would leave no trace in the row."""
ACTIVE = ("pending", "running")


@dataclass(kw_only=True)
class Findings:
    """What was found afterwards; the lists and counts from ``unended`` on must be empty or 0."""

    runs: int = 0
    kills: int = 0
    kills_at_work: int = 0
    restarts: int = 0
    takeovers: int = 0
    cuts: int = 0
    steps: int = 0
    effects: int = 0
    unknown: int = 0
    events: int = 0
    seconds: float = 0.0
    unended: list[str] = field(default_factory=list)
    ended_again: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    repeated_effects: list[str] = field(default_factory=list)
    lost_effects: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    misread: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    stuck: dict[str, str] = field(default_factory=dict)

    @property
    def faultless(self) -> bool:
        """Whether all is as if nothing had been killed."""
        return not any(value for value in asdict(self).values() if isinstance(value, list | dict))


@dataclass(frozen=True, kw_only=True)
class Torment:
    """How often what is killed, under how many readers, and the chance that decides when."""

    kills: int
    restarts: int
    readers: int = 8
    steps: tuple[int, int] = STEPS
    roles: Sequence[Place] = ("api", "worker", "both")
    seed: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, look, print; 1 when something was lost, doubled or stuck."""
    where = circumstances("run_faults", arguments)
    options = _arguments(arguments)
    print(f"seed {options.seed}", flush=True)
    torment = Torment(kills=options.kills, restarts=options.restarts, readers=options.readers, seed=options.seed)
    with temporary_folder() as folder, open_nursery() as nursery:
        found = asyncio.run(run(folder, nursery, torment))
    publish([report(found, options.seed)], where, options)
    return 0 if found.faultless else 1


async def run(folder: Path, nursery: Nursery, torment: Torment) -> Findings:
    """The whole torment below ``folder``, from the main thread."""
    database = Database(folder)
    with database.served():
        return await _run(folder, nursery, database, torment)


async def _run(folder: Path, nursery: Nursery, database: Database, torment: Torment) -> Findings:
    begun = time.monotonic()
    settings = DatabaseSettings.model_validate({"url": database.url, "pool_min": 1})
    async with Sites.opened(folder, nursery, database.url, torment.roles) as sites, open_pool(settings) as pool:
        await sites.start_all()
        key = await create_key(pool, "faults", Role.MEMBER)
        async with pool.connection() as connection:
            await connection.execute(HISTORY.encode(), prepare=False)
        load = Load([site.url for site in sites.all if site.role != "worker"], key, random.Random(torment.seed))
        found = Findings()
        readers = [asyncio.create_task(load.read(torment.steps)) for _ in range(torment.readers)]
        try:
            await inflict(torment, sites, database, pool, found)
            load.stop()
            await asyncio.gather(*readers)
            await look(pool, load, sites.effects, found)
            for seen in load.seen:
                if wrong := await load.answer_again(seen.thread):
                    found.stuck[seen.thread] = wrong
            if not found.faultless:
                tell(sites)
        finally:
            for reader in readers:
                reader.cancel()
            await load.close()
        found.seconds = time.monotonic() - begun
    return found


async def inflict(torment: Torment, sites: Sites, database: Database, pool: Pool, found: Findings) -> None:
    """Kill processes and restart the database, in a random order."""
    chance = random.Random(torment.seed + 1)
    deeds = ["kill"] * torment.kills + ["restart"] * torment.restarts
    chance.shuffle(deeds)
    for number, deed in enumerate(deeds):
        await at_work(pool)
        if deed == "kill":
            site = chance.choice(sites.all)
            await sites.ready(site)
            await asyncio.sleep(chance.random() * WITHIN_S)
            found.kills_at_work += bool(await active(pool))
            kill(site)
            sites.start(site)
            found.kills += 1
        else:
            await asyncio.sleep(chance.random() * WITHIN_S)
            database.restart(chance.choice(SHUTDOWNS))
            found.restarts += 1
        print(f"{number + 1}: {deed}, {found.kills_at_work} kills while runs were active", flush=True)
    for site in sites.all:
        await sites.ready(site)


def tell(sites: Sites) -> None:
    """Print why runs failed, as the processes have it."""
    for site in sites.all:
        text = site.log.read_text("utf-8", "replace")
        for place in [found.start() for found in re.finditer(r"run \S+ failed", text)][:2]:
            print(f"{site.role}: {text[place : place + 6000]}", flush=True)


def kill(site: Site) -> None:
    """`kill -9`, and nothing before it."""
    assert site.process is not None
    site.process.kill()
    site.process.wait(30)


async def at_work(pool: Pool) -> None:
    """Wait until a run is on its way; not for ever, in case the readers wait for something else."""
    deadline = time.monotonic() + AT_WORK_S
    while not await active(pool) and time.monotonic() < deadline:  # noqa: ASYNC110 (the runs are elsewhere)
        await asyncio.sleep(0.02)


async def active(pool: Pool) -> int:
    """How many runs are on their way."""
    return len(await rows(pool, "SELECT id FROM runs WHERE status = ANY(%s)", (list(ACTIVE),)))


async def look(pool: Pool, load: Load, effects: Path, found: Findings) -> None:
    """Compare what the database, the effects and the readers say."""
    runs = {str(row["id"]): row for row in await rows(pool, "SELECT id, thread_id, status, error, attempt FROM runs")}
    found.runs, found.takeovers = len(runs), sum(row["attempt"] for row in runs.values())
    found.unended = [run for run, row in runs.items() if row["status"] in ACTIVE]
    found.failed = {
        run: f"{row['status']} {row['error']}" for run, row in runs.items() if row["status"] not in ("success", *ACTIVE)
    }
    await look_at_ends(pool, found)
    await look_at_effects(pool, load, effects, found)
    stored: dict[str, list[tuple[int, str, str]]] = {run: [] for run in runs}
    for row in await rows(pool, "SELECT run_id, seq, event, data FROM run_events ORDER BY run_id, seq"):
        stored[str(row["run_id"])].append((row["seq"], row["event"], row["data"]))
    found.events = sum(len(events) for events in stored.values())
    found.gaps = [run for run, events in stored.items() if [e[0] for e in events] != [*range(1, len(events) + 1)]]
    for seen in load.seen:
        found.cuts += seen.cuts
        if seen.refused:
            found.refused[seen.thread] = seen.refused
        if seen.run is None:
            found.misread[seen.thread] = "no run"
        elif wrong := misread(seen, stored.get(seen.run, [])):
            found.misread[seen.run] = wrong


async def look_at_ends(pool: Pool, found: Findings) -> None:
    """Each run must have ended once, and nothing may have changed it afterwards."""
    history = await rows(pool, "SELECT run_id, before, after FROM run_history ORDER BY at")
    ends = Counter(str(row["run_id"]) for row in history if row["after"] not in ACTIVE)
    again = {str(row["run_id"]) for row in history if row["before"] not in ACTIVE}
    found.ended_again = sorted(again | {run for run, times in ends.items() if times > 1})


async def look_at_effects(pool: Pool, load: Load, effects: Path, found: Findings) -> None:
    """Each step must have had its effect at most once, and none is lost but those of which nobody knows."""
    lines = effects.read_text("utf-8").splitlines() if effects.exists() else []
    counts = Counter(lines)
    found.effects, found.steps = len(lines), sum(seen.steps for seen in load.seen)
    found.repeated_effects = [line for line, times in counts.items() if times > 1]
    calls = await rows(pool, "SELECT thread_id, tool_call_id, status FROM tool_calls")
    found.unknown = sum(row["status"] == "unknown" for row in calls)
    done = {f"{row['thread_id']} {row['tool_call_id']}" for row in calls if row["status"] == "done"}
    asked = {f"{seen.thread} call-{step}" for seen in load.seen for step in range(seen.steps)}
    known = {f"{row['thread_id']} {row['tool_call_id']}" for row in calls}
    found.lost_effects = sorted((done - counts.keys()) | (asked - known))


def misread(seen: Seen, stored: Sequence[tuple[int, str, str]]) -> str:
    """What is wrong with what a reader saw: every stored event must be there, once and in order."""
    if not seen.ended:
        return "the reader saw no end"
    read = [(number, event) for number, event, _ in seen.events]
    kept = [(str(number), event) for number, event, _ in stored]
    if read == kept:
        return ""
    missing = [event for event in kept if event not in read]
    return f"{len(read)} events read of {len(kept)}, missing {missing[:3]}, read {read[:3]}"


async def rows(pool: Pool, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """The rows of a query, asked again while the database is away."""
    while True:
        try:
            async with pool.connection() as connection:
                return [dict(row) for row in await (await connection.execute(query.encode(), values)).fetchall()]
        except Exception as error:  # retriable() tells them apart
            if not retriable(error):
                raise
            await asyncio.sleep(0.1)


def retriable(error: Exception) -> bool:
    """Whether the error says that the database is away."""
    import psycopg
    from psycopg_pool import PoolTimeout

    return isinstance(error, psycopg.OperationalError | PoolTimeout)


def report(found: Findings, seed: int) -> Report:
    """The table."""
    told = [
        ("runs that did not end", len(found.unended)),
        ("runs that ended twice, or changed after their end", len(found.ended_again)),
        ("runs that ended in an error", len(found.failed)),
        ("effects that happened twice", len(found.repeated_effects)),
        ("effects that are said to be done, and are not there", len(found.lost_effects)),
        ("runs whose event log has a gap", len(found.gaps)),
        ("readers who missed or repeated an event", len(found.misread)),
        ("requests that were refused for good", len(found.refused)),
        ("threads that take no further run", len(found.stuck)),
    ]
    note = (
        f"{found.runs} runs with {found.steps} steps, {found.effects} effects and {found.events} events; "
        f"{found.kills} times `kill -9` (seed {seed}), {found.kills_at_work} of them while runs were active; "
        f"PostgreSQL was ended and started {found.restarts} times; {found.takeovers} runs were taken over, "
        f"{found.cuts} streams were cut and taken up again by hand; of {found.unknown} calls nobody knows whether "
        f"they had their effect; {found.seconds:.0f} s."
    )
    wrong = [
        f"{name}: {list(value.items())[:2] if isinstance(value, dict) else value[:2]}"
        for name, value in asdict(found).items()
        if value and isinstance(value, list | dict)
    ]
    return Report(
        section="run-faults",
        header=["afterwards", "count"],
        rows=[[name, str(count)] for name, count in told],
        notes=[note, *wrong],
        figures=asdict(found) | {"seed": seed},
    )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("run_faults", "kill -9 of processes and restarts of PostgreSQL under runs with effects.")
    made.add_argument("--kills", type=int, default=100, help="of a process; default: %(default)s")
    made.add_argument("--restarts", type=int, default=20, help="of PostgreSQL; default: %(default)s")
    made.add_argument("--readers", type=int, default=8, help="runs at once; default: %(default)s")
    made.add_argument("--seed", type=int, default=random.randrange(10_000))
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
