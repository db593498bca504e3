from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest

from app.keys import create_key, ensure_first_key, hash_key, issue_session_key, list_keys, new_key, revoke_key
from core.database import Pool, migrate, open_pool
from core.domain import Role
from core.errors import Conflict, InvalidInput, NotFound
from core.settings import DatabaseSettings


@pytest.fixture
async def pool(postgres: str) -> AsyncIterator[Pool]:
    """A database in which nobody has a key yet."""
    name = f"keys_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = postgres.replace("/ragstone?", f"/{name}?")
    async with open_pool(DatabaseSettings.model_validate({"url": url})) as pool:
        await migrate(pool)
        yield pool


async def role_of(pool: Pool, key: str) -> str | None:
    """The role of the principal whom the key stands for, or None when it opens nothing."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT role FROM api_keys k JOIN principals p ON p.id = k.principal_id "
            "WHERE hash = %s AND revoked_at IS NULL",
            (hash_key(key),),
        )
        row = await cursor.fetchone()
    return None if row is None else str(row["role"])


def test_keys_are_long_and_never_the_same() -> None:
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert {len(key) for key in keys} == {47}


async def test_the_first_key_is_made_once_however_many_ask_at_once(pool: Pool) -> None:
    made = [key for key in await asyncio.gather(*(ensure_first_key(pool) for _ in range(8))) if key]
    assert len(made) == 1
    assert await role_of(pool, made[0]) == "administrator"
    assert await ensure_first_key(pool) is None


async def test_a_session_key_is_not_taken_for_the_first_one(pool: Pool) -> None:
    await issue_session_key(pool, "here:8501")
    assert await ensure_first_key(pool) is not None


async def test_no_new_first_key_appears_when_all_were_revoked(pool: Pool) -> None:
    await ensure_first_key(pool)
    await revoke_key(pool, "admin")
    assert await ensure_first_key(pool) is None


async def test_a_new_session_key_ends_the_one_before_it_but_not_that_of_another_place(pool: Pool) -> None:
    before, elsewhere = await issue_session_key(pool, "here:8501"), await issue_session_key(pool, "there:8501")
    after = await issue_session_key(pool, "here:8501")
    assert [await role_of(pool, key) for key in (before, elsewhere, after)] == [None, "administrator", "administrator"]
    assert await list_keys(pool) == []


async def test_a_revoked_key_opens_nothing_and_its_name_is_free_again(pool: Pool) -> None:
    key = await create_key(pool, "reporting", Role.VIEWER)
    assert await role_of(pool, key) == "viewer"
    with pytest.raises(Conflict, match="revoke it first"):
        await create_key(pool, "reporting", Role.VIEWER)
    await revoke_key(pool, "reporting")
    assert await role_of(pool, key) is None
    with pytest.raises(NotFound):
        await revoke_key(pool, "reporting")
    await create_key(pool, "reporting", Role.VIEWER)
    assert [entry.revoked_at is None for entry in await list_keys(pool)] == [False, True]


async def test_a_name_does_not_change_its_role(pool: Pool) -> None:
    await create_key(pool, "reporting", Role.VIEWER)
    await revoke_key(pool, "reporting")
    with pytest.raises(Conflict, match="'viewer'"):
        await create_key(pool, "reporting", Role.ADMINISTRATOR)
    assert [entry.role for entry in await list_keys(pool)] == [Role.VIEWER]


@pytest.mark.parametrize("name", ["", "x" * 101, "line\nbreak", "ui@here"])
async def test_a_name_that_cannot_be_shown_is_refused(pool: Pool, name: str) -> None:
    with pytest.raises(InvalidInput):
        await create_key(pool, name, Role.MEMBER)
