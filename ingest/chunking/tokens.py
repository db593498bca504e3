"""The strategy ``tokens``: a fixed number of tokens, with overlap, wherever they end."""

from __future__ import annotations

import asyncio

from core.domain import Chunk, DocumentId, LoadedDocument
from ingest.chunking.passage import chunks_of
from ingest.chunking.ruler import Ruler
from ingest.chunking.spec import TokensSpec
from models.embedder import Embedder


class TokensChunker:
    """Cuts every ``tokens - overlap`` tokens, as LangChain's ``TokenTextSplitter`` does; words may be cut."""

    def __init__(self, spec: TokensSpec, embedder: Embedder) -> None:
        self._spec = spec
        self._embedder = embedder

    async def chunk(self, loaded: LoadedDocument, document: DocumentId) -> list[Chunk]:
        """The chunks in reading order."""
        return await asyncio.to_thread(self._chunk, loaded, document)

    def _chunk(self, loaded: LoadedDocument, document: DocumentId) -> list[Chunk]:
        ruler = Ruler(loaded.text, self._embedder)
        windows = ruler.windows(0, len(loaded.text), tokens=self._spec.tokens, overlap=self._spec.overlap)
        return chunks_of(loaded, document, ruler.passages(list(windows)))
