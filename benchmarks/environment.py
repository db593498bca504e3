"""Environments of their own for what is compared: their packages do not get along with Ragstone's."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.report import ROOT


def environment(requirements: Path) -> Path:
    """The Python of the environment with these packages, which is made in the user's cache when it is not there.

    Raises:
        subprocess.CalledProcessError: the packages cannot be installed; ``stderr`` says why.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(requirements.read_bytes() + version.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "ragstone" / f"{requirements.stem}-{digest}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        print(f"Installing {requirements.relative_to(ROOT)}: some minutes the first time", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "-r", requirements],
            check=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        complete.touch()
    return python
