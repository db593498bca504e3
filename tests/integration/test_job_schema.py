"""The tables of the job engine follow the installed package."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from procrastinate.schema import SchemaManager

from core.database import Pool, migrate, open_pool
from core.errors import PlatformError
from core.settings import DatabaseSettings
from ingest.schema import FIRST, apply_job_schema, prepare_write_path

LATER = "99.00.00_01_pre_later"


@pytest.fixture
async def pool(postgres: str) -> AsyncIterator[Pool]:
    """A pool on a database of its own, with our tables and without those of the engine."""
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as connection:
        await connection.execute("DROP DATABASE IF EXISTS jobs WITH (FORCE)")
        await connection.execute("CREATE DATABASE jobs")
    settings = DatabaseSettings.model_validate({"url": postgres.replace("///ragstone", "///jobs")})
    async with open_pool(settings) as pool:
        await migrate(pool)
        yield pool


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The migrations of a package that is newer by one."""
    folder = tmp_path / "migrations"
    shutil.copytree(SchemaManager.get_migrations_path(), folder)
    (folder / f"{LATER}.sql").write_text("ALTER TABLE procrastinate_jobs ADD COLUMN later int DEFAULT 7;")
    return folder


async def has_later(pool: Pool) -> bool:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT FROM information_schema.columns WHERE table_name = 'procrastinate_jobs' AND column_name = 'later'"
        )
        return cursor.rowcount == 1


async def test_a_fresh_database_gets_the_newest_tables_once(pool: Pool) -> None:
    assert await asyncio.gather(*[prepare_write_path(pool) for _ in range(3)]) == [[], [], []]
    assert await apply_job_schema(pool) == []


async def test_a_newer_package_brings_its_migrations(pool: Pool, newer: Path) -> None:
    await apply_job_schema(pool)
    assert await apply_job_schema(pool, newer) == [LATER]
    assert await has_later(pool)
    assert await apply_job_schema(pool, newer) == []


async def test_a_database_from_before_versions_were_remembered_is_brought_up_to_date(pool: Pool, newer: Path) -> None:
    async with pool.connection() as connection:
        await connection.execute(SchemaManager.get_schema(), prepare=False)
    expected = [path.stem for path in sorted(newer.glob("*.sql")) if path.stem > FIRST]
    assert await apply_job_schema(pool, newer) == expected
    assert await has_later(pool)


async def test_a_migration_that_fails_is_tried_again_at_the_next_start(pool: Pool, newer: Path) -> None:
    await apply_job_schema(pool)
    (newer / f"{LATER}.sql").write_text("ALTER TABLE procrastinate_jobs ADD COLUMN later int; SELECT nothing;")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        await apply_job_schema(pool, newer)
    assert not await has_later(pool)
    (newer / f"{LATER}.sql").write_text("ALTER TABLE procrastinate_jobs ADD COLUMN later int;")
    assert await apply_job_schema(pool, newer) == [LATER]


async def test_tables_of_a_newer_engine_are_refused(pool: Pool, newer: Path) -> None:
    await apply_job_schema(pool, newer)
    with pytest.raises(PlatformError, match="newer job engine"):
        await apply_job_schema(pool)
