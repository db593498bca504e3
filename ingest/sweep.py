"""Bytes without a row: what an upload leaves that was cut between the two, removed when it is old enough."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.database import Pool
from ingest.blobs import BlobStore

logger = logging.getLogger(__name__)

AGE = timedelta(hours=1)
"""How old bytes must be: an upload puts its row right behind them."""


async def sweep_blobs(pool: Pool, blobs: BlobStore, *, age: timedelta = AGE) -> list[str]:
    """Delete the bytes that no document has; returns their keys.

    Only below tenants that the database knows: a database that was changed for another one knows none of them, and
    must not cost anybody the originals.
    """
    old = await blobs.keys(before=datetime.now(UTC) - age)
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT id FROM tenants")
        tenants = {str(row["id"]) for row in await cursor.fetchall()}
        mine = {key: _document(key) for key in old if key.partition("/")[0] in tenants}
        ids = [document for document in mine.values() if document is not None]
        cursor = await connection.execute("SELECT id FROM documents WHERE id = ANY(%s)", (ids,))
        there = {row["id"] for row in await cursor.fetchall()}
    lost = [key for key, document in mine.items() if document not in there]
    for key in lost:
        await blobs.delete(key)
    if lost:
        logger.warning("%d files that no document has were removed", len(lost))
    return lost


def _document(key: str) -> UUID | None:
    """The document that a key is of; None for what an upload wrote half."""
    try:
        return UUID(key.rpartition("/")[2])
    except ValueError:
        return None
