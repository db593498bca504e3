from __future__ import annotations

import uuid

import pytest

from core.domain import ChunkId
from core.index import Match, Ranking
from tools.fusion import RRF_K, fuse


def ids(*numbers: int) -> list[ChunkId]:
    return [ChunkId(uuid.UUID(int=number)) for number in numbers]


def test_the_score_is_the_sum_of_reciprocal_ranks() -> None:
    a, b, c = ids(1, 2, 3)
    ranking = Ranking(dense=[Match(a, 0.9), Match(b, 0.5)], lexical=[Match(b, 7.0), Match(c, 3.0)])
    fused = dict(fuse(ranking))
    assert fused[b].fused == pytest.approx(1 / (RRF_K + 2) + 1 / (RRF_K + 1))
    assert fused[a].fused == pytest.approx(1 / (RRF_K + 1))
    assert list(fused) == [b, a, c]


def test_each_side_keeps_its_own_score() -> None:
    a, b = ids(1, 2)
    fused = dict(fuse(Ranking(dense=[Match(a, 0.9)], lexical=[Match(b, 7.0)])))
    assert (fused[a].dense, fused[a].lexical) == (0.9, None)
    assert (fused[b].dense, fused[b].lexical) == (None, 7.0)


def test_equal_ranks_are_ordered_the_same_way_every_time() -> None:
    a, b = ids(1, 2)
    one = fuse(Ranking(dense=[Match(a, 0.4)], lexical=[Match(b, 1.0)]))
    assert [chunk for chunk, _ in one] == [a, b]


def test_nothing_found_gives_nothing() -> None:
    assert fuse(Ranking()) == []
