"""What an ingestion has to change in the index: a pure function of what is stored and what is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.domain import Chunk, ChunkId


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """Chunks to embed and store, and ids of chunks to delete."""

    embed: Sequence[Chunk]
    delete: Sequence[ChunkId]


def plan_update(stored: Mapping[ChunkId, bytes], fresh: Sequence[Chunk]) -> IndexPlan:
    """Embed only what changed; delete only what vanished.

    Args:
        stored: digest of every chunk that the index holds of the document.
        fresh: the chunks that it should hold.
    """
    wanted = {chunk.id for chunk in fresh}
    return IndexPlan(
        embed=[chunk for chunk in fresh if stored.get(chunk.id) != chunk.digest],
        delete=sorted(stored.keys() - wanted),
    )


def batches(chunks: Sequence[Chunk], size: int) -> Iterator[list[Chunk]]:
    """The chunks in batches of similar length, longest first: little padding, and the memory's peak comes first."""
    ordered = sorted(chunks, key=lambda chunk: len(chunk.embedded_text), reverse=True)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
