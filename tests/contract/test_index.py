from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.domain import ChunkId, CollectionId, DocumentId, Scope, TenantId
from core.errors import InvalidInput
from core.index import IndexQuery, Match, Point, PointKey, Ranking, SparseVector, VectorIndex
from models.lexical import LexicalEncoder
from tests.contract.conftest import DIMENSION, Opener

ACME, BRAVO = TenantId(uuid.UUID(int=1)), TenantId(uuid.UUID(int=2))
LAW, CODE = CollectionId(uuid.UUID(int=11)), CollectionId(uuid.UUID(int=12))
CONTRACT, MANUAL = DocumentId(uuid.UUID(int=21)), DocumentId(uuid.UUID(int=22))
ENCODER = LexicalEncoder()

SENTENCES = (
    "The buyer pays the price within thirty days of delivery.",
    "Delivery is made to the warehouse of the buyer.",
    "Either party may end the contract with three months' notice.",
    "The seller warrants that the goods are free of defects.",
    "Die Lieferung erfolgt innerhalb von dreißig Tagen.",
    "Der Käufer zahlt den Preis nach Erhalt der Rechnung.",
    "يدفع المشتري الثمن خلال ثلاثين يوما من التسليم",
    "买方应在交货后三十天内付款",
    "Install the package and start the server.",
    "The server listens on port 8080 and answers in JSON.",
    "A price list of all spare parts is kept at the warehouse.",
    "Notice is given in writing to the address of the other party.",
)


def unit(seed: int) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).standard_normal(DIMENSION, dtype=np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def point(
    n: int,
    text: str = "The buyer pays the price.",
    *,
    tenant: TenantId = ACME,
    collection: CollectionId = LAW,
    document: DocumentId = CONTRACT,
    generation: int = 1,
) -> Point:
    return Point(
        id=ChunkId(uuid.UUID(int=100 + n)),
        tenant=tenant,
        collection=collection,
        document=document,
        generation=generation,
        dense=unit(n),
        lexical=ENCODER.encode_documents([text])[0],
    )


def question(n: int = 0, text: str = "price", limit: int = 50) -> IndexQuery:
    return IndexQuery(dense=unit(n), lexical=ENCODER.encode_query(text), limit=limit)


def ids(matches: Sequence[Match]) -> set[int]:
    return {match.id.int - 100 for match in matches}


async def test_what_was_stored_is_found_on_both_sides(index: VectorIndex) -> None:
    await index.upsert([point(0), point(1, "Install the package.")])
    found = await index.query(question(0), scope=Scope(tenant=ACME))
    assert found.dense[0].id.int == 100
    assert found.dense[0].score == pytest.approx(1, abs=1e-5)
    assert ids(found.lexical) == {0}


async def test_a_point_of_the_same_id_is_replaced(index: VectorIndex) -> None:
    await index.upsert([point(0)])
    await index.upsert([point(0, "Install the package.", document=MANUAL, generation=2)])
    assert await index.count(Scope(tenant=ACME)) == 1
    assert await index.count(Scope(tenant=ACME), CONTRACT) == 0
    assert (await index.query(question(text="price"), scope=Scope(tenant=ACME))).lexical == []
    assert ids((await index.query(question(text="package"), scope=Scope(tenant=ACME))).lexical) == {0}


async def test_more_points_than_one_slice_are_all_stored(index: VectorIndex) -> None:
    await index.upsert([point(n) for n in range(300)])
    assert await index.count(Scope(tenant=ACME)) == 300


async def test_deleting_a_document_leaves_the_others(index: VectorIndex) -> None:
    await index.upsert([point(0), point(1), point(2, document=MANUAL)])
    await index.delete(ACME, CONTRACT)
    assert await index.count(Scope(tenant=ACME), CONTRACT) == 0
    found = await index.query(question(), scope=Scope(tenant=ACME))
    assert (ids(found.dense), ids(found.lexical)) == ({2}, {2})


async def test_only_the_named_points_of_the_document_are_deleted(index: VectorIndex) -> None:
    await index.upsert([point(0), point(1), point(2, document=MANUAL)])
    await index.delete(ACME, CONTRACT, only=[point(1).id, point(2).id])
    assert ids((await index.query(question(), scope=Scope(tenant=ACME))).dense) == {0, 2}


async def test_naming_no_points_deletes_none(index: VectorIndex) -> None:
    await index.upsert([point(0)])
    await index.delete(ACME, CONTRACT, only=[])
    assert await index.count(Scope(tenant=ACME)) == 1


async def scanned(index: VectorIndex, scope: Scope | None, document: DocumentId | None = None) -> list[PointKey]:
    return [key async for page in index.scan(scope, document) for key in page]


async def test_a_scan_gives_every_point_once_with_what_it_says_of_itself(index: VectorIndex) -> None:
    points = [point(n, document=(CONTRACT, MANUAL)[n % 2], generation=n % 3) for n in range(1100)]
    await index.upsert(points)
    found = await scanned(index, Scope(tenant=ACME))
    assert len(found) == len(points)
    assert set(found) == {PointKey(p.id, p.tenant, p.collection, p.document, p.generation) for p in points}


async def test_a_scan_keeps_to_its_scope_and_to_its_document(index: VectorIndex) -> None:
    await index.upsert([point(0), point(1, collection=CODE), point(2, document=MANUAL), point(3, tenant=BRAVO)])
    for scope, document, expected in (
        (None, None, {0, 1, 2, 3}),
        (Scope(tenant=ACME), None, {0, 1, 2}),
        (Scope(tenant=BRAVO), None, {3}),
        (Scope(tenant=ACME, collections=frozenset({CODE})), None, {1}),
        (Scope(tenant=ACME, collections=frozenset[CollectionId]()), None, set[int]()),
        (Scope(tenant=ACME), MANUAL, {2}),
        (Scope(tenant=BRAVO), MANUAL, set[int]()),
    ):
        assert {key.id.int - 100 for key in await scanned(index, scope, document)} == expected


async def test_deleting_never_crosses_tenants(index: VectorIndex) -> None:
    await index.upsert([point(0, tenant=ACME), point(1, tenant=BRAVO)])
    await index.delete(BRAVO, CONTRACT, only=[point(0).id, point(1).id])
    assert await index.count(Scope(tenant=ACME)) == 1
    assert await index.count(Scope(tenant=BRAVO)) == 0


async def test_a_search_never_crosses_tenants(index: VectorIndex) -> None:
    await index.upsert([point(0, tenant=ACME), point(1, tenant=BRAVO), point(2, tenant=BRAVO)])
    for tenant, expected in ((ACME, {0}), (BRAVO, {1, 2})):
        found = await index.query(question(), scope=Scope(tenant=tenant))
        assert (ids(found.dense), ids(found.lexical)) == (expected, expected)
        assert await index.count(Scope(tenant=tenant)) == len(expected)


async def test_scores_do_not_tell_what_other_tenants_have(index: VectorIndex) -> None:
    await index.upsert([point(n, text) for n, text in enumerate(SENTENCES)])
    before = await index.query(question(), scope=Scope(tenant=ACME))
    await index.upsert([point(100 + n, tenant=BRAVO) for n in range(50)])
    after = await index.query(question(), scope=Scope(tenant=ACME))
    assert [match.score for match in after.lexical] == pytest.approx([match.score for match in before.lexical])


async def test_a_search_never_crosses_collections(index: VectorIndex) -> None:
    await index.upsert([point(0, collection=LAW), point(1, collection=CODE), point(2, tenant=BRAVO, collection=CODE)])
    for collections, expected in (
        (frozenset({LAW}), {0}),
        (frozenset({CODE}), {1}),
        (frozenset({LAW, CODE}), {0, 1}),
        (frozenset[CollectionId](), set[int]()),
    ):
        scope = Scope(tenant=ACME, collections=collections)
        found = await index.query(question(), scope=scope)
        assert (ids(found.dense), ids(found.lexical)) == (expected, expected)
        assert await index.count(scope) == len(expected)


async def test_a_search_can_be_held_to_some_documents(index: VectorIndex) -> None:
    report = DocumentId(uuid.UUID(int=23))
    await index.upsert([point(n, document=d) for n, d in enumerate((CONTRACT, MANUAL, report))])
    await index.upsert([point(3, document=MANUAL, collection=CODE), point(4, document=MANUAL, tenant=BRAVO)])
    many = frozenset({MANUAL, *(DocumentId(uuid.uuid4()) for _ in range(10_000))})
    for documents, collections, expected in (
        (None, None, {0, 1, 2, 3}),
        (frozenset({MANUAL}), None, {1, 3}),
        (frozenset({CONTRACT, report}), None, {0, 2}),
        (frozenset({CONTRACT, MANUAL}), frozenset({CODE}), {3}),
        (frozenset({DocumentId(uuid.uuid4())}), None, set[int]()),
        (frozenset[DocumentId](), None, set[int]()),
        (many, None, {1, 3}),
    ):
        asked = replace(question(), documents=documents)
        found = await index.query(asked, scope=Scope(tenant=ACME, collections=collections))
        assert (ids(found.dense), ids(found.lexical)) == (expected, expected)


async def test_scores_do_not_depend_on_the_documents_asked_for(index: VectorIndex) -> None:
    await index.upsert([point(n, text, document=(CONTRACT, MANUAL)[n % 2]) for n, text in enumerate(SENTENCES)])
    scope = Scope(tenant=ACME)
    everything = dict((await index.query(question(text="delivery"), scope=scope)).lexical)
    asked = replace(question(text="delivery"), documents=frozenset({MANUAL}))
    some = dict((await index.query(asked, scope=scope)).lexical)
    assert some == pytest.approx({chunk: everything[chunk] for chunk in some})
    assert 0 < len(some) < len(everything)


async def test_vectors_come_back_as_they_were_stored(index: VectorIndex) -> None:
    await index.upsert([point(n) for n in range(30)])
    asked = [point(n).id for n in (3, 7, 29)]
    found = await index.vectors([*asked, point(99).id], scope=Scope(tenant=ACME))
    assert found.keys() == set(asked)
    for n in (3, 7, 29):
        assert found[point(n).id] == pytest.approx(unit(n), abs=1e-6)
    assert await index.vectors([], scope=Scope(tenant=ACME)) == {}


async def test_vectors_never_cross_a_scope(index: VectorIndex) -> None:
    await index.upsert([point(0), point(1, collection=CODE), point(2, tenant=BRAVO)])
    asked = [point(n).id for n in range(3)]
    for collections, expected in ((None, {0, 1}), (frozenset({CODE}), {1}), (frozenset[CollectionId](), set[int]())):
        found = await index.vectors(asked, scope=Scope(tenant=ACME, collections=collections))
        assert {chunk.int - 100 for chunk in found} == expected


async def test_an_empty_index_finds_nothing(index: VectorIndex) -> None:
    found = await index.query(question(), scope=Scope(tenant=ACME))
    assert (list(found.dense), list(found.lexical)) == ([], [])
    assert await index.count(Scope(tenant=ACME)) == 0
    await index.upsert([])
    await index.delete(ACME, CONTRACT)
    assert await index.count(Scope(tenant=ACME), CONTRACT) == 0


async def test_a_side_that_is_not_asked_for_stays_empty(index: VectorIndex) -> None:
    await index.upsert([point(0)])
    scope = Scope(tenant=ACME)
    assert await index.query(IndexQuery(), scope=scope) == Ranking()
    dense = await index.query(IndexQuery(dense=unit(0)), scope=scope)
    assert (ids(dense.dense), list(dense.lexical)) == ({0}, [])
    lexical = await index.query(IndexQuery(lexical=ENCODER.encode_query("price")), scope=scope)
    assert (list(lexical.dense), ids(lexical.lexical)) == ([], {0})
    empty = await index.query(IndexQuery(dense=unit(0), lexical=SparseVector([], [])), scope=scope)
    assert (ids(empty.dense), list(empty.lexical)) == ({0}, [])


async def test_a_passage_without_words_is_found_by_its_vector(index: VectorIndex) -> None:
    await index.upsert([point(0, "…!"), point(1)])
    found = await index.query(question(), scope=Scope(tenant=ACME))
    assert (ids(found.dense), ids(found.lexical)) == ({0, 1}, {1})


async def test_lists_are_as_long_as_the_limit_and_best_first(index: VectorIndex) -> None:
    await index.upsert([point(n, f"price {'list ' * n}") for n in range(20)])
    found = await index.query(question(limit=7), scope=Scope(tenant=ACME))
    for side in (found.dense, found.lexical):
        assert len(side) == 7
        assert [match.score for match in side] == sorted((match.score for match in side), reverse=True)
    assert found.lexical[0].id.int == 100


async def test_the_dense_score_is_the_cosine(index: VectorIndex) -> None:
    await index.upsert([point(n) for n in range(20)])
    found = await index.query(IndexQuery(dense=-unit(3)), scope=Scope(tenant=ACME))
    assert len(found.dense) == 20
    for match in found.dense:
        assert -1 - 1e-5 <= match.score <= 1 + 1e-5
        assert match.score == pytest.approx(float(-unit(3) @ unit(match.id.int - 100)), abs=1e-5)
    assert found.dense[-1].id.int == 103


async def test_a_vector_of_another_length_is_refused(index: VectorIndex) -> None:
    wrong = np.ones(DIMENSION + 1, dtype=np.float32)
    with pytest.raises(InvalidInput, match=str(DIMENSION)):
        await index.query(IndexQuery(dense=wrong), scope=Scope(tenant=ACME))
    odd = Point(
        id=ChunkId(uuid.uuid4()),
        tenant=ACME,
        collection=LAW,
        document=CONTRACT,
        generation=1,
        dense=wrong,
        lexical=SparseVector([], []),
    )
    with pytest.raises(InvalidInput, match=str(DIMENSION)):
        await index.upsert([point(0), odd])
    assert await index.count(Scope(tenant=ACME)) == 0


async def test_what_was_stored_is_there_after_reopening(open_index: Opener, backend: str, tmp_path: Path) -> None:
    async with open_index(backend, tmp_path / "index") as index:
        await index.upsert([point(n, text) for n, text in enumerate(SENTENCES)])
        await index.delete(ACME, CONTRACT, only=[point(0).id])
        before = await index.query(question(), scope=Scope(tenant=ACME))
    async with open_index(backend, tmp_path / "index") as index:
        assert await index.count(Scope(tenant=ACME)) == len(SENTENCES) - 1
        after = await index.query(question(), scope=Scope(tenant=ACME))
        for old, new in ((before.dense, after.dense), (before.lexical, after.lexical)):
            assert [match.score for match in new] == pytest.approx([match.score for match in old])


@pytest.mark.parametrize("backend", ["qdrant", "chroma", "chroma-server"])
async def test_all_indexes_find_the_same(open_index: Opener, backend: str, tmp_path: Path) -> None:
    texts = [f"{a} {b}" for a, b in itertools.product(SENTENCES, SENTENCES)]
    points = [
        point(n, text, tenant=(ACME, BRAVO)[n % 3 == 0], collection=(LAW, CODE)[n % 2]) for n, text in enumerate(texts)
    ]
    scopes = (Scope(tenant=ACME), Scope(tenant=BRAVO), Scope(tenant=ACME, collections=frozenset({CODE})))
    words = ("price of the delivery", "notice in writing", "Lieferung", "المشتري", "付款", "server port 8080")
    async with open_index("edge", tmp_path / "edge") as edge, open_index(backend, tmp_path / "other") as server:
        await edge.upsert(points)
        await server.upsert(points)
        for scope, (n, text) in itertools.product(scopes, enumerate(words)):
            asked = question(1000 + n, text, limit=1000)
            one, other = await edge.query(asked, scope=scope), await server.query(asked, scope=scope)
            assert one.lexical, text
            for left, right in ((one.dense, other.dense), (one.lexical, other.lexical)):
                # Equal scores may come in any order, so the points are compared by their scores.
                assert dict(left) == pytest.approx(dict(right), abs=1e-4)
                assert [match.score for match in left] == pytest.approx([m.score for m in right], abs=1e-4)
