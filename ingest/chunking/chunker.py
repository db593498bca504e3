"""The interface of the strategies, and the way from a spec to its strategy."""

from __future__ import annotations

from typing import Protocol

from core.domain import Chunk, DocumentId, LoadedDocument
from ingest.chunking.recursive import RecursiveChunker
from ingest.chunking.semantic import SemanticChunker
from ingest.chunking.sentences import SentencesChunker
from ingest.chunking.spec import ChunkerSpec, RecursiveSpec, SemanticSpec, SentencesSpec, StructureSpec, TokensSpec
from ingest.chunking.structure import StructureChunker
from ingest.chunking.tokens import TokensChunker
from models.embedder import Embedder


class Chunker(Protocol):
    """Cuts documents into chunks."""

    async def chunk(self, loaded: LoadedDocument, document: DocumentId) -> list[Chunk]:
        """The chunks in reading order.

        Each is ``loaded.text[start:end]`` with its page and a deterministic id; its `Chunk.embedded_text` has at most
        as many tokens as the spec says. Together they hold every character of the blocks that is not blank, save
        headings that stand whole in the section of a chunk.

        Raises:
            Unavailable: the strategy embeds, and the embedder does not answer.
        """
        ...


def open_chunker(spec: ChunkerSpec, embedder: Embedder) -> Chunker:
    """The strategy of a spec, counting by the embedder's own tokenizer."""
    match spec:
        case TokensSpec():
            return TokensChunker(spec, embedder)
        case SentencesSpec():
            return SentencesChunker(spec, embedder)
        case RecursiveSpec():
            return RecursiveChunker(spec, embedder)
        case SemanticSpec():
            return SemanticChunker(spec, embedder)
        case StructureSpec():
            return StructureChunker(spec, embedder)
