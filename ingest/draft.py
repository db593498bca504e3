"""A document's text while a loader writes it: blocks one below the other, with their offsets."""

from __future__ import annotations

from collections.abc import Sequence

from core.domain import Block, LoadedDocument, Page
from core.errors import UnreadableDocument
from ingest.encoding import clean

GAP = "\n\n"


class Draft:
    """Collects blocks and pages; `finish` gives the document."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []
        self._pages: list[Page] = []

    def page(self, number: int) -> None:
        """The blocks from here on are on page ``number`` (1-based)."""
        self._pages.append(Page(number=number, start=self._length + (len(GAP) if self._parts else 0)))

    def add(self, text: str, *, level: int = 0, lines: bool = False) -> None:
        """Append a block, cleaned; blank text is left out."""
        text = clean(text)
        text = text.strip("\n") if lines else text.strip()
        if not text.strip():
            return
        if self._parts:
            self._append(GAP)
        start = self._length
        self._append(text)
        self._blocks.append(Block(start=start, end=self._length, level=level, lines=lines))

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been written."""
        return not self._parts

    def finish(self, warnings: Sequence[str] = ()) -> LoadedDocument:
        """The document as it was written.

        Raises:
            UnreadableDocument: nothing was written.
        """
        if not self._parts:
            raise UnreadableDocument("The file is empty: it holds no text. Upload a file that does.")
        text = "".join(self._parts)
        pages = [Page(number=page.number, start=min(page.start, len(text))) for page in self._pages]
        return LoadedDocument(text=text, pages=pages, blocks=self._blocks, warnings=tuple(warnings))

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)


def row(cells: Sequence[str]) -> str:
    """A table's row as Markdown writes it, on one line."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
