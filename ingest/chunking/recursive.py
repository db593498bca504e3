"""The strategy ``recursive``: at the coarsest separators that give pieces of the right size."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence

from core.domain import Chunk, DocumentId, LoadedDocument
from ingest.chunking.passage import chunks_of
from ingest.chunking.ruler import Ruler, Stretch
from ingest.chunking.spec import RecursiveSpec
from ingest.chunking.units import joined
from models.embedder import Embedder


class RecursiveChunker:
    """Cuts as LangChain's ``RecursiveCharacterTextSplitter`` does, and knows every offset.

    The text is cut before each occurrence of the first separator that it has. Pieces of fewer than ``tokens`` tokens
    are joined to neighbours; longer ones are cut at the separators that follow, and at the end between tokens. That
    library looks its pieces up in the text, which finds the wrong place of a repeated one when chunks overlap.
    """

    def __init__(self, spec: RecursiveSpec, embedder: Embedder) -> None:
        self._spec = spec
        self._embedder = embedder

    async def chunk(self, loaded: LoadedDocument, document: DocumentId) -> list[Chunk]:
        """The chunks in reading order."""
        return await asyncio.to_thread(self._chunk, loaded, document)

    def _chunk(self, loaded: LoadedDocument, document: DocumentId) -> list[Chunk]:
        ruler = Ruler(loaded.text, self._embedder)
        stretches = self._cut(ruler, 0, len(loaded.text), self._spec.separators)
        return chunks_of(loaded, document, ruler.passages(list(stretches)))

    def _cut(self, ruler: Ruler, start: int, end: int, separators: Sequence[str]) -> Iterator[Stretch]:
        tokens, overlap = self._spec.tokens, self._spec.overlap
        place = next((n for n, mark in enumerate(separators) if ruler.text.find(mark, start, end) >= 0), None)
        if place is None:
            yield from ruler.windows(start, end, tokens=tokens, overlap=overlap)
            return
        good: list[Stretch] = []
        for piece in _pieces(ruler.text, start, end, separators[place]):
            if ruler.tokens(*piece) < tokens:
                good.append(piece)
                continue
            yield from joined(good, ruler, tokens, overlap=overlap)
            good = []
            yield from self._cut(ruler, *piece, separators[place + 1 :])
        yield from joined(good, ruler, tokens, overlap=overlap)


def _pieces(text: str, start: int, end: int, separator: str) -> Iterator[Stretch]:
    """The stretch, cut before each occurrence of the separator."""
    for match in re.compile(re.escape(separator)).finditer(text, start, end):
        if match.start() > start:
            yield start, match.start()
            start = match.start()
    yield start, end
