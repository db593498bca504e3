from __future__ import annotations

import asyncio
import uuid
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from pydantic import SecretStr
from pydantic_core import Url
from qdrant_client import AsyncQdrantClient, models

from core.domain import ChunkId, CollectionId, DocumentId, Scope, TenantId
from core.engines.qdrant import QdrantIndex, alias_name, creation, drop_index, has_index, open_client, prepare_index
from core.errors import Unavailable
from core.index import IndexQuery, Point, SparseVector
from core.settings import QdrantSettings

SCOPE = Scope(tenant=TenantId(uuid.UUID(int=1)))


@pytest.fixture
async def client() -> AsyncIterator[AsyncQdrantClient]:
    local = AsyncQdrantClient(":memory:")
    yield local
    await local.close()


async def prepared(client: AsyncQdrantClient, embedder: str = "a/model", dimension: int = 4) -> QdrantIndex:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Payload indexes have no effect in the local Qdrant")
        return await prepare_index(client, QdrantSettings(), embedder=embedder, revision="rev1", dimension=dimension)


def stored_point(dimension: int) -> Point:
    return Point(
        id=ChunkId(uuid.UUID(int=9)),
        tenant=SCOPE.tenant,
        collection=CollectionId(uuid.UUID(int=2)),
        document=DocumentId(uuid.UUID(int=3)),
        generation=1,
        dense=np.full(dimension, dimension**-0.5, dtype=np.float32),
        lexical=SparseVector([1], [1.0]),
    )


@asynccontextmanager
async def server_that_answers(status: str) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def open_and_close(url: str) -> None:
    settings = QdrantSettings(url=Url(url), api_key=None)
    async with open_client(settings) as client:
        await prepare_index(client, settings, embedder="a/model", revision=None, dimension=4)


async def test_reads_and_writes_go_through_the_alias(client: AsyncQdrantClient) -> None:
    index = await prepared(client)
    aliases = (await client.get_aliases()).aliases
    assert [(item.alias_name, item.collection_name) for item in aliases] == [
        ("ragstone-a-model-rev1-4", "ragstone-a-model-rev1-4.1")
    ]
    assert await index.count(SCOPE) == 0


async def test_preparing_twice_changes_nothing(client: AsyncQdrantClient) -> None:
    await prepared(client)
    await prepared(client)
    assert len((await client.get_collections()).collections) == 1
    assert len((await client.get_aliases()).aliases) == 1


@pytest.mark.parametrize(("embedder", "dimension"), [("another/model", 4), ("a/model", 8)])
async def test_the_vectors_of_two_embedders_are_served_side_by_side(
    client: AsyncQdrantClient, embedder: str, dimension: int
) -> None:
    one, other = await prepared(client), await prepared(client, embedder, dimension)
    await one.upsert([stored_point(4)])
    assert (await one.count(SCOPE), await other.count(SCOPE)) == (1, 0)
    assert len((await client.get_collections()).collections) == 2


async def test_an_index_is_found_once_it_was_made_and_until_it_is_dropped(client: AsyncQdrantClient) -> None:
    assert not await has_index(client, embedder="a/model", revision="rev1", dimension=4)
    await prepared(client)
    assert await has_index(client, embedder="a/model", revision="rev1", dimension=4)
    for _ in range(2):
        await drop_index(client, embedder="a/model", revision="rev1", dimension=4)
        assert not await has_index(client, embedder="a/model", revision="rev1", dimension=4)
    assert (await client.get_collections()).collections == []


async def test_the_collection_behind_an_alias_can_be_replaced(client: AsyncQdrantClient) -> None:
    await prepared(client)
    alias = "ragstone-a-model-rev1-4"
    await client.create_collection(f"{alias}.2", **creation(QdrantSettings(), 4))
    naming = models.CreateAlias(collection_name=f"{alias}.2", alias_name=alias)
    await client.update_collection_aliases(
        [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)),
            models.CreateAliasOperation(create_alias=naming),
        ]
    )
    index = await prepared(client)
    await index.upsert([stored_point(4)])
    assert (await client.count(f"{alias}.2")).count == 1
    assert (await client.count(f"{alias}.1")).count == 0


def test_an_alias_is_named_after_its_embedder() -> None:
    name = alias_name("BAAI/bge-m3", "5617a9f61b028005a4858fdac845db406aefb181", 1024)
    assert name == "ragstone-baai-bge-m3-5617a9f61b02-1024"
    assert alias_name("all-MiniLM-L6-v2", None, 384) == "ragstone-all-minilm-l6-v2-384"


def test_a_new_collection_is_made_as_the_settings_say() -> None:
    settings = QdrantSettings(
        shards=6, replicas=2, write_consistency=2, quantisation="int8", vectors_on_disk=True, hnsw_m=32
    )
    made = creation(settings, 384)
    assert (made["shard_number"], made["replication_factor"], made["write_consistency_factor"]) == (6, 2, 2)
    assert made["quantization_config"].scalar.always_ram
    assert made["vectors_config"]["dense"].on_disk
    assert (made["hnsw_config"].m, made["hnsw_config"].ef_construct) == (32, 100)
    assert creation(QdrantSettings(), 384)["quantization_config"] is None


async def test_a_collection_that_is_gone_is_unavailable(client: AsyncQdrantClient) -> None:
    index = await prepared(client)
    await client.delete_collection("ragstone-a-model-rev1-4.1")
    with pytest.raises(Unavailable):
        await index.query(IndexQuery(dense=np.ones(4, dtype=np.float32)), scope=SCOPE)


async def test_a_server_that_does_not_answer_is_unavailable() -> None:
    async with server_that_answers("200 OK") as url:
        pass
    with pytest.raises(Unavailable, match="QDRANT__URL"):
        await open_and_close(url)


@pytest.mark.parametrize(
    ("status", "help_given"),
    [
        ("401 Unauthorized", "QDRANT__API_KEY"),
        ("403 Forbidden", "QDRANT__API_KEY"),
        ("404 Not Found", "404"),
        ("500 Internal Server Error", "500"),
        ("429 Too Many Requests", "429"),
        ("200 OK", "QDRANT__URL"),
    ],
)
async def test_an_unhelpful_answer_is_unavailable_and_says_what_to_do(status: str, help_given: str) -> None:
    async with server_that_answers(status) as url:
        with pytest.raises(Unavailable, match=help_given):
            await open_and_close(url)


async def test_the_key_is_in_no_message() -> None:
    async with server_that_answers("401 Unauthorized") as url:
        settings = QdrantSettings(url=Url(url), api_key=SecretStr("very-secret"))
        with pytest.warns(UserWarning, match="insecure"), pytest.raises(Unavailable) as refused:
            async with open_client(settings) as client:
                await prepare_index(client, settings, embedder="a/model", revision=None, dimension=4)
    assert "very-secret" not in str(refused.value)
