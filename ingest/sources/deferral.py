"""The job of looking at a source."""

from __future__ import annotations

import procrastinate

from core.domain import TenantId
from ingest.document import Connection
from ingest.sources.row import SourceId

QUEUE = "sources"
"""The queue of looks at sources, apart from documents: a look may take hours."""


async def defer_sync(app: procrastinate.App, connection: Connection, tenant: TenantId, source: SourceId) -> bool:
    """Have a source looked at, in the caller's transaction; whether it was not going to be anyway.

    A tenant's sources are looked at one after the other, so that others have their turn.
    """
    cursor = await connection.execute(
        "SELECT FROM sources s WHERE id = %s AND tenant_id = %s AND NOT (s.status IN ('queued', 'syncing') AND EXISTS ("
        "  SELECT FROM procrastinate_jobs j WHERE j.id = s.job_id AND j.status IN ('todo', 'doing'))) FOR UPDATE",
        (source, tenant),
    )
    if cursor.rowcount == 0:
        return False
    await connection.execute(
        "DELETE FROM procrastinate_jobs WHERE id = (SELECT job_id FROM sources WHERE id = %s) "
        "AND status IN ('failed', 'cancelled', 'aborted')",
        (source,),
    )
    deferrer = app.configure_task("sync", queue=QUEUE, lock=f"sources of {tenant}", connection=connection)
    job = await deferrer.defer_async(source=str(source))
    await connection.execute(
        "UPDATE sources SET status = 'queued', error = NULL, job_id = %s WHERE id = %s", (job, source)
    )
    return True
