"""A PDF slice by slice in child processes: a page that crashes, hangs or eats memory costs no other page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from core.domain import LoadedDocument
from ingest.children import ChildEnded, Children, OutOfTime
from ingest.formats.ocr import PAGE_TIMEOUT_S, Recogniser
from ingest.formats.pdf import compose_pdf, finished_pages, read_pages, recognise_page, silent_pages, survey_pdf
from ingest.options import ReadOptions

SLICE_PAGES = 16
OCR_SPARE_S = 20.0  # to draw the page, before and beside the recognition itself

ReadPages = Callable[[Path, int, int, Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicedReading:
    """Reads one PDF; ``options.ocr_timeout_s`` bounds the recognition that may follow.

    ``timeout_s`` bounds its text and ``slice_timeout_s`` that of `SLICE_PAGES` pages.
    """

    children: Children
    path: Path
    options: ReadOptions
    timeout_s: float
    slice_timeout_s: float
    read: ReadPages = read_pages

    async def load(self) -> LoadedDocument:
        """The document; the pages that are missing are named in its warnings.

        Raises:
            ChildEnded: the document as a whole cannot be opened within the limits.
            UnreadableDocument: it is encrypted or broken, or no page could be read.
        """
        until = time.monotonic() + self.timeout_s
        survey = await self.children.run(survey_pdf, self.path, timeout_s=self.timeout_s)
        with TemporaryDirectory(prefix="ragstone-pages-") as name:
            folder = Path(name)
            failures = await self._read(survey.pages, folder, until)
            failures |= await self._recognise(folder)
            return await self.children.run(compose_pdf, folder, survey, failures, timeout_s=self.timeout_s)

    async def _read(self, pages: int, folder: Path, until: float) -> dict[int, str]:
        """Read all pages; why some could not be."""
        failures: dict[int, str] = {}
        first = 1
        while first <= pages:
            last = min(first + SLICE_PAGES - 1, pages)
            left = min(until - time.monotonic(), self.slice_timeout_s)
            if left <= 0:
                reason = f"reading the file took longer than {self.timeout_s:g} s (INGEST__LOAD_TIMEOUT_S)"
                return failures | dict.fromkeys(range(first, pages + 1), reason)
            try:
                await self.children.run(self.read, self.path, first, last, folder, timeout_s=left)
            except ChildEnded as error:
                done = [number for number in finished_pages(folder) if first <= number <= last]
                if not done:
                    # It was the first of its slice, so that nothing before it can be to blame.
                    failures[first] = (
                        "reading one took too long" if isinstance(error, OutOfTime) else f"reading one {error}"
                    )
                first = max(done, default=first) + 1
            else:
                first = last + 1
        return failures

    async def _recognise(self, folder: Path) -> dict[int, str]:
        """Recognise the pages that have no text; why some could not be."""
        failures: dict[int, str] = {}
        recogniser = Recogniser(self.options)
        if not recogniser.is_available:
            return failures
        for number in silent_pages(folder):
            if recogniser.seconds_left <= 0:
                failures[number] = "recognising took longer than INGEST__OCR_TIMEOUT_S allows"
                continue
            limit = min(recogniser.seconds_left, PAGE_TIMEOUT_S) + OCR_SPARE_S
            try:
                reason = await self.children.run(recognise_page, self.path, number, folder, recogniser, timeout_s=limit)
            except ChildEnded as error:
                reason = "recognising took too long" if isinstance(error, OutOfTime) else f"recognising {error}"
            if reason is not None:
                failures[number] = reason
        return failures
