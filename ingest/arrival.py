"""What a file is that has just arrived, from its name and its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any, BinaryIO, cast

from core.errors import InvalidInput
from ingest.document import Upload
from ingest.media import HEAD_BYTES, detect


def describe(name: str, body: BinaryIO, metadata: Mapping[str, Any], source_id: str | None = None) -> Upload:
    """What is known of a file before it is read; ``body`` is at its start again afterwards.

    Args:
        name: as it is kept, cleaned already.
        body: its bytes, from wherever they are read from the start.
        metadata: what is kept with it.
        source_id: where it comes from, so that other bytes of it are a new version.

    Raises:
        InvalidInput: it is empty.
        UnreadableDocument: it is not what its name says.
        UnsupportedType: it is of a kind that cannot be read.
    """
    body.seek(0)
    head = body.read(HEAD_BYTES)
    if not head:
        raise InvalidInput(f"The file {name!r} is empty. Choose a file that holds text.")
    media_type = detect(name, head)
    body.seek(0)
    digest = hashlib.file_digest(cast("BufferedIOBase", body), "sha256").hexdigest()
    size = body.tell()
    body.seek(0)
    return Upload(name=name, media_type=media_type, size=size, sha256=digest, metadata=metadata, source_id=source_id)
