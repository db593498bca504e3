"""The name that a document from a source gets: its path, made safe to keep and to show."""

from __future__ import annotations

from ingest.media import clean_name

PATH_BYTES = 1000


def clean_path(path: str) -> str:
    """The parts of a path, each cleaned as a file name is, joined by ``/``; at most 1,000 bytes of UTF-8.

    Folders are left out from the front when it is longer, so that two files of one name stay apart as long as possible.

    Raises:
        InvalidInput: nothing is left.
    """
    folders, _, last = path.replace("\\", "/").rpartition("/")
    parts = [clean_name(part) for part in folders.split("/") if part.strip(". ")] + [clean_name(last)]
    while len("/".join(parts).encode()) > PATH_BYTES:
        parts.pop(0)
    return "/".join(parts)
