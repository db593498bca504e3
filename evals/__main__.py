"""``python -m evals COMMAND``: ``retrieval`` measures how passages are found, ``chunking`` how text is cut.

``tuning`` chooses the settings of the hybrid search, and shows how they do on sets that they were not chosen on.
``relevance`` measures how "nothing relevant" is decided, ``rewriting`` what other wordings of a question bring.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from core.errors import PlatformError

COMMANDS = {name: f"evals.{name}" for name in ("retrieval", "chunking", "tuning", "relevance", "rewriting")}
"""The module of each command, imported when it is called; its ``main`` takes the words that follow."""


def main(words: Sequence[str]) -> int:
    """Run a command; 2 when there is no such command, or when it cannot be run as asked."""
    if not words or words[0] not in COMMANDS:
        asked = words and words[0] in ("-h", "--help")
        print(f"usage: python -m evals {{{','.join(COMMANDS)}}} ...\n\n{__doc__}", file=None if asked else sys.stderr)
        return 0 if asked else 2
    try:
        importlib.import_module(COMMANDS[words[0]]).main(words[1:])
    except PlatformError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
