"""What the fourth migration makes of documents from before: searchable, half done, and being deleted."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core.database import MIGRATIONS, Pool, migrate, open_pool
from core.settings import DatabaseSettings

STATES = ("indexed", "embedding", "failed", "deleting")


@pytest.fixture
async def pool(postgres: str, tmp_path: Path) -> AsyncIterator[Pool]:
    """A pool on a database of the first three migrations, with a document of two chunks in each state."""
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as connection:
        await connection.execute("DROP DATABASE IF EXISTS versionless WITH (FORCE)")
        await connection.execute("CREATE DATABASE versionless")
    for file in sorted(MIGRATIONS.glob("000[123]_*.sql")):
        shutil.copy(file, tmp_path)
    url = postgres.replace("///ragstone", "///versionless")
    async with open_pool(DatabaseSettings.model_validate({"url": url})) as pool:
        assert len(await migrate(pool, tmp_path)) == 3
        async with pool.connection() as connection:
            await fill(connection)
        yield pool


async def fill(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute(
        "WITH tenant AS (INSERT INTO tenants (name) VALUES ('t') RETURNING id) INSERT INTO collections "
        "(tenant_id, name, embedder, embedder_revision, dimension, chunker, chunker_options) "
        "SELECT id, 'old', 'e', '1', 4, 'structure-1', '{}' FROM tenant"
    )
    for place, status in enumerate(STATES):
        cursor = await connection.execute(
            "INSERT INTO documents (tenant_id, collection_id, sha256, name, media_type, size, status, generation) "
            "SELECT tenant_id, id, %s, %s, 'text/plain', 9, %s, %s FROM collections RETURNING id",
            (status, status, status, place + 1),
        )
        row = await cursor.fetchone()
        assert row is not None
        await connection.execute("INSERT INTO document_texts VALUES (%s, 'a b')", (row["id"],))
        for ordinal in range(2):
            await connection.execute(
                "INSERT INTO chunks (id, document_id, ordinal, digest, text, start_offset, end_offset) "
                "VALUES (%s, %s, %s, '', 'a', 0, 1)",
                (uuid.uuid4(), row["id"], ordinal),
            )


async def rows(pool: Pool, query: str) -> list[dict[str, Any]]:
    async with pool.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def test_what_was_searchable_stays_so_and_what_was_half_done_begins_anew(pool: Pool) -> None:
    await migrate(pool)
    documents = {row["name"]: row for row in await rows(pool, "SELECT * FROM documents")}
    for row in documents.values():
        assert row["blob"] == f"{row['tenant_id']}/{row['id']}", "the bytes lie where they lay"
        assert (row["version"], row["source_id"]) == (1, None)
    live = documents.pop("indexed")
    assert (live["live_generation"], live["live_version"]) == (1, 1)
    assert (live["live_blob"], live["live_media_type"]) == (live["blob"], "text/plain")
    assert (live["live_name"], live["live_size"], live["live_metadata"]) == ("indexed", 9, {})
    assert {row["live_generation"] for row in documents.values()} == {None}
    chunks = await rows(pool, "SELECT document_id, generation FROM chunks")
    assert [(row["document_id"], row["generation"]) for row in chunks] == [(live["id"], 1)] * 2
    assert [row["document_id"] for row in await rows(pool, "SELECT document_id FROM document_texts")] == [live["id"]]


async def test_the_points_of_what_was_half_done_are_remembered_to_be_removed(pool: Pool) -> None:
    before = {row["id"] for row in await rows(pool, "SELECT id FROM chunks")}
    await migrate(pool)
    kept = {row["id"] for row in await rows(pool, "SELECT id FROM chunks")}
    removals = await rows(pool, "SELECT chunk_id, embedder, embedder_revision, dimension FROM point_removals")
    assert {row["chunk_id"] for row in removals} == before - kept
    assert {(row["embedder"], row["embedder_revision"], row["dimension"]) for row in removals} == {("e", "1", 4)}
