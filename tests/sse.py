"""Server-sent events as a client reads them."""

from __future__ import annotations

import json
from typing import Any


def frames_of(text: str) -> list[tuple[str, str, Any]]:
    """The frames of a stream as (id, event, data); comments are skipped."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "event" in fields:
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return found
