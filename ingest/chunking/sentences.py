"""The strategy ``sentences``: whole sentences, as many as fit, with overlap."""

from __future__ import annotations

import asyncio

from core.domain import Chunk, DocumentId, LoadedDocument
from ingest.chunking.passage import chunks_of
from ingest.chunking.ruler import Ruler
from ingest.chunking.spec import SentencesSpec
from ingest.chunking.units import joined, units
from models.embedder import Embedder


class SentencesChunker:
    """Joins sentences, and lines of tables, lists and code; one that is too long alone is cut between tokens."""

    def __init__(self, spec: SentencesSpec, embedder: Embedder) -> None:
        self._spec = spec
        self._embedder = embedder

    async def chunk(self, loaded: LoadedDocument, document: DocumentId) -> list[Chunk]:
        """The chunks in reading order."""
        return await asyncio.to_thread(self._chunk, loaded, document)

    def _chunk(self, loaded: LoadedDocument, document: DocumentId) -> list[Chunk]:
        ruler = Ruler(loaded.text, self._embedder)
        found = list(units(loaded, ruler, self._spec.tokens))
        stretches = joined(found, ruler, self._spec.tokens, overlap=self._spec.overlap)
        return chunks_of(loaded, document, ruler.passages(list(stretches)))
