"""The change of a collection to another embedder or chunker: asked for by people, carried out by a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

from core.database import Pool
from core.domain import CollectionId
from core.errors import Conflict
from ingest.chunking.spec import ChunkerSpec
from ingest.retry import ATTEMPTS

CLEARING_DIED = (
    "The collection is changed, but the worker died again and again while the old points were removed. The hourly "
    "upkeep goes on with it; `python -m ingest reconcile` says what is left."
)
Connection = psycopg.AsyncConnection[DictRow]


class Wanted(BaseModel):
    """What a collection is to be made anew with; what is left out stays, or is as the settings say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedder: str | None = Field(None, min_length=1, description="a model as EMBEDDING__MODEL names it; null: that one")
    revision: str | None = Field(None, min_length=1, description="of a hub model")
    chunker: ChunkerSpec | None = Field(None, description="how documents are cut; null: as before")
    leave_out: frozenset[UUID] = Field(
        frozenset(),
        max_length=10_000,
        description="documents that search does without, failed, if they cannot be made anew; any other one that "
        "cannot keeps the collection as it was",
    )


class RebuildStatus(StrEnum):
    """Where a change is."""

    RUNNING = "running"
    CLEARING = "clearing"
    DONE = "done"
    FAILED = "failed"


class Refused(TypedDict):
    """A document that could not be made anew."""

    document_id: str
    name: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """A change of a collection: ``done`` of ``total`` documents are made anew; search sees them when all are.

    The ``refused`` could not be made anew: they keep the collection as it was, or were left out as it was asked for.
    """

    status: RebuildStatus
    embedder: str | None
    chunker: str | None
    done: int
    total: int
    error: str | None
    refused: Sequence[Refused]
    started_at: datetime
    updated_at: datetime

    @property
    def active(self) -> bool:
        """Whether the collection still has its old stamp and is being changed."""
        return self.status is RebuildStatus.RUNNING


REBUILD_JSON = (
    "SELECT jsonb_build_object('status', r.status, 'embedder', r.embedder, 'chunker', r.chunker, 'done', r.done, "
    "'total', r.total, 'error', r.error, 'refused', r.refused, 'started_at', r.started_at, 'updated_at', r.updated_at) "
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
        "refused = '[]', at_document = NULL, deaths = 0, done_at_death = -1, "
        "started_at = now(), updated_at = clock_timestamp() WHERE r.status IN ('done', 'failed')",
        (collection, Jsonb(body)),
    )
    if cursor.rowcount:
        return True
    cursor = await connection.execute("SELECT wanted FROM rebuilds WHERE collection_id = %s", (collection,))
    row = await cursor.fetchone()
    if row is not None and Wanted.model_validate(row["wanted"]) != wanted:
        raise Conflict(
            f"Collection {name!r} is being made anew with something else at this moment: GET /collections/{name} says "
            "how far it is. Ask again when it is done."
        )
    return False


async def count_death(connection: Connection, collection: CollectionId) -> bool:
    """Remember that a worker died while it changed a collection; whether the change is given up because of it.

    It is when `ATTEMPTS` workers have died without a document more having been made anew; a long change that gets on
    is continued after any number of deaths. After the change itself, what is left of the old points is given up.
    """
    cursor = await connection.execute(
        "UPDATE rebuilds SET "
        "deaths = CASE WHEN status = 'running' AND done > done_at_death THEN 1 ELSE deaths + 1 END, "
        "done_at_death = greatest(done, done_at_death) WHERE collection_id = %s AND status IN ('running', 'clearing') "
        "RETURNING status, deaths, at_document",
        (collection,),
    )
    row = await cursor.fetchone()
    if row is None or row["deaths"] < ATTEMPTS:
        return False
    running = row["status"] == "running"
    await connection.execute(
        "UPDATE rebuilds SET status = %s, error = %s, updated_at = clock_timestamp() WHERE collection_id = %s",
        ("failed", await _died(connection, row), collection) if running else ("done", CLEARING_DIED, collection),
    )
    return True


async def _died(connection: Connection, row: DictRow) -> str:
    cursor = await connection.execute(
        "SELECT coalesce(live_name, name) AS name FROM documents WHERE id = %s", (row["at_document"],)
    )
    document = await cursor.fetchone()
    at = (
        f" It was at the document {document['name']!r} ({row['at_document']}): replace or delete it."
        if document
        else ""
    )
    return (
        f"The worker died {row['deaths']} times without getting on. Its log says why (memory, most often).{at} "
        "Search goes on as before. Then ask again."
    )


async def find_rebuild(pool: Pool, collection: CollectionId) -> Rebuild | None:
    """The newest change of a collection."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            f"SELECT ({REBUILD_JSON}) AS rebuild FROM collections c WHERE c.id = %s",  # noqa: S608 (constants)
            (collection,),
        )
        row = await cursor.fetchone()
    return rebuild_of(row["rebuild"]) if row is not None and row["rebuild"] is not None else None
