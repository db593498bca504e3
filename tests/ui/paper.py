"""PDF files for the tests, made with PDFium itself."""

from __future__ import annotations

import ctypes
import io
from collections.abc import Sequence
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium


def make_pdf(pages: Sequence[Sequence[str]], *, rotation: int = 0) -> bytes:
    """A PDF whose pages hold these lines of text, in Helvetica."""
    raw: Any = pdfium
    document: Any = pypdfium2.PdfDocument.new()  # type: ignore[no-untyped-call]
    for lines in pages:
        page = document.new_page(595, 842)
        for number, line in enumerate(lines):
            text = raw.FPDFPageObj_NewTextObj(document, b"Helvetica", 12.0)
            letters = (line + "\0").encode("utf-16-le")
            raw.FPDFText_SetText(text, ctypes.cast(ctypes.create_string_buffer(letters), raw.FPDF_WIDESTRING))
            raw.FPDFPageObj_Transform(text, 1, 0, 0, 1, 72, 770 - 18 * number)
            raw.FPDFPage_InsertObject(page, text)
        page.set_rotation(rotation)
        page.gen_content()
        page.close()
    buffer = io.BytesIO()
    document.save(buffer)
    document.close()
    return buffer.getvalue()
