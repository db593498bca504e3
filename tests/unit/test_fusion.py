from __future__ import annotations

import math
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import ChunkId, Scores
from core.index import Match, Ranking
from tools.fusion import LEAST_TRUST, fuse, rerank, scored, trust


def ids(*numbers: int) -> list[ChunkId]:
    return [ChunkId(uuid.UUID(int=number)) for number in numbers]


def test_the_score_is_the_weighted_sum_of_scores_relative_to_the_best_of_each_list() -> None:
    a, b, c = ids(1, 2, 3)
    ranking = Ranking(dense=[Match(a, 0.8), Match(b, 0.6)], lexical=[Match(b, 8.0), Match(c, 4.0)])
    fused = dict(fuse(ranking, dense_share=0.6))
    assert fused[a].fused == pytest.approx(0.6)
    assert fused[b].fused == pytest.approx(0.6 * 0.75 + 0.4)
    assert fused[c].fused == pytest.approx(0.4 * 0.5)
    assert list(fused) == [b, a, c]


def test_each_side_keeps_its_own_score() -> None:
    a, b = ids(1, 2)
    fused = dict(fuse(Ranking(dense=[Match(a, 0.9)], lexical=[Match(b, 7.0)])))
    assert (fused[a].dense, fused[a].lexical) == (0.9, None)
    assert (fused[b].dense, fused[b].lexical) == (None, 7.0)


@pytest.mark.parametrize("side", ["dense", "lexical"])
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_a_list_alone_keeps_its_order_whatever_its_weight(side: str, share: float) -> None:
    matches = [Match(chunk, score) for chunk, score in zip(ids(3, 1, 2), (4.0, 2.0, 1.0), strict=True)]
    fused = fuse(Ranking(**{side: matches}), dense_share=share)
    assert [(chunk, scores.fused) for chunk, scores in fused] == list(zip(ids(3, 1, 2), (1.0, 0.5, 0.25), strict=True))


def test_what_both_lists_find_beats_what_one_finds() -> None:
    a, b, c = ids(1, 2, 3)
    ranking = Ranking(dense=[Match(a, 0.50), Match(b, 0.48)], lexical=[Match(c, 9.0), Match(b, 8.0)])
    assert next(iter(fuse(ranking)))[0] == b


def test_cosines_below_zero_count_as_zero() -> None:
    a, b = ids(1, 2)
    fused = dict(fuse(Ranking(dense=[Match(a, -0.1), Match(b, -0.2)], lexical=[Match(b, 1.0)])))
    assert fused[a].fused == 0.0
    assert fused[b].fused == pytest.approx(0.4)


def test_equal_scores_are_ordered_the_same_way_every_time() -> None:
    a, b = ids(1, 2)
    ranking = Ranking(dense=[Match(a, 0.4)], lexical=[Match(b, 1.0)])
    assert [chunk for chunk, _ in fuse(ranking, dense_share=0.5)] == [a, b]


def test_nothing_found_gives_nothing() -> None:
    assert fuse(Ranking()) == []


SCORES = st.dictionaries(st.integers(1, 40), st.floats(-1, 30), max_size=20)


@given(dense=SCORES, lexical=SCORES, share=st.floats(0, 1))
def test_every_match_is_there_once_with_a_score_between_0_and_1(
    dense: dict[int, float], lexical: dict[int, float], share: float
) -> None:
    sides = [
        [Match(ids(n)[0], score) for n, score in sorted(side.items(), key=lambda item: -item[1])]
        for side in (dense, lexical)
    ]
    fused = fuse(Ranking(dense=sides[0], lexical=sides[1]), dense_share=share)
    assert sorted(chunk for chunk, _ in fused) == sorted(ids(*(dense.keys() | lexical.keys())))
    assert all(0 <= scores.fused <= 1 + 1e-9 for _, scores in fused)


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("What fuel does the lighthouse use?", 7, 1.0),
        ("one two three four", 9, 0.5),
        ("ما هو الوقود المستخدم", 18, LEAST_TRUST),
        # Two characters of a script without spaces are about a word.
        ("灯台の油は何", 6, 2 / 3),
        ("…?!", 3, 1.0),
    ],
    ids=["known words", "words in pieces", "unknown script", "no spaces", "no words"],
)
def test_an_embedder_that_cuts_words_into_pieces_is_trusted_less(text: str, tokens: int, expected: float) -> None:
    assert trust(text, tokens) == pytest.approx(expected)


def matches(*fused: float) -> list[tuple[ChunkId, Scores]]:
    return [(chunk, Scores(fused=score)) for chunk, score in zip(ids(*range(1, len(fused) + 1)), fused, strict=True)]


def test_reranking_weighs_both_scores_in_standard_deviations() -> None:
    a, b, c = ids(1, 2, 3)
    found = matches(0.9, 0.6, 0.3)
    scores = {a: -4.0, b: 8.0, c: 2.0}
    assert [chunk for chunk, _ in rerank(found, scores, share=1.0)] == [b, c, a]
    assert [chunk for chunk, _ in rerank(found, scores, share=0.0)] == [a, b, c]
    # fused: +1.22, 0, -1.22; reranker: -1.22, +1.22, 0.
    assert [chunk for chunk, _ in rerank(found, scores, share=0.5)] == [b, a, c]


def test_what_was_not_read_comes_after_what_was_in_its_own_order() -> None:
    a, b, c, d = ids(1, 2, 3, 4)
    reranked = rerank(matches(0.9, 0.8, 0.7, 0.6), {a: 0.0, b: 1.0}, share=1.0)
    assert [(chunk, scores.rerank) for chunk, scores in reranked] == [(b, 1.0), (a, 0.0), (c, None), (d, None)]
    assert [scores.fused for _, scores in reranked] == [0.8, 0.9, 0.7, 0.6]


def test_equal_scores_change_nothing() -> None:
    found = matches(0.9, 0.8, 0.7)
    assert [chunk for chunk, _ in rerank(found, dict.fromkeys(ids(1, 2, 3), 5.0))] == ids(1, 2, 3)
    assert rerank(found, {}) == found


def test_passages_without_time_have_no_score() -> None:
    assert scored(ids(1, 2), np.array([0.5, math.nan], dtype=np.float32)) == {ids(1)[0]: 0.5}
