"""What the command line prints: a plan before it is carried out, and what became of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.sources.plan import Action, Step, count

WORDS = {
    Action.ADD: "added",
    Action.CHANGE: "changed",
    Action.CHECK: "checked",
    Action.UNCHANGED: "unchanged",
    Action.REMOVE: "removed",
    Action.SKIP: "skipped",
}
SIGNS = {Action.ADD: "+", Action.CHANGE: "~", Action.CHECK: "?", Action.REMOVE: "-", Action.SKIP: "!"}


@dataclass(slots=True)
class Outcome:
    """What became of the items: how many of each kind, and why some failed."""

    counts: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    chunks: int = 0

    def add(self, word: str, number: int = 1) -> None:
        """Count items."""
        self.counts[word] = self.counts.get(word, 0) + number


def plan_lines(steps: Sequence[Step], counts: Mapping[Action, int] | None = None) -> Iterable[str]:
    """A line for each step but those that change nothing, and how many there are of each kind."""
    for step in steps:
        if step.action in SIGNS:
            size = f" ({size_text(step.size)})" if step.size is not None else ""
            reason = f": {step.reason}" if step.reason else ""
            yield f"{SIGNS[step.action]} {step.path}{size}{reason}"
    kinds = [f"{number} {WORDS[action]}" for action, number in (counts or count(steps)).items()]
    yield f"Would be: {', '.join(kinds) or 'nothing to do'}."


def summary_lines(outcome: Outcome) -> Iterable[str]:
    """The numbers as a table, then each failure with its reason."""
    rows: Mapping[str, int] = {**outcome.counts, "failed": len(outcome.failed)}
    width = max(len(name) for name in rows)
    for name, number in rows.items():
        yield f"{name:<{width}}  {number:>7,}"
    files = outcome.counts.get("added", 0) + outcome.counts.get("changed", 0)
    if files and outcome.seconds > 0:
        rates = [f"{files / outcome.seconds:,.1f} files/s"]
        if outcome.chunks:
            rates.append(f"{outcome.chunks / outcome.seconds:,.1f} chunks/s")
        yield f"{outcome.seconds:,.1f} s, {', '.join(rates)}"
    for name, reason in outcome.failed.items():
        yield f"failed: {name}: {reason}"


def say(lines: Iterable[str]) -> None:
    """Print lines."""
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def size_text(size: int) -> str:
    """A number of bytes as people read it."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
