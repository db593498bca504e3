"""Finding items by meaning: their texts, and the table of their vectors, which takes PostgreSQL's extension pgvector.

All vectors of the namespace are compared, inside the database (docs/decisions/0024-store.md has the figures).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
from langgraph.store.base import get_text_at_path
from numpy.typing import NDArray

from core.database import Pool
from core.errors import InvalidInput

logger = logging.getLogger(__name__)

MOST_TEXTS = 50
LONGEST_TEXT = 8000  # characters; embedders read less

TABLE = """
CREATE TABLE IF NOT EXISTS store_vectors (
    item_id bigint NOT NULL REFERENCES store_items ON DELETE CASCADE,
    ordinal int NOT NULL,
    embedder text NOT NULL,
    embedding halfvec NOT NULL,
    PRIMARY KEY (item_id, ordinal)
)
"""


async def prepare_vectors(pool: Pool) -> None:
    """Make the table of the vectors where the server has pgvector 0.7 or later; by one process at a time."""
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'")
        if not cursor.rowcount:
            return
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            await connection.execute(TABLE)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject) as error:
            logger.warning("the store is not searched by meaning: pgvector cannot be used (%s)", type(error).__name__)


async def has_vectors(pool: Pool) -> bool:
    """Whether the table of the vectors is there."""
    async with pool.connection() as connection:
        return (await connection.execute("SELECT FROM pg_tables WHERE tablename = 'store_vectors'")).rowcount > 0


def texts_of(value: Mapping[str, Any], fields: Sequence[str]) -> list[str]:
    """The texts of a value that shall be found, each field's by its path (``$`` is the whole value).

    Raises:
        InvalidInput: there are too many.
    """
    found = [text[:LONGEST_TEXT] for field in fields for text in get_text_at_path(value, field) if text.strip()]
    if len(found) > MOST_TEXTS:
        raise InvalidInput(f"The item has {len(found)} texts to find it by; at most {MOST_TEXTS} are possible.")
    return found


def literal(vector: NDArray[np.float32]) -> str:
    """A vector of shape (dimension,) as pgvector reads it."""
    return "[" + ",".join(f"{number:.6g}" for number in vector.tolist()) + "]"
