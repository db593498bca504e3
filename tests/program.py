"""The whole program, started as a person starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from app.premises import free_port
from core.settings import variables
from tests.model_server import models_dir

ROOT = Path(__file__).parents[1]
READY_S = 280.0
STOP_S = 40.0


class Program:
    """`python -m app` on a DATA_DIR and ports of its own, with the default chat model."""

    def __init__(self, data_dir: Path, **env: str) -> None:
        self._env = env
        self.data_dir = data_dir
        self.output = data_dir.with_name(f"{data_dir.name}.out")
        self.api_url = f"http://127.0.0.1:{free_port()}"
        self.ui_url = f"http://127.0.0.1:{free_port()}"
        self.key = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start everything and wait until it says that it is ready."""
        env = {name: value for name, value in os.environ.items() if name not in variables()} | {
            "DATA_DIR": str(self.data_dir),
            "MODELS_DIR": str(models_dir()),
            "API__PORT": self.api_url.rpartition(":")[2],
            "UI__PORT": self.ui_url.rpartition(":")[2],
            **self._env,
        }
        before = len(self.text())
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app"], cwd=ROOT, env=env, stdout=output, stderr=output
            )
        deadline = time.monotonic() + READY_S
        while "Ready" not in self.text()[before:]:
            assert self._process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.1)
        if found := re.search(r"rag_[\w-]{43}", self.text()):
            self.key = found.group()

    def text(self) -> str:
        """What it has said so far."""
        return self.output.read_text("utf-8") if self.output.exists() else ""

    def kill(self) -> list[psutil.Process]:
        """`kill -9` the supervisor; returns every process that was below it."""
        assert self._process is not None
        below = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        return below

    def stop(self) -> int:
        """Stop it by SIGTERM; returns its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(STOP_S)

    def end(self) -> None:
        """Leave nothing behind, whatever has happened."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            finally:
                self._process.kill()


@contextmanager
def run_program(data_dir: Path, **env: str) -> Iterator[Program]:
    """The program while the block runs."""
    program = Program(data_dir, **env)
    try:
        program.start()
        yield program
    finally:
        program.end()
