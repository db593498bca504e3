"""What every benchmark shares: its arguments, its table, and the record of it in docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve")
BUSY_LOAD = 1.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a benchmark found: ``section`` names its place on the page, ``figures`` is what `--json` writes."""

    section: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    figures: Any = None


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """When, where and on what a benchmark ran; made before it starts."""

    command: str
    machine: str
    load: float
    started: str
    commit: str

    def sentence(self) -> str:
        """One line of Markdown; a busy machine is named as such."""
        busy = " (busy: other work took processor time)" if self.load > BUSY_LOAD else ""
        return (
            f"Recorded {self.started} at commit {self.commit} on {self.machine}; "
            f"load before the start {self.load:.1f}{busy}. `{self.command}`"
        )


def parser(name: str, text: str) -> argparse.ArgumentParser:
    """A benchmark's arguments, with those that all have."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=text)
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    made.add_argument("--record", action="store_true", help="also put the table into docs/benchmarks.md")
    return made


def circumstances(name: str, arguments: Sequence[str] | None = None) -> Circumstances:
    """Where we are, before the work begins."""
    given = sys.argv[1:] if arguments is None else arguments
    # Where the figures go says nothing of how they came to be.
    places = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    places.add_argument("--json")
    places.add_argument("--record", action="store_true")
    _, words = places.parse_known_args(given)
    # A reader's own files lie elsewhere.
    words = ["PATH" if os.sep in word and Path(word).exists() else word for word in words]
    return Circumstances(
        command=f"python -m benchmarks.{name} {shlex.join(words)}".strip(),
        machine=machine(),
        load=os.getloadavg()[0],
        started=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        commit=commit(),
    )


def publish(reports: Sequence[Report], where: Circumstances, options: argparse.Namespace) -> None:
    """Print the tables; write them to the page and to a file when that was asked for."""
    for report in reports:
        text = "\n\n".join([where.sentence(), table(report.header, report.rows), *report.notes])
        print(f"\n{text}\n", flush=True)
        if options.record:
            PAGE.write_text(with_section(PAGE.read_text("utf-8"), report.section, text), "utf-8")
    if options.json:
        figures = {report.section: report.figures for report in reports}
        options.json.write_text(json.dumps({**vars(where), "figures": figures}, indent=1) + "\n", "utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_section(page: str, section: str, text: str) -> str:
    """The page with what stands between the section's markers replaced.

    Raises:
        ValueError: the page has no such markers.
    """
    pattern = re.compile(rf"(<!-- {re.escape(section)} -->\n).*?(<!-- /{re.escape(section)} -->)", re.DOTALL)
    new, count = pattern.subn(lambda found: f"{found[1]}{text}\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"docs/benchmarks.md must have the section {section!r} once, and has it {count} times")
    return new


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A data folder that goes away; others may pass through it, because PostgreSQL may run as another user."""
    with TemporaryDirectory(prefix="ragstone-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` per cent of the values lie."""
    return float(np.percentile(values, share))


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return percentile(values, 50)


def machine() -> str:
    """The processor, its cores that we may use, the flags that decide speed, and the memory."""
    words = dict(_cpuinfo())
    flags = words.get("flags", words.get("Features", "")).split()
    telling = " ".join(flag for flag in TELLING_FLAGS if flag in flags)
    model = words.get("model name") or platform.processor() or platform.machine()
    memory = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores ({telling}), {memory:.0f} GiB, Python {platform.python_version()}"


def commit() -> str:
    """The commit that is measured, and whether the code differs from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "app", "core", "graphs", "ingest", "models", "tools")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def _cpuinfo() -> Iterator[tuple[str, str]]:
    path = Path("/proc/cpuinfo")
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        key, _, value = line.partition(":")
        yield key.strip(), value.strip()
