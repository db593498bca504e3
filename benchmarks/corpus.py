"""Made-up chunks for the search benchmark, always the same, stored as the write path would have stored them."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.database import Pool
from core.domain import ChunkId, CollectionId, DocumentId, TenantId
from core.index import Point, VectorIndex
from models.lexical import LexicalEncoder

SEED = 20_261_122
DIMENSION = 384
WORDS = 50_000
WORDS_OF_CHUNK = (60, 130)
WORDS_OF_QUESTION = 6
CLUSTERS = 500
SPREAD = 0.8
"""How far a vector lies from its cluster's centre, which has length 1: neighbours have a cosine of about 0.6."""
CHUNKS_OF_DOCUMENT = 50
WRITE = 1000
PART = 10_000
SYLLABLES = "ba de fi go hu ka le mi no pu ra se ti vo zu chan dor fel gris mon par quil stra tem ver".split()
FUNCTION_WORDS = (
    "the of and to in a is that it for was on are as with be by at this from or an have not but which they his were "
    "all we when there can if more has one would what so up out about into than them then some her only time will"
).split()
"""The head of the distribution, as in English; most of these are stopwords of the lexical encoder."""


@dataclass(frozen=True)
class Corpus:
    """Texts with unit vectors of shape (texts, dimension), and questions that each ask for one of the texts."""

    texts: Sequence[str]
    vectors: NDArray[np.float32]
    questions: Sequence[tuple[str, NDArray[np.float32]]]


class Owner(NamedTuple):
    """Whose chunks they are."""

    tenant: TenantId
    collection: CollectionId


class Place(NamedTuple):
    """A chunk's id and document; ``row`` counts in the corpus."""

    chunk: ChunkId
    document: DocumentId
    row: int


def make_corpus(chunks: int, questions: int) -> Corpus:
    """Words follow Zipf's law, vectors lie in clusters."""
    generator = np.random.default_rng(SEED)
    texts = make_texts(generator, chunks)
    centres = unit(generator.standard_normal((CLUSTERS, DIMENSION)))
    vectors = near(generator, centres[generator.integers(CLUSTERS, size=chunks)])
    wanted = generator.integers(chunks, size=questions)
    asked = near(generator, vectors[wanted])
    phrases = [make_phrase(generator, texts[row]) for row in wanted]
    return Corpus(texts, vectors, list(zip(phrases, asked, strict=True)))


def make_texts(generator: np.random.Generator, count: int) -> list[str]:
    """Texts whose words follow Zipf's law; made in parts, because the words of all would take much memory."""
    words = np.array(FUNCTION_WORDS + made_up_words(WORDS - len(FUNCTION_WORDS)), dtype=object)
    cumulated = np.cumsum(1 / (np.arange(WORDS) + 2.7))
    texts: list[str] = []
    for start in range(0, count, PART):
        lengths = generator.integers(*WORDS_OF_CHUNK, min(PART, count - start))
        drawn = words[np.searchsorted(cumulated, generator.random(lengths.sum()) * cumulated[-1])]
        texts += [" ".join(part) for part in np.split(drawn, np.cumsum(lengths)[:-1])]
    return texts


def make_phrase(generator: np.random.Generator, text: str) -> str:
    """A question in words of the text."""
    content = [word for word in text.split() if word not in FUNCTION_WORDS]
    return " ".join(["what is the", *generator.choice(content, WORDS_OF_QUESTION)])


def made_up_words(count: int) -> list[str]:
    """Distinct words, the shorter ones first, as more frequent words are shorter."""
    longer = itertools.chain.from_iterable(itertools.product(SYLLABLES, repeat=length) for length in (2, 3, 4))
    return ["".join(syllables) for syllables in itertools.islice(longer, count)]


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """The vectors at length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)


def near(generator: np.random.Generator, centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """A unit vector near each centre."""
    return unit(centres + SPREAD * unit(generator.standard_normal(centres.shape, dtype=np.float32)))


async def store(pool: Pool, index: VectorIndex, corpus: Corpus, count: int) -> TenantId:
    """Store the first ``count`` chunks for a tenant of their own."""
    owner = await make_owner(pool)
    documents = [DocumentId(uuid.uuid4()) for _ in range(-(-count // CHUNKS_OF_DOCUMENT))]
    places = [Place(chunk_id(owner.tenant, row), documents[row // CHUNKS_OF_DOCUMENT], row) for row in range(count)]
    await store_rows(pool, corpus, owner, documents, places)
    # What autovacuum would have done since.
    async with pool.connection() as connection:
        await connection.execute("VACUUM ANALYZE documents, chunks")
    await store_points(index, corpus, owner, places)
    return owner.tenant


def chunk_id(tenant: TenantId, row: int) -> ChunkId:
    """The id of a tenant's chunk of that row of the corpus."""
    return ChunkId(uuid.uuid5(tenant, str(row)))


async def make_owner(pool: Pool) -> Owner:
    """A tenant with a collection."""
    async with pool.connection() as connection:
        cursor = await connection.execute("INSERT INTO tenants (name) VALUES (%s) RETURNING id", (str(uuid.uuid4()),))
        tenant = (await cursor.fetchall())[0]["id"]
        cursor = await connection.execute(
            "INSERT INTO collections (tenant_id, name, embedder, embedder_revision, dimension, chunker, "
            "chunker_options, lexical) VALUES (%s, 'default', 'stored', '1', %s, 'stored', %s, 'stored') RETURNING id",
            (tenant, DIMENSION, '{"strategy": "structure"}'),
        )
        return Owner(tenant, (await cursor.fetchall())[0]["id"])


async def store_rows(
    pool: Pool, corpus: Corpus, owner: Owner, documents: Sequence[DocumentId], places: Sequence[Place]
) -> None:
    """The rows of documents and chunks."""
    titles = (
        "COPY documents (id, tenant_id, collection_id, sha256, name, media_type, size, status, blob, live_generation, "
        "live_name, live_media_type, live_size, live_metadata) FROM STDIN"
    )
    passages = "COPY chunks (id, document_id, ordinal, digest, text, start_offset, end_offset) FROM STDIN"
    async with pool.connection() as connection:
        async with connection.cursor() as cursor, cursor.copy(titles) as copy:
            for number, document in enumerate(documents):
                file = (document.hex, f"{number}.txt", "text/plain", 1)
                await copy.write_row((document, *owner, *file, "indexed", "", 1, *file[1:], "{}"))
        async with connection.cursor() as cursor, cursor.copy(passages) as copy:
            for chunk, document, row in places:
                text = corpus.texts[row]
                await copy.write_row((chunk, document, row % CHUNKS_OF_DOCUMENT, chunk.bytes, text, 0, len(text)))


async def store_points(index: VectorIndex, corpus: Corpus, owner: Owner, places: Sequence[Place]) -> None:
    """The points, through the index's own interface."""
    encoder = LexicalEncoder()
    for start in range(0, len(places), WRITE):
        group = places[start : start + WRITE]
        texts = [corpus.texts[place.row] for place in group]
        lexical = await asyncio.to_thread(encoder.encode_documents, texts)
        await index.upsert(
            [
                Point(
                    id=place.chunk,
                    tenant=owner.tenant,
                    collection=owner.collection,
                    document=place.document,
                    generation=1,
                    dense=corpus.vectors[place.row],
                    lexical=terms,
                )
                for place, terms in zip(group, lexical, strict=True)
            ]
        )
