"""The fingerprint of a request's body, equal for two requests that say the same."""

from __future__ import annotations

import hashlib
import re

BOUNDARY = re.compile(rb"boundary=(?:\"([^\"]+)\"|([^\s;]+))", re.IGNORECASE)


class Fingerprint:
    """SHA-256 of a body that comes in pieces; the boundary of a multipart body, new in each request, does not count."""

    def __init__(self, content_type: bytes) -> None:
        found = BOUNDARY.search(content_type) if content_type.lower().startswith(b"multipart/") else None
        self._boundary = (found[1] or found[2]) if found else b""
        self._hash = hashlib.sha256()
        self._kept = b""

    def add(self, piece: bytes) -> None:
        """Take in the next piece of the body."""
        if not self._boundary:
            self._hash.update(piece)
            return
        *texts, rest = (self._kept + piece).split(self._boundary)
        for text in texts:
            self._hash.update(text)
        # The end is kept back: the boundary may go on in the next piece.
        cut = max(0, len(rest) - len(self._boundary) + 1)
        self._hash.update(rest[:cut])
        self._kept = rest[cut:]

    def digest(self) -> bytes:
        """The fingerprint of all that was taken in."""
        whole = self._hash.copy()
        whole.update(self._kept)
        return whole.digest()
