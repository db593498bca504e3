"""``python -m models.training reranker``: train a model by its recipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from core.errors import PlatformError

USAGE = "usage: python -m models.training reranker --data FOLDER --out FOLDER [options]"


def main(words: Sequence[str]) -> int:
    """Run a recipe; 2 when there is no such recipe, or when it cannot be run as asked."""
    if not words or words[0] != "reranker":
        asked = words and words[0] in ("-h", "--help")
        print(f"{USAGE}\n\n{__doc__}", file=None if asked else sys.stderr)
        return 0 if asked else 2
    from models.training.reranker import run

    try:
        print(run(words[1:]))
    except PlatformError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
