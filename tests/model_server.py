"""The embedded model server as a child process, for every test that needs a real chat model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
TINY = "smollm2-135m-instruct"
START_TIMEOUT_S = 280.0


def models_dir() -> Path:
    """Where tests keep model files: ``MODELS_DIR``, or ``.data/models`` of the repository."""
    return Path(os.environ.get("MODELS_DIR") or ROOT / ".data" / "models").absolute()


@contextmanager
def run_model_server(model: str, models_dir: Path, *, threads: int | None = None) -> Iterator[str]:
    """Serve ``model`` on a free port, fetching it first when needed; yields the base URL, which ends in ``/v1``."""
    with TemporaryDirectory() as folder:
        status_file = Path(folder) / "status.json"
        process = start_model_server(model, models_dir, status_file, threads=threads)
        try:
            yield wait_until_ready(process, status_file)
        finally:
            process.terminate()
            try:
                process.wait(10)
            finally:
                process.kill()


def start_model_server(
    model: str, models_dir: Path, status_file: Path, *, port: int = 0, threads: int | None = None
) -> subprocess.Popen[bytes]:
    """Start the server's process; it dies with this one."""
    command = [sys.executable, "-m", "models.serving", "serve", "--model", model, "--models-dir", str(models_dir)]
    command += ["--port", str(port), "--status-file", str(status_file), "--parent", str(os.getpid())]
    command += ["--threads", str(threads)] if threads else []
    return subprocess.Popen(command, cwd=ROOT)


def wait_until_ready(process: subprocess.Popen[bytes], status_file: Path) -> str:
    """The base URL of the server, once it answers."""
    deadline = time.monotonic() + START_TIMEOUT_S
    status: dict[str, str] = {}
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        if status_file.exists():
            status = json.loads(status_file.read_text(encoding="utf-8"))
        if status.get("status") == "ready":
            return status["url"]
        if ended:
            break
        time.sleep(0.05)
    raise AssertionError(f"the model server did not start: {status.get('detail', 'it said nothing')}")
