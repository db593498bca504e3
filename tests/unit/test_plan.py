from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from core.domain import Chunk, ChunkId, DocumentId
from ingest.plan import batches, plan_update

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
def test_applying_a_plan_twice_changes_nothing_the_second_time(before: list[int], after: list[int]) -> None:
    stored = {chunk(number).id: chunk(number).digest for number in before}
    fresh = [chunk(number) for number in after]
    plan = plan_update(stored, fresh)
    applied = {id: digest for id, digest in stored.items() if id not in plan.delete}
    applied |= {new.id: new.digest for new in plan.embed}
    assert applied == {new.id: new.digest for new in fresh}
    again = plan_update(applied, fresh)
    assert (list(again.embed), list(again.delete)) == ([], [])


def test_only_changed_chunks_are_embedded_and_vanished_ones_deleted() -> None:
    stored = {chunk(1).id: b"one", chunk(2).id: b"old", chunk(3).id: b"one"}
    plan = plan_update(stored, [chunk(1), chunk(2), chunk(4)])
    assert [new.ordinal for new in plan.embed] == [2, 4]
    assert plan.delete == [chunk(3).id]


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 7))
def test_batches_hold_every_chunk_once_and_are_ordered_by_length(lengths: list[int], size: int) -> None:
    chunks = [chunk(number, "x" * length) for number, length in enumerate(lengths)]
    made = list(batches(chunks, size))
    flat = [item for batch in made for item in batch]
    assert sorted(item.ordinal for item in flat) == list(range(len(lengths)))
    assert [len(item.text) for item in flat] == sorted(lengths, reverse=True)
    assert all(len(batch) <= size for batch in made)
