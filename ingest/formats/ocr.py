"""Text in pictures, by the program tesseract where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import Any

from ingest.children import end_with_parent
from ingest.encoding import clean
from ingest.options import ReadOptions

PAGE_TIMEOUT_S = 120.0
MOST_PIXELS = 80_000_000
MOST_SIDE = 4000
"""Pictures are made smaller than this before they are read: letters of 300 dpi on A4 stand in 3,500 pixels."""

INSTALL = "install tesseract (Debian and Ubuntu: apt-get install tesseract-ocr) and leave INGEST__OCR at auto"


class OcrFailed(Exception):
    """A picture could not be recognised; the message says why, in words that end a sentence."""


class Recogniser:
    """Recognises pictures within the time that one document may take, which begins when this is made.

    It may be handed to a child process: the clock is the machine's.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._languages = options.ocr_languages
        self._until = time.monotonic() + options.ocr_timeout_s
        self._program = shutil.which("tesseract") if options.ocr else None

    @property
    def is_available(self) -> bool:
        """Whether the program is there and may be used."""
        return self._program is not None

    @property
    def seconds_left(self) -> float:
        """How much of the document's time is left."""
        return self._until - time.monotonic()

    def paragraphs(self, picture: Any) -> list[str]:
        """The paragraphs of a Pillow picture, in reading order.

        Raises:
            OcrFailed: the program is not there, fails, or takes too long.
        """
        if self._program is None:
            raise OcrFailed(f"to read them, {INSTALL}")
        left = min(self.seconds_left, PAGE_TIMEOUT_S)
        if left <= 0:
            raise OcrFailed("recognising took longer than INGEST__OCR_TIMEOUT_S allows")
        data = _png(picture)
        words = [self._program, "stdin", "stdout", "-l", self._languages, "--psm", "1"]
        try:
            done = subprocess.run(  # noqa: S603 -- the languages are checked where the settings are read
                words,
                input=data,
                capture_output=True,
                timeout=left,
                check=False,
                env=_environment(),
                # When this process is killed, nobody is left to end the program: the kernel does.
                preexec_fn=end_with_parent,
            )
        except subprocess.TimeoutExpired as error:
            raise OcrFailed("recognising took too long") from error
        except OSError as error:
            raise OcrFailed("tesseract does not start") from error
        if done.returncode:
            raise OcrFailed(_failure(done.stderr, self._languages))
        text = clean(done.stdout.decode("utf-8", errors="replace"))
        return [part for part in text.split("\n\n") if part.strip()]


def _environment() -> dict[str, str]:
    # One thread for each picture: its threads gain little and would take every core.
    return {**os.environ, "OMP_THREAD_LIMIT": "1"}


def _failure(said: bytes, languages: str) -> str:
    if b"Failed loading language" in said or b"Error opening data file" in said:
        return f"tesseract lacks a language of INGEST__OCR_LANGUAGES ({languages}), or its file osd.traineddata"
    return "tesseract failed"


def _png(picture: Any) -> bytes:
    import io

    small = picture.convert("L")
    small.thumbnail((MOST_SIDE, MOST_SIDE))
    target = io.BytesIO()
    small.save(target, "PNG", compress_level=1, dpi=(300, 300))
    return target.getvalue()
