"""A real Chroma server for tests."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.premises import free_port

START_S = 60.0


@contextmanager
def run_chroma(path: Path) -> Iterator[str]:
    """Run `chroma run` on a free port until the end of the block; gives its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = Path(sys.executable).with_name("chroma")
    command = [str(program), "run", "--path", str(path / "data"), "--host", "127.0.0.1", "--port", str(port)]
    with (path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(process, url, path / "log")
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/api/v2/heartbeat").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
        if process.poll() is not None:
            break
    raise RuntimeError(f"Chroma did not start: {log.read_text(errors='replace')}")
