"""Pausing a collection: its ingestions wait in a queue that nobody works on, and nothing of it fails."""

from __future__ import annotations

from core.database import Pool
from core.domain import CollectionId
from ingest.turns import align


async def set_paused(pool: Pool, collection: CollectionId, *, paused: bool) -> None:
    """Pause or resume; once more changes nothing. Ingestions that run go on to their end."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(
            "UPDATE collections SET paused_at = CASE WHEN %s THEN coalesce(paused_at, now()) END WHERE id = %s",
            (paused, collection),
        )
        await align(connection)
