from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from core.domain import Chunk, ChunkId, DocumentId
from ingest.plan import batches, chunks_to_embed

DOCUMENT = DocumentId(uuid.UUID(int=1))


def chunk(number: int, text: str = "text", digest: bytes = b"one") -> Chunk:
    return Chunk(
        id=ChunkId(uuid.UUID(int=number)),
        document=DOCUMENT,
        ordinal=number,
        text=text,
        digest=digest,
        start=0,
        end=len(text),
    )


numbers = st.lists(st.integers(0, 40), unique=True, max_size=20)


@given(numbers, numbers)
def test_after_what_is_planned_was_embedded_nothing_is_left_to_embed(before: list[int], after: list[int]) -> None:
    stored = {chunk(number).id for number in before}
    fresh = [chunk(number) for number in after]
    planned = chunks_to_embed(stored, fresh)
    assert {new.id for new in planned} == {new.id for new in fresh} - stored
    assert chunks_to_embed(stored | {new.id for new in planned}, fresh) == []


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 7))
def test_batches_hold_every_chunk_once_and_are_ordered_by_length(lengths: list[int], size: int) -> None:
    chunks = [chunk(number, "x" * length) for number, length in enumerate(lengths)]
    made = list(batches(chunks, size))
    flat = [item for batch in made for item in batch]
    assert sorted(item.ordinal for item in flat) == list(range(len(lengths)))
    assert [len(item.text) for item in flat] == sorted(lengths, reverse=True)
    assert all(len(batch) <= size for batch in made)
