"""``python -m benchmarks``: every quick benchmark, one after the other, printed and put into docs/benchmarks.md.

With ``--data FOLDER`` the formats of the documents in that folder are measured too. One that fails does not keep
the others from running; at the end stands which failed and which were not asked for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.report import ROOT

QUICK = ("ingest", "plain", "growth", "search", "answer", "faults", "store", "streams", "run_faults")
OTHERS = ("scale", "rebuild", "chat_models", "soak")
"""Those that take long or need data of the user's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run each in a process of its own, so that none inherits another's memory; the first failure's status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run every quick benchmark.")
    parser.add_argument("--data", metavar="FOLDER", help="also measure the formats of the documents in there")
    folder = parser.parse_args(arguments).data
    failed = {}
    for name in (*QUICK, *(["formats"] if folder else [])):
        words = ["--data", folder] if name == "formats" else []
        status = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--record", *words], cwd=ROOT, check=False)
        if status.returncode:
            failed[name] = status.returncode
    others = ["formats (give --data FOLDER)"] if not folder else []
    print(f"Not measured: {', '.join([*others, *OTHERS])}; `python -m benchmarks.NAME --help` says what each needs")
    if failed:
        print(f"Failed, and docs/benchmarks.md keeps their last figures: {', '.join(failed)}", file=sys.stderr)
    return next(iter(failed.values()), 0)


if __name__ == "__main__":
    sys.exit(main())
