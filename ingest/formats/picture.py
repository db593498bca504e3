"""PNG, JPEG, TIFF and WEBP: the text in them, by OCR; each picture of a TIFF is a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.formats.ocr import INSTALL, MOST_PIXELS, OcrFailed, Recogniser
from ingest.options import ReadOptions

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
MOST_PAGES = 1000


def load_picture(path: Path, options: ReadOptions) -> LoadedDocument:
    """Read the text in a picture; pages that could not be recognised are named in the warnings.

    Raises:
        UnreadableDocument: it is damaged, too large, holds no text, or there is no OCR.
    """
    from PIL import Image, UnidentifiedImageError

    recogniser = Recogniser(options)
    if not recogniser.is_available:
        raise UnreadableDocument(f"The file is a picture, and its text needs OCR: {INSTALL}.")
    draft = Draft()
    try:
        with Image.open(path, formats=FORMATS) as picture:
            failed = _write(draft, picture, recogniser)
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, EOFError) as error:
        raise UnreadableDocument("The picture is damaged or too large. Save it again as PNG.") from error
    try:
        return draft.finish([f"Page {number} was left out: {reason}." for number, reason in failed.items()])
    except UnreadableDocument as error:
        reason = next(iter(failed.values()), "none was found")
        raise UnreadableDocument(f"The picture gave no text: {reason}.") from error


def _write(draft: Draft, picture: Any, recogniser: Recogniser) -> dict[int, str]:
    """Write the text of each page; returns why pages could not be recognised."""
    failed: dict[int, str] = {}
    for number in range(1, min(getattr(picture, "n_frames", 1), MOST_PAGES) + 1):
        picture.seek(number - 1)
        if picture.width * picture.height > MOST_PIXELS:
            raise UnreadableDocument(f"The picture has more than {MOST_PIXELS // 1_000_000} million pixels.")
        draft.page(number)
        try:
            for text in recogniser.paragraphs(picture):
                draft.add(text)
        except OcrFailed as error:
            failed[number] = str(error)
    return failed
