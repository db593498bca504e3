"""The change of a collection to another embedder or chunker: asked for by people, carried out by a worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

from core.database import Pool
from core.domain import CollectionId
from core.errors import Conflict
from ingest.chunking.spec import ChunkerSpec

Connection = psycopg.AsyncConnection[DictRow]


class Wanted(BaseModel):
    """What a collection is to be made anew with; what is left out stays, or is as the settings say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedder: str | None = Field(None, min_length=1, description="a model as EMBEDDING__MODEL names it; null: that one")
    revision: str | None = Field(None, min_length=1, description="of a hub model")
    chunker: ChunkerSpec | None = Field(None, description="how documents are cut; null: as before")


class RebuildStatus(StrEnum):
    """Where a change is."""

    RUNNING = "running"
    CLEARING = "clearing"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """A change of a collection: ``done`` of ``total`` documents are made anew; search sees them when all are."""

    status: RebuildStatus
    embedder: str | None
    chunker: str | None
    done: int
    total: int
    error: str | None
    started_at: datetime
    updated_at: datetime

    @property
    def active(self) -> bool:
        """Whether the collection still has its old stamp and is being changed."""
        return self.status is RebuildStatus.RUNNING


REBUILD_JSON = (
    "SELECT jsonb_build_object('status', r.status, 'embedder', r.embedder, 'chunker', r.chunker, 'done', r.done, "
    "'total', r.total, 'error', r.error, 'started_at', r.started_at, 'updated_at', r.updated_at) "
    "FROM rebuilds r WHERE r.collection_id = c.id"
)
"""The newest change of a collection ``c``, for `rebuild_of`."""


def rebuild_of(row: dict[str, Any]) -> Rebuild:
    """A change from what `REBUILD_JSON` gives."""
    moments = {name: datetime.fromisoformat(row[name]) for name in ("started_at", "updated_at")}
    return Rebuild(**{**row, **moments, "status": RebuildStatus(row["status"])})


async def ask_for_rebuild(connection: Connection, collection: CollectionId, name: str, wanted: Wanted) -> bool:
    """Write down that a collection is to be made anew; whether a job is needed for it.

    To be followed, in the same transaction, by deferring the job. The same wish again joins the change under way.

    Raises:
        Conflict: it is being changed to something else.
    """
    body = wanted.model_dump(mode="json")
    cursor = await connection.execute(
        "INSERT INTO rebuilds AS r (collection_id, wanted) VALUES (%s, %s) ON CONFLICT (collection_id) DO UPDATE SET "
        "wanted = EXCLUDED.wanted, status = 'running', done = 0, total = 0, error = NULL, job_id = NULL, "
        "started_at = now(), updated_at = clock_timestamp() WHERE r.status IN ('done', 'failed')",
        (collection, Jsonb(body)),
    )
    if cursor.rowcount:
        return True
    cursor = await connection.execute("SELECT wanted FROM rebuilds WHERE collection_id = %s", (collection,))
    row = await cursor.fetchone()
    if row is not None and row["wanted"] != body:
        raise Conflict(
            f"Collection {name!r} is being made anew with something else at this moment: GET /collections/{name} says "
            "how far it is. Ask again when it is done."
        )
    return False


async def find_rebuild(pool: Pool, collection: CollectionId) -> Rebuild | None:
    """The newest change of a collection."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            f"SELECT ({REBUILD_JSON}) AS rebuild FROM collections c WHERE c.id = %s",  # noqa: S608 (constants)
            (collection,),
        )
        row = await cursor.fetchone()
    return rebuild_of(row["rebuild"]) if row is not None and row["rebuild"] is not None else None
