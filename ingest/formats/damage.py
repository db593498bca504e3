"""Whatever a parser raises about a damaged file, as an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import PlatformError, UnreadableDocument

AGAIN = "Open it in the program that made it, save it again and upload the new file."


@contextmanager
def translated_damage() -> Iterator[None]:
    """Let our errors, missing files and a lack of memory through; everything else says that the file is damaged.

    Raises:
        UnreadableDocument: the work within raised something else.
    """
    try:
        yield
    except (PlatformError, FileNotFoundError, PermissionError, MemoryError):
        raise
    except RecursionError as error:
        raise UnreadableDocument(f"The file is nested too deep to be read. {AGAIN}") from error
    except Exception as error:  # a damaged file makes a parser raise anything
        raise UnreadableDocument(f"The file is damaged ({type(error).__name__}). {AGAIN}") from error
