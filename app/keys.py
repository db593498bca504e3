"""API keys: 256 random bits that are shown once; the database holds nothing but their SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from core.database import KEY_LOCK, Pool
from core.domain import Role
from core.errors import Conflict, InvalidInput, NotFound

DEFAULT_TENANT = "default"
ADMINISTRATOR = "admin"
SESSION_PREFIX = "ui@"  # names the keys that the supervisor gives to the user interface

Connection = psycopg.AsyncConnection[DictRow]


class KeyEntry(NamedTuple):
    """A key as it may be shown: everything but the key."""

    name: str
    principal: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None


def new_key() -> str:
    """A key that nobody can guess: ``rag_`` and 43 characters."""
    return f"rag_{secrets.token_urlsafe(32)}"


def hash_key(key: str) -> bytes:
    """What the database knows of a key."""
    return hashlib.sha256(key.encode()).digest()


async def ensure_first_key(pool: Pool) -> str | None:
    """Make the administrator of the default tenant and their key when there is no key yet; else None."""
    async with pool.connection() as connection, connection.transaction():
        await _lock(connection)
        if await _one(connection, "SELECT FROM api_keys WHERE NOT starts_with(name, %s)", SESSION_PREFIX) is None:
            return await _insert(connection, await _administrator(connection), ADMINISTRATOR)
    return None


async def issue_session_key(pool: Pool, place: str) -> str:
    """A fresh key of the administrator for the user interface at `place`; the one before it is revoked."""
    name = f"{SESSION_PREFIX}{place}"
    async with pool.connection() as connection, connection.transaction():
        await _lock(connection)
        await connection.execute("DELETE FROM api_keys WHERE name = %s", (name,))
        return await _insert(connection, await _administrator(connection), name)


async def create_key(pool: Pool, name: str, role: Role) -> str:
    """A key for the principal `name` of the default tenant, who is made when new.

    Raises:
        InvalidInput: the name is empty, too long or reserved.
        Conflict: the name has a key, or belongs to a principal of another role.
    """
    if not 0 < len(name) <= 100 or not name.isprintable() or name.startswith(SESSION_PREFIX):
        raise InvalidInput(f"{name!r} cannot name a key: take 1 to 100 printable characters, not 'ui@…'.")
    async with pool.connection() as connection, connection.transaction():
        await _lock(connection)
        if await _one(connection, "SELECT FROM api_keys WHERE name = %s AND revoked_at IS NULL", name) is not None:
            raise Conflict(f"There is a key named {name!r}: revoke it first, or take another name.")
        return await _insert(connection, await _principal(connection, name, role), name)


async def list_keys(pool: Pool) -> list[KeyEntry]:
    """Every key that was made, oldest first, but for those of the user interface."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT k.name, p.name AS principal, p.role, k.created_at, k.revoked_at "
            "FROM api_keys k JOIN principals p ON p.id = k.principal_id "
            "WHERE NOT starts_with(k.name, %s) ORDER BY k.created_at",
            (SESSION_PREFIX,),
        )
        return [KeyEntry(**row | {"role": Role(row["role"])}) for row in await cursor.fetchall()]


async def revoke_key(pool: Pool, name: str) -> None:
    """From now on the key named `name` opens nothing.

    Raises:
        NotFound: no valid key has that name.
    """
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "UPDATE api_keys SET revoked_at = now() WHERE name = %s AND revoked_at IS NULL", (name,)
        )
    if not cursor.rowcount:
        raise NotFound(f"No valid key is named {name!r}: `python -m app keys list` shows them all.")


async def _lock(connection: Connection) -> None:
    """Protects the look-before-insert of all that makes keys; held until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (KEY_LOCK,))


async def _one(connection: Connection, query: str, *values: Any) -> DictRow | None:
    return await (await connection.execute(query.encode(), values)).fetchone()


async def _administrator(connection: Connection) -> UUID:
    return await _principal(connection, ADMINISTRATOR, Role.ADMINISTRATOR)


async def _principal(connection: Connection, name: str, role: Role) -> UUID:
    await connection.execute("INSERT INTO tenants (name) VALUES (%s) ON CONFLICT DO NOTHING", (DEFAULT_TENANT,))
    await connection.execute(
        "INSERT INTO principals (tenant_id, name, role) SELECT id, %s, %s FROM tenants WHERE name = %s "
        "ON CONFLICT DO NOTHING",
        (name, role, DEFAULT_TENANT),
    )
    row = await _one(
        connection,
        "SELECT p.id, p.role FROM principals p JOIN tenants t ON t.id = p.tenant_id WHERE t.name = %s AND p.name = %s",
        DEFAULT_TENANT,
        name,
    )
    assert row is not None  # noqa: S101 - inserted above, in this transaction
    if row["role"] != role:
        raise Conflict(f"{name!r} is a principal of role {row['role']!r}: ask for that role, or take another name.")
    return UUID(str(row["id"]))


async def _insert(connection: Connection, principal: UUID, name: str) -> str:
    key = new_key()
    await connection.execute(
        "INSERT INTO api_keys (principal_id, name, hash) VALUES (%s, %s, %s)",
        (principal, name, hash_key(key)),
    )
    return key
