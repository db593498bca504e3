"""``python -m benchmarks``: every quick benchmark, one after the other, printed and put into docs/benchmarks.md."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.report import ROOT

QUICK = ("ingest", "search", "answer", "faults")


def main() -> int:
    """Run each in a process of its own, so that none inherits another's memory; the first failure's status."""
    for name in QUICK:
        status = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--record"], cwd=ROOT, check=False)
        if status.returncode:
            return status.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
