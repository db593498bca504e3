"""What an ingestion has to embed, and in which order: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from core.domain import Chunk, ChunkId


def chunks_to_embed(stored: Collection[ChunkId], fresh: Sequence[Chunk]) -> list[Chunk]:
    """Embed only what changed: a chunk's id follows from its text, so that one whose point is there stays as it is.

    Args:
        stored: the chunks whose points are in the index.
        fresh: the chunks that the document shall have.
    """
    return [chunk for chunk in fresh if chunk.id not in stored]


def batches(chunks: Sequence[Chunk], size: int) -> Iterator[list[Chunk]]:
    """The chunks in batches of similar length, longest first: little padding, and the memory's peak comes first."""
    ordered = sorted(chunks, key=lambda chunk: len(chunk.embedded_text), reverse=True)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
