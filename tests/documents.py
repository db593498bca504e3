"""Documents that tests make, and waiting for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

from tests import pdf

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


def make_pdf(pages: Sequence[str]) -> bytes:
    """A PDF with a page for each text; a line break starts a new paragraph."""
    return pdf.make_pdf([page_of(text) for text in pages])


def page_of(text: str) -> list[pdf.Words]:
    """The paragraphs of a page below each other."""
    words: list[pdf.Words] = []
    for part in text.split("\n"):
        top = words[-1].y - 30 if words else 760
        words += pdf.paragraph(part, top=top)
    return [word for word in words if word.text]
