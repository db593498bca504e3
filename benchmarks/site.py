"""Ragstone with further agents beside its own, as a process; the settings are in the environment.

    python -m benchmarks.site MODULE [worker]

``MODULE`` has a function ``agents`` that makes them; with ``worker`` the process executes runs and serves no API.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from app.main import main as serve
from app.services import open_services
from app.worker import main as work
from core.settings import read_settings


def main(arguments: Sequence[str]) -> int:
    """Serve until the process is ended."""
    agents = importlib.import_module(arguments[0]).agents
    begin = work if "worker" in arguments[1:] else serve
    begin(read_settings(), lambda settings: open_services(settings, agents))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
