"""Comparing PostgreSQL, the vector indexes and the original files, of all tenants: asked for, and reported."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.auth import Administrator, Using
from ingest.reconciliation import (
    Reconciliation,
    ReconciliationList,
    ReconciliationWanted,
    ask_for_reconciliation,
    find_reconciliations,
)

router = APIRouter(tags=["operations"])


@router.post("/reconcile", status_code=202)
async def reconcile(
    principal: Administrator, services: Using, body: ReconciliationWanted | None = None
) -> Reconciliation:
    """Have a worker compare everything; with ``repair`` it puts right what can be. `GET /reconcile` has its report."""
    wanted = body or ReconciliationWanted()
    async with services.pool.connection() as connection, connection.transaction():
        record = await ask_for_reconciliation(connection, repair=wanted.repair)
        await services.jobs.reconcile(connection, record)
    found = await find_reconciliations(services.pool, principal.tenant)
    return next(each for each in found.reconciliations if each.id == record)


@router.get("/reconcile")
async def list_reconciliations(
    principal: Administrator,
    services: Using,
    cursor: Annotated[int | None, Query(ge=1)] = None,
) -> ReconciliationList:
    """The reports, newest first, 20 on a page."""
    return await find_reconciliations(services.pool, principal.tenant, before=cursor)
