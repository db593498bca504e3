"""Processor time of processes: it suffers less than the clock from what else the machine does."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def processor_seconds(processes: Iterable[psutil.Process], *, but: int) -> float:
    """What the processes and their children that have ended took, without the process whose id is ``but``."""
    total = 0.0
    for process in processes:
        if process.pid == but:
            continue
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
