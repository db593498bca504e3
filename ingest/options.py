"""What the readers of documents are told: their limits, and which tools they may use."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from core.errors import InvalidInput
from core.settings import IngestSettings

INSTALL_DOCLING = "pip install 'ragstone[docling]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """Goes to the children with each document.

    ``max_chars`` bounds the text of one document. ``ocr`` says whether tesseract may be used where it is installed,
    ``ocr_languages`` is its list of languages (``eng+deu``), ``ocr_timeout_s`` bounds the seconds that it may take for
    one document. ``docling`` says whether docling reads the PDFs.
    """

    max_chars: int = 20_000_000
    ocr: bool = True
    ocr_languages: str = "eng"
    ocr_timeout_s: float = 600.0
    docling: bool = False


def read_options(settings: IngestSettings) -> ReadOptions:
    """The options that the settings ask for.

    Raises:
        InvalidInput: they ask for docling, which is not installed.
    """
    if settings.pdf_reader == "docling" and importlib.util.find_spec("docling") is None:
        raise InvalidInput(f"INGEST__PDF_READER is docling, but that package is missing: {INSTALL_DOCLING}.")
    return ReadOptions(
        max_chars=settings.load_max_chars,
        ocr=settings.ocr == "auto",
        ocr_languages=settings.ocr_languages,
        ocr_timeout_s=settings.ocr_timeout_s,
        docling=settings.pdf_reader == "docling",
    )
