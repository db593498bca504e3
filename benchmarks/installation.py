"""A whole Ragstone, started as a user starts it, with the memory of its parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from app.premises import free_port
from benchmarks.report import ROOT

READY_S = 600.0
STOP_S = 60.0
SAMPLE_S = 1.0
SUPERVISOR = "supervisor"
PARTS = {
    "models.serving": "chat model",
    "streamlit": "user interface",
    "app api": "API with embedder and index",
    "postgres": "PostgreSQL",
}
"""A piece of the command line of each of the supervisor's children."""


class Installation:
    """A running ``python -m app``; ``ready_s`` is how many seconds it took to say that it is ready."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.ready_s = 0.0
        self._said: list[str] = []

    @property
    def key(self) -> str:
        """The first key, which only a first start makes.

        Raises:
            RuntimeError: this start made none.
        """
        if found := re.search(r"API key\s+(\S+)", "\n".join(self._said)):
            return found[1]
        raise RuntimeError("This start made no key")

    def wait_until_ready(self) -> None:
        """Read what is said until the line that says that everything is ready.

        Raises:
            RuntimeError: it ends before that; with what it said.
        """
        started = time.monotonic()
        for line in self.process.stdout or ():
            self._said.append(line.rstrip())
            if line.startswith("Ready after"):
                self.ready_s = time.monotonic() - started
                threading.Thread(target=self._listen, daemon=True).start()
                return
        raise RuntimeError("Ragstone does not start:\n" + "\n".join(self._said))

    def model_url(self) -> str:
        """The base URL of the chat model's server."""
        for child in psutil.Process(self.process.pid).children():
            words = child.cmdline()
            if "models.serving" in words:
                return f"http://127.0.0.1:{words[words.index('--port') + 1]}/v1"
        raise RuntimeError("No model server runs")

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        finally:
            self.process.kill()

    def _listen(self) -> None:
        # Whoever is not listened to waits when the pipe is full.
        self._said.extend(line.rstrip() for line in self.process.stdout or ())


@contextmanager
def run_installation(data_dir: Path, models_dir: Path) -> Iterator[Installation]:
    """Start everything on free ports and wait until it is ready.

    Raises:
        RuntimeError: it does not start.
    """
    port = free_port()
    told = {"DATA_DIR": data_dir, "MODELS_DIR": models_dir, "API__PORT": port, "UI__PORT": free_port()}
    process = subprocess.Popen(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env=os.environ | {name: str(value) for name, value in told.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = threading.Timer(READY_S, process.terminate)
    watchdog.start()
    installation = Installation(process, f"http://127.0.0.1:{port}")
    try:
        installation.wait_until_ready()
        watchdog.cancel()
        yield installation
    finally:
        watchdog.cancel()
        installation.stop()


class Memory:
    """The peaks of the memory of a process tree, in MiB: of each part, and of the sum.

    PSS counts a page that processes share in equal parts to each, so that it can be summed; RSS counts it to each.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._stop = threading.Event()
        self.pss: dict[str, float] = {}
        self.rss: dict[str, float] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look every second while the block runs."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _watch(self) -> None:
        while True:
            self._look()
            if self._stop.wait(SAMPLE_S):
                return

    def _look(self) -> None:
        pss: dict[str, float] = defaultdict(float)
        rss: dict[str, float] = defaultdict(float)
        with suppress(psutil.NoSuchProcess):
            self._add(self._root, SUPERVISOR, pss, rss)
            for child in self._root.children():
                with suppress(psutil.NoSuchProcess):
                    part = part_of(child)
                    self._add(child, part, pss, rss)
                    for process in child.children(recursive=True):
                        name = "reading documents" if part.startswith("API") else part
                        self._add(process, name, pss, rss)
        for peaks, now in ((self.pss, pss), (self.rss, rss)):
            for name, value in {**now, "all parts": sum(now.values())}.items():
                peaks[name] = max(peaks.get(name, 0.0), value)

    def _add(self, process: psutil.Process, part: str, pss: dict[str, float], rss: dict[str, float]) -> None:
        with suppress(psutil.NoSuchProcess):
            memory = process.memory_full_info()
            pss[part] += memory.pss / 2**20
            rss[part] += memory.rss / 2**20


def part_of(process: psutil.Process) -> str:
    """The name of a child of the supervisor."""
    command = " ".join(process.cmdline())
    return next((name for piece, name in PARTS.items() if piece in command), "others")
