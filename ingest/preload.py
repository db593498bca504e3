"""What the server that the reading children are forked from imports, once: the readers' libraries.

Nothing else imports this module. It also keeps the children from importing the main module of the program that
started them, as multiprocessing would: they need nothing of it, and it may be heavy or not guarded.
"""

from __future__ import annotations

from multiprocessing import spawn

import charset_normalizer  # noqa: F401
import docx  # noqa: F401
import markdown_it  # noqa: F401
import pypdfium2  # noqa: F401
import selectolax.lexbor  # noqa: F401

import ingest.load  # noqa: F401


def _leave_main(_: str) -> None:
    """Stands in for the two functions that import the main module of the parent."""


vars(spawn).update(_fixup_main_from_name=_leave_main, _fixup_main_from_path=_leave_main)
