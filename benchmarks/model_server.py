"""Model servers beside the platform's own: their files, one for us alone, and the time that a server computed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.report import ROOT
from core.settings import ChatSettings
from models.catalog import CatalogEntry

POLL_S = 0.1
START_S = 300.0


class Computed(NamedTuple):
    """Milliseconds that a server has computed so far, on prompts and on answers."""

    prompt: float
    answer: float


def models_folder(folder: Path, source: Path, entry: CatalogEntry) -> tuple[Path, str]:
    """A folder with the model as it was downloaded, if it was; and what is left for a first start to do with it."""
    made = folder / "models"
    made.mkdir()
    for name, left in ((entry.file, "checks and requantises the downloaded model"), (entry.served_file, "")):
        if (source / name).is_file():
            (made / name).symlink_to((source / name).resolve())
            return made, left
    return made, "downloads, checks and requantises the model"


@contextmanager
def run_model_server(chat: ChatSettings, models: Path) -> Iterator[str]:
    """A model server as the supervisor starts it; yields its base URL, which ends in ``/v1``.

    Raises:
        RuntimeError: it does not start.
    """
    status = models / "bare.json"
    words = {
        "model": chat.model,
        "models-dir": models,
        "port": 0,
        "threads": chat.threads,
        "slots": chat.slots,
        "context": chat.context,
        "status-file": status,
    }
    pairs = [word for name, value in words.items() if value is not None for word in (f"--{name}", str(value))]
    process = subprocess.Popen([sys.executable, "-m", "models.serving", "serve", *pairs], cwd=ROOT)
    try:
        deadline = time.monotonic() + START_S
        while not (url := _url(status)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("The model server does not start")
            time.sleep(POLL_S)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def computed(url: str) -> Computed:
    """What the server at the base URL says of itself: the counters of llama.cpp, which hold no waiting."""
    text = httpx.get(f"{url.removesuffix('/v1')}/metrics", trust_env=False).raise_for_status().text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    seconds = (values[f"llamacpp:{name}_seconds_total"] for name in ("prompt", "tokens_predicted"))
    return Computed(*(1000 * float(value) for value in seconds))


def _url(status: Path) -> str | None:
    said: dict[str, str] = json.loads(status.read_bytes()) if status.exists() else {}
    return said["url"] if said.get("status") == "ready" else None
