"""What goes wrong with a folder that is written to, in words that help."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import Unavailable


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make the folder, and translate what the operating system says when it cannot be written to.

    Raises:
        Unavailable: the disk is full, or the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise Unavailable(trouble(error, folder)) from error


def trouble(error: OSError, folder: Path) -> str:
    """One line that says what is wrong with the folder and what to do."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"The disk of {str(folder)!r} is full: free some space, or set MODELS_DIR to another folder"
    reason = error.strerror or type(error).__name__
    return f"Cannot write to {str(folder)!r} ({reason}): make it writable, or set MODELS_DIR to another folder"
