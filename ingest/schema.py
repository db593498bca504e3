"""The tables of the job engine: made when they are missing, and brought to the version of the installed package."""

from __future__ import annotations

from pathlib import Path

from procrastinate.schema import SchemaManager

from core.database import PREPARE_LOCK, Pool, apply_files, exclusive, migrate
from core.errors import PlatformError
from ingest.document import Connection

FIRST = "03.04.00_50_post_add_retry_failed_job_procedure"
"""The newest migration of the first job engine of ours: databases of that time do not tell what they have seen."""


async def prepare_write_path(pool: Pool) -> list[str]:
    """Bring the tables of a worker into being; for a process without the API. Returns what was applied of ours."""
    async with exclusive(pool, PREPARE_LOCK):
        applied = await migrate(pool)
        await apply_job_schema(pool)
    return applied


async def apply_job_schema(pool: Pool, folder: Path | None = None) -> list[str]:
    """Make or update procrastinate's tables; to be called by one process at a time. Returns the applied migrations.

    Raises:
        PlatformError: the database has seen a newer job engine than the installed one.
    """
    files = {path.stem: path for path in sorted((folder or Path(SchemaManager.get_migrations_path())).glob("*.sql"))}
    async with pool.connection() as connection:
        seen = await _seen(connection, list(files))
        if strangers := sorted(seen - files.keys()):
            raise PlatformError(
                f"The database was written with a newer job engine (migration {strangers[-1]!r}). "
                "Install the locked requirements of the version that wrote it."
            )
        return await apply_files(connection, files, seen, record="INSERT INTO job_migrations (name) VALUES (%s)")


async def _seen(connection: Connection, names: list[str]) -> set[str]:
    """The migrations that the tables have; the tables are made when there are none."""
    cursor = await connection.execute(
        "SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS made, "
        "(SELECT array_agg(name) FROM job_migrations) AS names"
    )
    row = await cursor.fetchone()
    if row is not None and row["names"]:
        return set(row["names"])
    made = row is not None and row["made"]
    # A fresh schema is the newest of the package, whatever its migrations are.
    seen = [name for name in names if name <= FIRST] if made else names
    async with connection.transaction():
        if not made:
            await connection.execute(SchemaManager.get_schema(), prepare=False)
        await connection.cursor().executemany(
            "INSERT INTO job_migrations (name) VALUES (%s)", [(name,) for name in seen]
        )
    return set(seen)
