"""What the readers of documents are told: their limits, and which tools they may use."""

from __future__ import annotations

from dataclasses import dataclass

from core.settings import IngestSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """Goes to the children with each document.

    ``max_chars`` bounds the text of one document. ``ocr`` says whether tesseract may be used where it is installed,
    ``ocr_languages`` is its list of languages (``eng+deu``), ``ocr_timeout_s`` bounds the seconds that it may take for
    one document.
    """

    max_chars: int = 20_000_000
    ocr: bool = True
    ocr_languages: str = "eng"
    ocr_timeout_s: float = 600.0


def read_options(settings: IngestSettings) -> ReadOptions:
    """The options that the settings ask for."""
    return ReadOptions(
        max_chars=settings.load_max_chars,
        ocr=settings.ocr == "auto",
        ocr_languages=settings.ocr_languages,
        ocr_timeout_s=settings.ocr_timeout_s,
    )
