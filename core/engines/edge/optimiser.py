"""The child process that builds the search graphs of a shard, because that holds the interpreter lock for minutes."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from pathlib import Path

import qdrant_edge as engine

from core.engines.edge.shard import config
from core.errors import Unavailable

# Vectors of a segment whose deleted points are removed when they are a fifth of it.
VACUUM_FROM = 100


async def optimise_in_child(shard: Path, dimension: int) -> None:
    """Optimise a shard that nobody else has open, at low priority.

    Raises:
        Unavailable: with what the child said last, when it failed.
    """
    root = str(Path(__file__).parents[3])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "core.engines.edge.optimiser", str(shard), str(dimension), str(os.getpid())),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, complaint = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        raise Unavailable(f"Optimising the vector index ended with status {child.returncode}: {last}")


def optimise_shard(path: Path, dimension: int, parent: int) -> None:
    """Build the search graphs of a shard that nobody else has open; ends with the parent process."""
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.nice(10)
    # From the first point on: what is not indexed here is scanned by every search.
    everything = engine.EdgeOptimizersConfig(indexing_threshold=1, vacuum_min_vector_number=VACUUM_FROM)
    shard = engine.EdgeShard.load(str(path), config(dimension, everything))
    shard.optimize()
    shard.close()


if __name__ == "__main__":
    optimise_shard(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
