from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import Chunk, ChunkId, CollectionId, DocumentId, Hit, Scores
from tools.diversity import CONTAINED, OVERLAP, containment, distinct, diversified, overlap, shingles

PRICE = "The buyer pays the price within thirty days of the delivery to the warehouse."
NOTICE = "Either party may end the contract with three months' notice in writing."


def hit(number: int, text: str = PRICE, *, document: int | None = None, start: int = 0) -> Hit:
    chunk = Chunk(
        id=ChunkId(uuid.UUID(int=number)),
        document=DocumentId(uuid.UUID(int=1000 + (number if document is None else document))),
        ordinal=0,
        text=text,
        digest=b"",
        start=start,
        end=start + len(text),
    )
    return Hit(chunk=chunk, document_name="", collection=CollectionId(uuid.UUID(int=7)), scores=Scores(fused=0))


def numbers(hits: Sequence[Hit]) -> list[int]:
    return [hit.chunk.id.int for hit in hits]


def kept(*hits: Hit) -> list[int]:
    return numbers(list(distinct(hits)))


def test_the_same_text_of_another_document_is_left_out() -> None:
    assert kept(hit(1), hit(2, NOTICE), hit(3, PRICE.upper().replace(".", " !"))) == [1, 2]


def test_a_text_that_differs_in_a_word_of_its_end_is_left_out() -> None:
    assert kept(hit(1, f"{PRICE} {NOTICE}"), hit(2, f"{PRICE} {NOTICE.replace('writing', 'person')}")) == [1]


def test_a_part_of_a_better_hit_is_left_out_and_a_longer_text_is_not() -> None:
    longer = f"{PRICE} {NOTICE}"
    assert kept(hit(1, longer), hit(2, PRICE)) == [1]
    assert kept(hit(1, PRICE), hit(2, longer)) == [1, 2]


def test_numbers_that_differ_make_another_row() -> None:
    assert kept(hit(1, "Part 4711: 12 EUR"), hit(2, "Part 4712: 13 EUR")) == [1, 2]


def test_a_script_without_spaces_is_compared_by_its_characters() -> None:
    text = "买方应在交货后三十天内付款给卖方"
    assert kept(hit(1, text), hit(2, text + "。"), hit(3, "卖方应在合同签订后十天内交货")) == [1, 3]


@pytest.mark.parametrize(("shift", "expected"), [(0, [1]), (40, [1]), (45, [1, 2]), (200, [1, 2])])
def test_a_hit_goes_when_half_of_it_lies_in_a_better_one(shift: int, expected: list[int]) -> None:
    first = hit(1, "a" * 80, document=5)
    second = hit(2, "bcde " * 16, document=5, start=shift)
    assert overlap(second.chunk, first.chunk) == max(0, 1 - shift / 80)
    assert kept(first, second) == expected


def test_offsets_of_different_documents_are_not_compared() -> None:
    assert overlap(hit(1).chunk, hit(2, NOTICE).chunk) == 0
    assert kept(hit(1), hit(2, NOTICE)) == [1, 2]


WORDS = st.lists(st.sampled_from("one two three four five six".split()), max_size=14).map(" ".join)


@given(st.lists(st.tuples(WORDS, st.integers(0, 2), st.integers(0, 60)), max_size=12))
def test_what_is_kept_is_in_order_and_says_nothing_twice(made: list[tuple[str, int, int]]) -> None:
    hits = [hit(n, text, document=document, start=start) for n, (text, document, start) in enumerate(made)]
    left = list(distinct(hits))
    assert numbers(left) == sorted(numbers(left))
    assert numbers(left)[:1] == [0][: len(hits)]
    assert numbers(list(distinct(left))) == numbers(left)
    for late in range(len(left)):
        for early in left[:late]:
            assert overlap(left[late].chunk, early.chunk) < OVERLAP
            assert containment(shingles(left[late].chunk.text), shingles(early.chunk.text)) < CONTAINED


VECTORS = st.lists(
    st.tuples(*[st.integers(-3, 3)] * 3).filter(any).map(lambda v: np.asarray(v, np.float32) / np.linalg.norm(v)),
    min_size=1,
    max_size=8,
)


@given(VECTORS, st.integers(1, 10))
def test_a_weight_of_one_leaves_the_ranking_as_it_is(vectors: list[np.ndarray], limit: int) -> None:
    hits = [hit(n) for n in range(len(vectors))]
    picked = diversified(hits, {h.chunk.id: v for h, v in zip(hits, vectors, strict=True)}, weight=1.0, limit=limit)
    assert numbers(picked) == list(range(min(limit, len(hits))))


@given(VECTORS, st.floats(0, 1), st.integers(1, 10))
def test_each_pick_has_the_greatest_marginal_relevance(vectors: list[np.ndarray], weight: float, limit: int) -> None:
    hits = [hit(n) for n in range(len(vectors))]
    picked = numbers(
        diversified(hits, {h.chunk.id: v for h, v in zip(hits, vectors, strict=True)}, weight=weight, limit=limit)
    )
    assert len(set(picked)) == len(picked) == min(limit, len(hits))

    def marginal(number: int, before: Sequence[int]) -> float:
        similar = max((float(vectors[number] @ vectors[other]) for other in before), default=0.0)
        return weight * (1 - number / len(hits)) - (1 - weight) * similar

    for place, number in enumerate(picked):
        best = max(marginal(other, picked[:place]) for other in range(len(hits)) if other not in picked[:place])
        assert marginal(number, picked[:place]) == pytest.approx(best, abs=1e-5)


def test_hits_alike_give_way_to_others() -> None:
    same, other = np.asarray([1, 0], np.float32), np.asarray([0, 1], np.float32)
    hits = [hit(n) for n in range(4)]
    vectors = {hits[0].chunk.id: same, hits[1].chunk.id: same, hits[2].chunk.id: other}
    assert numbers(diversified(hits, vectors, weight=0.5, limit=2)) == [0, 2]
    assert numbers(diversified(hits, vectors, weight=0.5, limit=4)) == [0, 2, 3, 1]
    assert diversified([], {}, weight=0.5, limit=3) == []
    assert numbers(diversified(hits, {}, weight=0.5, limit=3)) == [0, 1, 2]
