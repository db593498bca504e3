"""Search on the real PostgreSQL and the real index: filters against brute force, distinct hits, widened passages."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from app.services import prepare_database
from core.database import Pool, open_pool
from core.domain import Chunk, ChunkId, CollectionId, DocumentId, Hit, Scope, TenantId
from core.engines.edge.index import open_edge_index
from core.errors import InvalidInput
from core.index import Point
from core.settings import DatabaseSettings
from ingest.document import chunk_values
from models.lexical import LexicalEncoder
from tools.filter import check_filter, parse_filter
from tools.reranking import Reranking
from tools.search import PLAIN, Search, SearchOptions
from tools.shelves import OneShelf

DIMENSION = 16
TOPICS = ("tide", "oil", "ferry", "keeper", "harbour", "lamp")


class HashEmbedder:
    """Vectors that follow from the text, and tokens that are words: enough where no meaning is asked for."""

    name, revision, dimension, max_tokens = "hash", "1", DIMENSION, 512

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\S+", text)]

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self.vector(text) for text in texts])

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        return self.vector(text)

    def vector(self, text: str) -> NDArray[np.float32]:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        vector = np.random.default_rng(seed).standard_normal(DIMENSION, dtype=np.float32)
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A tenant's documents: 40 in two collections, of three chunks each, with a number and tags."""

    tenant: TenantId
    collections: tuple[CollectionId, CollectionId]
    search: Search
    sifting: Search
    """The same search, but for filters that let more than three documents through."""

    @property
    def scope(self) -> Scope:
        return Scope(tenant=self.tenant)


def texts_of(number: int) -> list[str]:
    topic = TOPICS[number % len(TOPICS)]
    texts = [f"The {topic} is told of in part {part} of report {number}, {'x' * (number % 4)}." for part in range(2)]
    # Four documents each end in the same words.
    return [*texts, f"This is the same old story as in {number // 4} others" + ".!. "[number % 4]]


@pytest.fixture(scope="module")
async def pool(postgres: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings.model_validate({"url": postgres})) as pool:
        await prepare_database(pool)
        yield pool


@pytest.fixture(scope="module")
async def shelves(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Shelf, Shelf]]:
    """Two tenants on one index with documents of the same texts."""
    embedder, lexical = HashEmbedder(), LexicalEncoder()
    async with open_edge_index(tmp_path_factory.mktemp("index"), dimension=DIMENSION) as index:
        made = []
        for _ in range(2):
            tenant = TenantId(uuid.uuid4())
            collections = (CollectionId(uuid.uuid4()), CollectionId(uuid.uuid4()))
            points = await fill(pool, tenant, collections, embedder, lexical)
            await index.upsert(points)
            search = Search(pool, OneShelf(embedder, index), lexical, candidates=10)
            sifting = Search(pool, OneShelf(embedder, index), lexical, candidates=10, most_documents=3)
            made.append(Shelf(tenant, collections, search, sifting))
        yield made[0], made[1]


async def fill(
    pool: Pool,
    tenant: TenantId,
    collections: Sequence[CollectionId],
    embedder: HashEmbedder,
    lexical: LexicalEncoder,
) -> list[Point]:
    """Write the documents of a shelf; gives their points."""
    points = []
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("INSERT INTO tenants (id, name) VALUES (%s, %s)", (tenant, str(tenant)))
        for collection in collections:
            await connection.execute(
                "INSERT INTO collections (id, tenant_id, name, embedder, embedder_revision, dimension, chunker, "
                "chunker_options, lexical) VALUES (%s, %s, %s, 'hash', '1', 16, '', '{}', '')",
                (collection, tenant, str(collection)),
            )
        for number in range(40):
            document, collection = DocumentId(uuid.uuid4()), collections[number % 2]
            texts = texts_of(number)
            await connection.execute(
                "INSERT INTO documents (id, tenant_id, collection_id, sha256, name, media_type, size, status, blob, "
                "live_generation, live_name, live_media_type, live_size, live_metadata) VALUES "
                "(%s, %s, %s, %s, '', '', 0, 'indexed', '', 1, %s, 'text/plain', %s, %s)",
                (document, tenant, collection, str(number), f"{number}.txt", number, Jsonb(metadata_of(number))),
            )
            await connection.execute("INSERT INTO document_texts VALUES (%s, %s)", (document, "\n\n".join(texts)))
            chunks = chunks_of(document, texts)
            places = ", ".join(["%s"] * len(chunk_values(chunks[0])))
            for chunk in chunks:
                columns = "id, document_id, ordinal, digest, text, start_offset, end_offset, page, page_starts, section"
                await connection.execute(
                    f"INSERT INTO chunks ({columns}, context, parent_start, parent_end) VALUES ({places})",
                    chunk_values(chunk),
                )
            vectors = await embedder.embed_documents(texts)
            for chunk, dense, sparse in zip(chunks, vectors, lexical.encode_documents(texts), strict=True):
                points.append(
                    Point(
                        id=chunk.id,
                        tenant=tenant,
                        collection=collection,
                        document=document,
                        generation=1,
                        dense=dense,
                        lexical=sparse,
                    )
                )
    return points


def metadata_of(number: int) -> dict[str, object]:
    return {"number": number, "tags": [TOPICS[number % 6], "even" if number % 2 == 0 else "odd"]}


def chunks_of(document: DocumentId, texts: Sequence[str]) -> list[Chunk]:
    chunks, start = [], 0
    for ordinal, text in enumerate(texts):
        chunks.append(
            Chunk(
                id=ChunkId(uuid.uuid4()),
                document=document,
                ordinal=ordinal,
                text=text,
                digest=b"",
                start=start,
                end=start + len(text),
                section=["Reports"],
            )
        )
        start += len(text) + 2
    return chunks


def numbers(hits: Sequence[Hit]) -> list[int]:
    return [int(hit.document_name.removesuffix(".txt")) for hit in hits]


async def found(search: Search, shelf: Shelf, text: str, options: SearchOptions, limit: int = 10) -> list[Hit]:
    return list((await search(text, scope=shelf.scope, limit=limit, options=options)).hits)


def filtered(value: dict[str, object], options: SearchOptions = PLAIN) -> SearchOptions:
    return replace(options, filter=check_filter(parse_filter(value), []))


FILTERS = st.one_of(
    st.builds(
        lambda low, width: {"number": {"$gte": low, "$lt": low + width}}, st.integers(-5, 40), st.integers(0, 45)
    ),
    st.builds(lambda tags: {"tags": {"$in": tags}}, st.lists(st.sampled_from([*TOPICS, "odd", "none"]), min_size=1)),
    st.builds(lambda tag: {"tags": {"$all": [tag, "even"]}}, st.sampled_from(TOPICS)),
    st.builds(lambda n: {"$or": [{"size": {"$lt": n}}, {"name": "39.txt"}]}, st.integers(0, 40)),
    st.builds(lambda n: {"$not": {"number": {"$in": n}}}, st.lists(st.integers(0, 39), min_size=1)),
)


def passes(number: int, value: dict[str, object]) -> bool:
    """What the filters above mean, for the document of this number."""
    tags = {TOPICS[number % 6], "even" if number % 2 == 0 else "odd"}
    match value:
        case {"number": {"$gte": low, "$lt": high}}:
            return bool(low <= number < high)
        case {"tags": {"$in": wanted}}:
            return bool(tags & set(wanted))
        case {"tags": {"$all": wanted}}:
            return set(wanted) <= tags
        case {"$or": [{"size": {"$lt": limit}}, _]}:
            return bool(number < limit or number == 39)
        case {"$not": {"number": {"$in": wanted}}}:
            return number not in wanted
    raise AssertionError(value)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(value=FILTERS, topic=st.sampled_from(TOPICS), mode=st.sampled_from(["dense", "lexical"]))
async def test_filtered_hits_are_those_of_brute_force_whether_held_to_ids_or_sifted(
    shelves: tuple[Shelf, Shelf], value: dict[str, object], topic: str, mode: str
) -> None:
    shelf = shelves[0]
    options = SearchOptions(mode="dense" if mode == "dense" else "lexical")
    everything = await found(shelf.search, shelf, topic, options, limit=200)
    # Scores tie where texts are alike: equal scores may come in any order, so they are compared as such.
    expected = [hit for hit in everything if passes(numbers([hit])[0], value)]
    for search in (shelf.search, shelf.sifting):
        hits = await found(search, shelf, topic, filtered(value, options))
        assert all(passes(number, value) for number in numbers(hits))
        assert score_list(hits) == pytest.approx(score_list(expected[:10]), abs=1e-5)


def score_list(hits: Sequence[Hit]) -> list[float]:
    return [(hit.scores.dense if hit.scores.dense is not None else hit.scores.lexical) or 0.0 for hit in hits]


@pytest.mark.parametrize("value", [{"number": {"$lt": 30}}, {"tags": "odd"}, {"number": {"$in": [1, 2]}}])
async def test_both_ways_of_filtering_give_the_same_hits(
    shelves: tuple[Shelf, Shelf], value: dict[str, object]
) -> None:
    shelf, options = shelves[0], filtered(value, SearchOptions(mode="dense"))
    hits, sifted = [await found(search, shelf, "ferry", options) for search in (shelf.search, shelf.sifting)]
    assert [hit.chunk.id for hit in hits] == [hit.chunk.id for hit in sifted]
    assert len(hits) == (6 if "$in" in str(value) else 10)


async def test_a_filter_never_crosses_tenants_or_collections(shelves: tuple[Shelf, Shelf]) -> None:
    shelf, other = shelves
    for search in (shelf.search, shelf.sifting):
        result = await search("ferry", scope=other.scope, limit=100, options=filtered({"number": {"$gte": 0}}))
        assert {hit.collection for hit in result.hits} <= set(other.collections)
        assert len(result.hits) > 0
        scope = Scope(tenant=shelf.tenant, collections=frozenset(shelf.collections[:1]))
        result = await search("ferry", scope=scope, limit=100, options=filtered({"tags": "odd"}))
        assert list(result.hits) == []
        stranger = Scope(tenant=shelf.tenant, collections=frozenset(other.collections))
        result = await search("ferry", scope=stranger, limit=100, options=filtered({"number": {"$gte": 0}}))
        assert list(result.hits) == []


async def test_a_filter_that_nothing_passes_finds_nothing(shelves: tuple[Shelf, Shelf]) -> None:
    assert await found(shelves[0].search, shelves[0], "ferry", filtered({"number": 99})) == []


async def test_stages_that_are_off_do_not_run(shelves: tuple[Shelf, Shelf]) -> None:
    shelf = shelves[0]
    result = await shelf.search("ferry", scope=shelf.scope, limit=5)
    assert set(result.timings) == {"embed", "index", "fuse", "fetch", "total"}
    options = filtered({"number": {"$lt": 30}}, SearchOptions(distinct=True, diversity=0.5, expand="parent"))
    result = await shelf.search("ferry", scope=shelf.scope, limit=5, options=options)
    assert set(result.timings) == {"filter", "embed", "index", "fuse", "fetch", "diversify", "expand", "total"}


async def test_hits_that_say_the_same_are_replaced_by_the_next_ones(shelves: tuple[Shelf, Shelf]) -> None:
    shelf = shelves[0]
    plain = await found(shelf.search, shelf, "the same old story", SearchOptions(mode="lexical"), limit=10)
    assert len(plain) == 10
    distinct = await found(shelf.search, shelf, "the same old story", SearchOptions(mode="lexical", distinct=True))
    assert len(distinct) == 10
    assert len({hit.chunk.text.casefold().rstrip(" .!") for hit in plain}) < 10
    assert len({hit.chunk.text.casefold().rstrip(" .!") for hit in distinct}) == 10


async def test_diversity_picks_from_the_vectors_of_the_index(shelves: tuple[Shelf, Shelf]) -> None:
    shelf = shelves[0]
    plain = await found(shelf.search, shelf, "ferry", SearchOptions(mode="dense"), limit=5)
    relevance = await found(shelf.search, shelf, "ferry", SearchOptions(mode="dense", diversity=1.0), limit=5)
    assert [hit.chunk.id for hit in relevance] == [hit.chunk.id for hit in plain]
    diverse = await found(shelf.search, shelf, "ferry", SearchOptions(mode="dense", diversity=0.1), limit=5)
    assert [hit.chunk.id for hit in diverse] != [hit.chunk.id for hit in plain]
    vector = HashEmbedder().vector

    def nearest(hits: Sequence[Hit]) -> float:
        matrix = np.stack([vector(hit.chunk.text) for hit in hits])
        return float((matrix @ matrix.T - 2 * np.eye(len(hits))).max())

    assert nearest(diverse) < nearest(plain)


@pytest.mark.parametrize("expand", ["neighbours", "parent"])
async def test_a_widened_hit_is_a_verbatim_stretch_of_its_document(
    shelves: tuple[Shelf, Shelf], pool: Pool, expand: str
) -> None:
    shelf = shelves[0]
    options = SearchOptions(expand="parent" if expand == "parent" else "neighbours", expand_tokens=200)
    hits = await found(shelf.search, shelf, "ferry lamp", options, limit=8)
    assert len({hit.chunk.document for hit in hits}) == len(hits) == 8
    for hit in hits:
        assert hit.passage is not None
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM document_texts WHERE document_id = %s", [hit.chunk.document]
            )
            row = await cursor.fetchone()
        assert row is not None
        assert hit.passage.text == row["text"][hit.passage.start : hit.passage.end] == row["text"]
        assert [chunk.ordinal for chunk in hit.passage.chunks] == [0, 1, 2]
        assert hit.chunk.id in {chunk.id for chunk in hit.passage.chunks}
        assert hit.read_text == f"Reports\n{row['text']}"


async def test_every_hit_above_the_threshold_has_its_cosine(shelves: tuple[Shelf, Shelf]) -> None:
    shelf = shelves[0]
    plain = await found(shelf.search, shelf, "ferry", PLAIN, limit=20)
    assert None in {hit.scores.dense for hit in plain}
    hits = await found(shelf.search, shelf, "ferry", SearchOptions(threshold=-1), limit=20)
    vector = HashEmbedder().vector
    for hit in hits:
        assert hit.scores.dense == pytest.approx(float(vector(hit.chunk.text) @ vector("ferry")), abs=1e-5)
    assert [hit.chunk.id for hit in hits] == [hit.chunk.id for hit in plain]
    near = await found(shelf.search, shelf, "ferry", SearchOptions(threshold=0.3), limit=20)
    assert [hit.chunk.id for hit in near] == [h.chunk.id for h in hits if (h.scores.dense or 0) >= 0.3]
    assert 0 < len(near) < len(hits)
    assert await found(shelf.search, shelf, "ferry", SearchOptions(threshold=1), limit=20) == []


async def test_without_a_reranker_none_can_be_asked_for(shelves: tuple[Shelf, Shelf]) -> None:
    with pytest.raises(InvalidInput, match="RERANKER__MODEL"):
        await shelves[0].search("tide", scope=shelves[0].scope, limit=3, options=SearchOptions(rerank=True))


class PartReranker:
    """Likes the second part of a report best, and has no time for the last two passages."""

    name = "part"

    async def score(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        scores = [float("part 1" in passage) for passage in passages]
        return np.array([*scores[:-2], np.nan, np.nan], dtype=np.float32)


async def test_reranked_hits_come_first_and_those_without_time_keep_their_order(
    pool: Pool, shelves: tuple[Shelf, Shelf]
) -> None:
    shelf = shelves[0]
    stage = Reranking(reranker=PartReranker(), candidates=8, share=1.0, default=True)
    search = Search(pool, shelf.search._shelves, LexicalEncoder(), candidates=10, reranking=stage)
    off = SearchOptions(mode="lexical", rerank=False)
    plain = await search("report tide", scope=shelf.scope, limit=10, options=off)
    result = await search("report tide", scope=shelf.scope, limit=10, options=replace(off, rerank=None))
    order = [hit.chunk.id for hit in plain.hits]
    read = [hit.chunk.id for hit in result.hits if hit.scores.rerank is not None]
    liked = [hit.chunk.id for hit in plain.hits[:6] if "part 1" in hit.chunk.text]
    assert 0 < len(liked) < 6
    assert read == [*liked, *(chunk for chunk in order[:6] if chunk not in liked)]
    assert [hit.chunk.id for hit in result.hits] == [*read, *order[6:]]
    assert "rerank" in result.timings
    assert "rerank" not in plain.timings
