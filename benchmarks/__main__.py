"""``python -m benchmarks``: every quick benchmark, one after the other, printed and put into docs/benchmarks.md.

With ``--documents FOLDER`` the formats of the documents in that folder are measured too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.report import ROOT

QUICK = ("ingest", "search", "answer", "faults")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run each in a process of its own, so that none inherits another's memory; the first failure's status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run every quick benchmark.")
    parser.add_argument("--documents", metavar="FOLDER", help="also measure the formats of the documents in there")
    folder = parser.parse_args(arguments).documents
    for name in (*QUICK, *(["formats"] if folder else [])):
        words = ["--data", folder] if name == "formats" else []
        status = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--record", *words], cwd=ROOT, check=False)
        if status.returncode:
            return status.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
