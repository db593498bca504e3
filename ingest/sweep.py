"""Bytes without a row: what an upload leaves that was cut between the two, removed when it is old enough."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from core.database import Pool
from ingest.blobs import BlobStore

logger = logging.getLogger(__name__)

AGE = timedelta(hours=1)
"""How old bytes must be: an upload puts its row right behind them."""


async def lost_blobs(pool: Pool, blobs: BlobStore, *, age: timedelta = AGE) -> list[str]:
    """The keys of bytes that no document has, neither as its newest nor as those that search answers from.

    Only below tenants that the database knows: a database that was changed for another one knows none of them, and
    must not cost anybody the originals.
    """
    old = await blobs.keys(before=datetime.now(UTC) - age)
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT id FROM tenants")
        tenants = {str(row["id"]) for row in await cursor.fetchall()}
        mine = [key for key in old if key.partition("/")[0] in tenants]
        cursor = await connection.execute(
            "SELECT blob AS key FROM documents WHERE blob = ANY(%(keys)s) "
            "UNION SELECT live_blob FROM documents WHERE live_blob = ANY(%(keys)s)",
            {"keys": mine},
        )
        there = {row["key"] for row in await cursor.fetchall()}
    return [key for key in mine if key not in there]


async def sweep_blobs(pool: Pool, blobs: BlobStore, *, age: timedelta = AGE) -> list[str]:
    """Delete the bytes that no document has; returns their keys."""
    lost = await lost_blobs(pool, blobs, age=age)
    for key in lost:
        await blobs.delete(key)
    if lost:
        logger.warning("%d files that no document has were removed", len(lost))
    return lost
