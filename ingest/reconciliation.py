"""Comparisons of everything that is stored: asked for by people or every night, carried out by a worker, recorded."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

from core.database import Pool
from core.domain import TenantId
from ingest.builder import Builder
from ingest.reconcile import Reconciler
from ingest.retry import reason

logger = logging.getLogger(__name__)

Connection = psycopg.AsyncConnection[DictRow]

SHOWN = 20
"""Records on a page."""


class ReconciliationWanted(BaseModel):
    """What is asked for; without ``repair`` nothing is changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repair: bool = Field(False, description="put right what can be")


class Reconciliation(BaseModel):
    """A comparison of PostgreSQL, the vector indexes and the original files, over all tenants.

    ``findings`` are counts of what did not agree; all are 0 when everything does. ``documents`` are the first of the
    asker's own that were concerned.
    """

    id: int
    repair: bool
    status: Literal["waiting", "done", "failed"]
    findings: dict[str, int] | None = Field(description="null until it is done")
    documents: list[str]
    error: str | None = Field(description="why it failed")
    created_at: datetime
    finished_at: datetime | None


class ReconciliationList(BaseModel):
    """A page of comparisons, newest first; ``next_cursor`` fetches the next one."""

    reconciliations: list[Reconciliation]
    next_cursor: str | None


async def ask_for_reconciliation(connection: Connection, *, repair: bool) -> int:
    """Write down that everything is to be compared; gives the number of the record."""
    cursor = await connection.execute("INSERT INTO reconciliations (repair) VALUES (%s) RETURNING id", (repair,))
    (row,) = await cursor.fetchall()
    return int(row["id"])


async def find_reconciliations(pool: Pool, tenant: TenantId, *, before: int | None = None) -> ReconciliationList:
    """The records, newest first, with the documents of one tenant; ``before`` is the cursor of the page before."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT * FROM reconciliations WHERE %s::bigint IS NULL OR id < %s ORDER BY id DESC LIMIT %s",
            (before, before, SHOWN + 1),
        )
        found = [_record_of(row, tenant) for row in await cursor.fetchall()]
    following = str(found[SHOWN - 1].id) if len(found) > SHOWN else None
    return ReconciliationList(reconciliations=found[:SHOWN], next_cursor=following)


async def carry_out(pool: Pool, builder: Builder, record: int) -> None:
    """Compare everything, and write down and log what was found."""
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT repair FROM reconciliations WHERE id = %s", (record,))
        row = await cursor.fetchone()
    if row is None:
        return
    try:
        findings = await Reconciler(pool, builder).run(repair=row["repair"])
    except Exception as error:  # whoever asked must learn of every failure
        async with pool.connection() as connection:
            await connection.execute(
                "UPDATE reconciliations SET error = %s, finished_at = now() WHERE id = %s", (reason(error), record)
            )
        raise
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE reconciliations SET findings = %s, error = NULL, finished_at = now() WHERE id = %s",
            (Jsonb(findings.values()), record),
        )
    done = "put right" if row["repair"] else "found"
    (logger.info if findings.clean else logger.warning)("reconciliation: %s: %s", done, findings.counts)


def _record_of(row: DictRow, tenant: TenantId) -> Reconciliation:
    findings = dict(row["findings"]) if row["findings"] is not None else None
    owners: dict[str, str] = findings.pop("documents") if findings is not None else {}
    status: Literal["waiting", "done", "failed"] = "waiting"
    if row["finished_at"] is not None:
        status = "done" if row["error"] is None else "failed"
    return Reconciliation(
        id=row["id"],
        repair=row["repair"],
        status=status,
        findings=findings,
        documents=[document for document, owner in owners.items() if owner == str(tenant)],
        error=row["error"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )
