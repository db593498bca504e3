"""Messages as Outlook saves them (MSG, a compound file) that tests make, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping

SECTOR = 512
LEAST_STREAM = 4096  # smaller ones would live in another stream
FREE, LAST, TABLE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
STRING = 0x001F
CLASS, SUBJECT, BODY = 0x001A, 0x0037, 0x1000


def make_msg(subject: str, body: str) -> bytes:
    """A message without people, date and attachments."""
    texts = {CLASS: "IPM.Note", SUBJECT: subject, BODY: body}
    streams = {f"__substg1.0_{kind:04X}{STRING:04X}": text.encode("utf-16-le") for kind, text in texts.items()}
    known = [struct.pack("<HHIII", STRING, kind, 6, 2 * len(text) + 2, 0) for kind, text in texts.items()]
    streams["__properties_version1.0"] = bytes(32) + b"".join(known)
    # Blanks do no harm in texts, nor properties of no kind.
    padded = {
        name: data.ljust(LEAST_STREAM, b"\0") if name.startswith("__prop") else _spaced(data)
        for name, data in streams.items()
    }
    return _compound(dict(sorted(padded.items(), key=lambda item: (len(item[0]), item[0]))))


def _spaced(data: bytes) -> bytes:
    return data + " ".encode("utf-16-le") * max(0, (LEAST_STREAM - len(data)) // 2)


def _compound(streams: Mapping[str, bytes]) -> bytes:
    """A compound file of one table sector: one directory chain, and the streams one after the other."""
    directory_sectors = -(-(len(streams) + 1) // 4)
    table = [TABLE, *range(2, directory_sectors + 1), LAST]
    entries = [_entry("Root Entry", kind=5, start=LAST, size=0, right=FREE, child=1)]
    body = b""
    for number, (name, data) in enumerate(streams.items(), 1):
        start, sectors = len(table), -(-len(data) // SECTOR)
        table += [*range(start + 1, start + sectors), LAST]
        right = number + 1 if number < len(streams) else FREE
        entries.append(_entry(name, kind=2, start=start, size=len(data), right=right, child=FREE))
        body += data.ljust(sectors * SECTOR, b"\0")
    assert len(table) <= SECTOR // 4
    table += [FREE] * (SECTOR // 4 - len(table))
    head = struct.pack(
        "<8s16sHHHHH6sIIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6, bytes(6), 0, 1, 1, 0, LEAST_STREAM,
        LAST, 0, LAST, 0, 0,
    )  # fmt: skip
    head += struct.pack("<108I", *[FREE] * 108)
    directory = b"".join(entries).ljust(directory_sectors * SECTOR, b"\0")
    return head + struct.pack("<128I", *table) + directory + body


def _entry(name: str, *, kind: int, start: int, size: int, right: int, child: int) -> bytes:
    letters = name.encode("utf-16-le")
    return struct.pack(
        "<64sHBBIII16sIQQIII",
        letters,
        len(letters) + 2,
        kind,
        1,
        FREE,
        right,
        child,
        bytes(16),
        0,
        0,
        0,
        start,
        size,
        0,
    )
