"""PostgreSQL: the connection pool, the migrations, and the rows that both paths read."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Mapping, Set
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from core.domain import Chunk, ChunkId, DocumentId
from core.errors import PlatformError, Unavailable
from core.settings import DatabaseSettings

Pool = AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]

MIGRATIONS = Path(__file__).parent / "migrations"
OPEN_TIMEOUT_S = 10.0
WAIT_S = 8.0
"""How long a request waits for a connection before it is told that the database does not answer."""
LOCK_POLL_S = 0.1
# Arbitrary keys of our own for PostgreSQL's advisory locks, in one place so that no two are the same.
MIGRATION_LOCK, PREPARE_LOCK, KEY_LOCK, KEEPER_LOCK = range(0x7261_6773, 0x7261_6777)


@asynccontextmanager
async def open_pool(settings: DatabaseSettings) -> AsyncIterator[Pool]:
    """Open the pool of `settings.url`; connections are checked before use, so that a restarted server is no error.

    Raises:
        Unavailable: the server does not answer within ten seconds.
    """
    if settings.url is None:
        raise Unavailable("No database is configured: set DATABASE__URL, or start everything with `make run`.")
    pool: Pool = AsyncConnectionPool(
        str(settings.url),
        min_size=settings.pool_min,
        max_size=settings.pool_max,
        max_idle=settings.max_idle_s,
        max_lifetime=settings.max_lifetime_s,
        timeout=WAIT_S,
        check=_check,
        # Not among the arguments below: the job engine opens a connection with them and its own autocommit.
        configure=_configure,
        kwargs={
            "row_factory": dict_row,
            "keepalives_idle": 30,
            "application_name": "ragstone",
        },
        open=False,
        name="ragstone",
    )
    try:
        await pool.open(wait=True, timeout=OPEN_TIMEOUT_S)
    except PoolTimeout as error:
        await pool.close()
        raise Unavailable("PostgreSQL does not answer. Check DATABASE__URL and that the server is running.") from error
    try:
        yield pool
    finally:
        await pool.close()


async def _configure(connection: psycopg.AsyncConnection[DictRow]) -> None:
    await connection.set_autocommit(True)


async def _check(connection: psycopg.AsyncConnection[DictRow]) -> None:
    """Ask the server only when its end of the socket has something to say, as it has when it went away.

    A look at the socket takes microseconds, a question a round trip before each use of a connection.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)


async def migrate(pool: Pool, folder: Path = MIGRATIONS) -> list[str]:
    """Apply the numbered ``*.sql`` files that the database has not seen, each in a transaction; return their names.

    Several processes may call it at once: an advisory lock lets one work and the others wait.

    Raises:
        PlatformError: the database is newer than this program.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.sql"))}
    async with exclusive(pool, MIGRATION_LOCK) as connection:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations "
            "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = await (await connection.execute("SELECT name FROM migrations")).fetchall()
        applied = {str(row["name"]) for row in rows}
        if strangers := sorted(applied - files.keys()):
            raise PlatformError(
                f"The database was written by a newer version of Ragstone (migration {strangers[-1]!r}). "
                "Run that version, or restore a backup from before the upgrade."
            )
        return await apply_files(connection, files, applied, record="INSERT INTO migrations (name) VALUES (%s)")


async def apply_files(
    connection: psycopg.AsyncConnection[DictRow], files: Mapping[str, Path], applied: Set[str], *, record: LiteralString
) -> list[str]:
    """Run the SQL files that are not ``applied``, each in a transaction with its ``record``; return their names."""
    fresh = [name for name in files if name not in applied]
    for name in fresh:
        async with connection.transaction():
            # A file holds many statements, and only an unprepared query may.
            await connection.execute(files[name].read_bytes(), prepare=False)
            await connection.execute(record, (name,))
    return fresh


@asynccontextmanager
async def exclusive(pool: Pool, key: int) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
    """A connection that holds the advisory lock ``key``: of all processes on the database one is in the block."""
    async with pool.connection() as connection:
        # Asked again and again: a statement that waits for the lock would hold up the indexes that are built
        # concurrently by whoever has it, for ever.
        while not await _try_lock(connection, key):  # noqa: ASYNC110 (another process has it)
            await asyncio.sleep(LOCK_POLL_S)
        try:
            yield connection
        finally:
            await connection.execute("SELECT pg_advisory_unlock(%s)", (key,))


async def _try_lock(connection: psycopg.AsyncConnection[DictRow], key: int) -> bool:
    row = await (await connection.execute("SELECT pg_try_advisory_lock(%s) AS got", (key,))).fetchone()
    return row is not None and bool(row["got"])


def chunk_of(row: Mapping[str, Any]) -> Chunk:
    """A chunk from its row."""
    return Chunk(
        id=ChunkId(row["id"]),
        document=DocumentId(row["document_id"]),
        ordinal=row["ordinal"],
        text=row["text"],
        digest=bytes(row["digest"]),
        start=row["start_offset"],
        end=row["end_offset"],
        page=row["page"],
        page_starts=tuple(row["page_starts"]),
        section=tuple(row["section"]),
        context=row["context"],
        parent_start=row["parent_start"],
        parent_end=row["parent_end"],
    )
