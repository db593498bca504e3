"""Documents that tests make, and waiting for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

LIGHTHOUSE = """# Kerzenfels

## History

The lighthouse of Kerzenfels was built in 1821 by the engineer Marta Olsund. It stands on a rock of red granite.

## Operation

The lamp burns 14 litres of oil a night. The keeper is paid by the harbour office in Tornby.
"""

FERRIES = """Ferries to Tornby leave at 9:30 and 17:45. Bicycles travel free of charge.

A return ticket costs eleven crowns for adults.
"""


async def wait_until_done(http: httpx.AsyncClient, document: str, *, timeout_s: float = 60) -> dict[str, Any]:
    """The document when it is indexed or failed."""
    async with asyncio.timeout(timeout_s):
        while True:
            response = await http.get(f"/documents/{document}")
            response.raise_for_status()
            found: dict[str, Any] = response.json()
            if found["status"] in ("indexed", "failed"):
                return found
            await asyncio.sleep(0.05)


def make_pdf(pages: Sequence[str], *, size: int = 11) -> bytes:
    """A PDF with a page for each text; a line break starts a new line on the page."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", FONT]
    kids = []
    for page in pages:
        lines = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in page.split("\n")]
        shown = " ".join(f"({line}) Tj T*" for line in lines)
        stream = f"BT /F1 {size} Tf 14 TL 72 760 Td {shown} ET".encode("latin-1")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        contents = len(objects)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % contents
        )
        kids.append(len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    body = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    return body + b"xref\n0 %d\n0000000000 65535 f \n%strailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        count,
        table,
        count,
        len(body),
    )


FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
