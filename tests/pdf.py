"""PDFs that tests make, byte by byte: text at places, in sizes and weights, encrypted, broken or without text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

FONTS = (
    b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >> "
    b"/F2 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >> "
    b"/F3 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding /ToUnicode 3 0 R >> >> >>"
)
PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
FILE_ID = bytes(range(16))


class Words(NamedTuple):
    """A line of text that begins at ``x``, ``y`` points from the lower left corner of its page."""

    text: str
    x: float = 72
    y: float = 760
    size: float = 11
    bold: bool = False


def paragraph(text: str, *, x: float = 72, top: float = 760, size: float = 11, width: int = 60) -> list[Words]:
    """A text that is broken into lines of at most ``width`` characters."""
    lines: list[str] = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return [Words(line, x, top - 1.2 * size * n, size) for n, line in enumerate(lines)]


def make_pdf(
    pages: Sequence[Sequence[Words] | bytes],
    *,
    password: str | None = None,
    rotate: int = 0,
    catalog: bytes = b"",
    annotations: bytes = b"",
    letters: Mapping[str, str] | None = None,
) -> bytes:
    """A PDF with the words on its pages; with a password it is encrypted (RC4, 40 bits).

    A page of bytes is what draws it. ``catalog`` goes into the catalogue, ``annotations`` onto each page.
    ``letters`` says what the glyphs of font F3 mean, which look like those of Helvetica.
    """
    key = _key(password) if password is not None else None
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        b"",
        _stream(_unicode_map(letters or {})),
    ]
    kids: list[int] = []
    for words in pages:
        stream = words if isinstance(words, bytes) else "\n".join(map(_shown, words)).encode("cp1252")
        number = len(objects) + 1
        if key is not None:
            stream = _rc4(hashlib.md5(key + number.to_bytes(3, "little") + b"\0\0").digest()[:10], stream)  # noqa: S324
        objects.append(_stream(stream))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Rotate %d /Contents %d 0 R /Resources %s "
            b"/Annots [%s] >>" % (rotate, number, FONTS, annotations)
        )
        kids.append(len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    trailer = b""
    if password is not None and key is not None:
        user = _rc4(key, PADDING).hex().encode()
        objects.append(
            b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >>" % (_owner(password).hex().encode(), user)
        )
        identity = FILE_ID.hex().encode()
        trailer = b" /Encrypt %d 0 R /ID [<%s> <%s>]" % (len(objects), identity, identity)
    return _file(objects, trailer)


def _file(objects: Sequence[bytes], trailer: bytes) -> bytes:
    body = b"%PDF-1.4\n"
    table = b"0000000000 65535 f \n"
    for number, content in enumerate(objects, start=1):
        table += b"%010d 00000 n \n" % len(body)
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    size = len(objects) + 1
    return body + b"xref\n0 %d\n%strailer << /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF" % (
        size,
        table,
        size,
        trailer,
        len(body),
    )


def _stream(data: bytes) -> bytes:
    return b"<< /Length %d >>\nstream\n%s\nendstream" % (len(data), data)


def _unicode_map(letters: Mapping[str, str]) -> bytes:
    lines = [f"<{ord(glyph):02x}> <{meaning.encode('utf-16-be').hex()}>" for glyph, meaning in letters.items()]
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def "
        "1 begincodespacerange <00> <ff> endcodespacerange\n"
        f"{len(lines)} beginbfchar\n{chr(10).join(lines)}\nendbfchar\nendcmap end end"
    ).encode()


def _shown(word: Words) -> str:
    text = word.text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"BT /F{2 if word.bold else 1} {word.size} Tf {word.x} {word.y} Td ({text}) Tj ET"


def _owner(password: str) -> bytes:
    padded = (password.encode() + PADDING)[:32]
    return _rc4(hashlib.md5(padded).digest()[:5], padded)  # noqa: S324


def _key(password: str) -> bytes:
    padded = (password.encode() + PADDING)[:32]
    allowed = (-4 & 0xFFFFFFFF).to_bytes(4, "little")
    return hashlib.md5(padded + _owner(password) + allowed + FILE_ID).digest()[:5]  # noqa: S324


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    result = bytearray()
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        result.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(result)
