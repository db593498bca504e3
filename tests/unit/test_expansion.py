from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import Chunk, ChunkId, CollectionId, DocumentId, Hit, Scores
from tools.expansion import Expand, Spread, same_section, spread

DOCUMENT = DocumentId(uuid.UUID(int=1))


def chunk(number: int, words: int = 10, *, parent: tuple[int, int] | None = None, section: str = "") -> Chunk:
    return Chunk(
        id=ChunkId(uuid.UUID(int=number)),
        document=DOCUMENT,
        ordinal=number,
        text=" ".join(["word"] * words),
        digest=b"",
        start=number * 100,
        end=number * 100 + words * 5 - 1,
        parent_start=parent[0] if parent else None,
        parent_end=parent[1] if parent else None,
        section=[section] if section else [],
    )


def hit(of: Chunk) -> Hit:
    return Hit(chunk=of, document_name="", collection=CollectionId(uuid.UUID(int=7)), scores=Scores(fused=0))


def count(text: str) -> int:
    return len(text.split())


def spreads(
    chunks: Sequence[Chunk], found: Sequence[int], *, expand: Expand = "neighbours", budget: int = 30, limit: int = 5
) -> list[Spread]:
    around = {of.id: chunks for of in chunks}
    return spread([hit(chunks[n]) for n in found], around, expand=expand, budget=budget, count=count, limit=limit)


def places(found: Sequence[Spread]) -> list[list[int]]:
    return [[chunk.ordinal for chunk in item.chunks] for item in found]


def test_neighbours_are_taken_by_turns_within_the_budget() -> None:
    chunks = [chunk(n) for n in range(9)]
    for budget, expected in ((10, [4]), (20, [4, 5]), (30, [3, 4, 5]), (40, [3, 4, 5, 6]), (59, [2, 3, 4, 5, 6])):
        assert places(spreads(chunks, [4], budget=budget)) == [expected]


def test_a_chunk_above_the_budget_is_read_alone() -> None:
    assert places(spreads([chunk(0), chunk(1, 50), chunk(2)], [1])) == [[1]]


def test_at_the_end_of_a_document_more_is_taken_of_the_other_side() -> None:
    chunks = [chunk(n) for n in range(5)]
    assert places(spreads(chunks, [0])) == [[0, 1, 2]]
    assert places(spreads(chunks, [4])) == [[2, 3, 4]]


def test_a_hit_that_is_read_with_a_better_one_is_left_out() -> None:
    chunks = [chunk(n) for n in range(9)]
    assert places(spreads(chunks, [3, 4, 7])) == [[2, 3, 4], [6, 7, 8]]
    assert places(spreads(chunks, [3, 5])) == [[2, 3, 4], [5, 6, 7]]
    assert places(spreads(chunks, [3, 4, 7, 0], limit=2)) == [[2, 3, 4], [6, 7, 8]]


def test_a_section_is_read_whole_when_it_fits() -> None:
    chunks = [chunk(n, parent=(-20, 260) if n < 3 else (280, 700)) for n in range(6)]
    (found,) = spreads(chunks, [1], expand="parent")
    assert (places([found]), found.start, found.end) == ([[0, 1, 2]], -20, 260)
    (found,) = spreads(chunks, [1], expand="parent", budget=20)
    assert (places([found]), found.start, found.end) == ([[1, 2]], 100, 249)


def test_without_bounds_a_section_is_what_stands_under_the_same_headings() -> None:
    chunks = [chunk(n, section="One" if n < 2 else "Two") for n in range(4)]
    (found,) = spreads(chunks, [1], expand="parent")
    assert (places([found]), found.start, found.end) == ([[0, 1]], 0, 149)
    assert same_section(chunk(0, section="One"), chunk(1, section="One"))
    assert not same_section(chunk(0, parent=(0, 5)), chunk(1))


def test_a_hit_whose_chunk_has_vanished_is_read_as_it_was_found() -> None:
    (found,) = spread([hit(chunk(3))], {}, expand="neighbours", budget=30, count=count, limit=5)
    assert list(found.chunks) == []


@pytest.mark.parametrize("expand", ["neighbours", "parent"])
@given(data=st.data())
def test_no_chunk_is_read_twice_and_the_budget_is_kept(expand: Expand, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=15))
    sections = data.draw(st.lists(st.sampled_from("ab"), min_size=len(sizes), max_size=len(sizes)))
    chunks = [chunk(n, size, section=name) for n, (size, name) in enumerate(zip(sizes, sections, strict=True))]
    found = data.draw(st.lists(st.integers(0, len(sizes) - 1), unique=True, max_size=6))
    budget = data.draw(st.integers(1, 60))
    result = spreads(chunks, found, expand=expand, budget=budget, limit=6)
    read = [number for taken in places(result) for number in taken]
    assert len(set(read)) == len(read)
    assert set(found) <= set(read)
    for item, taken in zip(result, places(result), strict=True):
        assert taken == list(range(taken[0], taken[-1] + 1))
        assert len(taken) == 1 or sum(sizes[number] for number in taken) <= budget
        assert (item.start, item.end) == (chunks[taken[0]].start, chunks[taken[-1]].end)
        assert item.hit.chunk in item.chunks
