"""What the second migration makes of a database of the first."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from core.database import MIGRATIONS, Pool, migrate, open_pool
from core.settings import DatabaseSettings
from ingest.chunking.spec import StructureSpec, read_spec


@pytest.fixture
async def pool(postgres: str, tmp_path: Path) -> AsyncIterator[Pool]:
    """A pool on a database that knows the first migration alone, with a collection in it."""
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as connection:
        await connection.execute("DROP DATABASE IF EXISTS before WITH (FORCE)")
        await connection.execute("CREATE DATABASE before")
    shutil.copy(MIGRATIONS / "0001_first.sql", tmp_path)
    url = postgres.replace("///ragstone", "///before")
    async with open_pool(DatabaseSettings.model_validate({"url": url})) as pool:
        await migrate(pool, tmp_path)
        async with pool.connection() as connection:
            await connection.execute(
                "WITH tenant AS (INSERT INTO tenants (name) VALUES ('t') RETURNING id) "
                "INSERT INTO collections (tenant_id, name, embedder, embedder_revision, dimension, chunker) "
                "SELECT id, 'old', 'e', '1', 4, 'structure-1' FROM tenant"
            )
        yield pool


async def test_a_collection_from_before_is_cut_as_it_was_and_its_stamp_says_so(pool: Pool) -> None:
    await migrate(pool)
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT chunker, chunker_options FROM collections")).fetchone()
    assert row is not None
    spec = read_spec(row["chunker_options"])
    assert spec == StructureSpec(tokens=160, table_header=False, parent_tokens=640)
    assert spec.stamp == row["chunker"]


async def test_a_collection_from_before_is_known_to_be_encoded_as_english(pool: Pool) -> None:
    await migrate(pool)
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT lexical FROM collections")).fetchone()
    assert row == {"lexical": "english-1"}


async def test_a_new_collection_must_say_how_it_is_cut(pool: Pool) -> None:
    await migrate(pool)
    async with pool.connection() as connection:
        with pytest.raises(psycopg.errors.NotNullViolation):
            await connection.execute(
                "INSERT INTO collections (tenant_id, name, embedder, embedder_revision, dimension, chunker) "
                "SELECT id, 'new', 'e', '1', 4, 'structure-2' FROM tenants"
            )
