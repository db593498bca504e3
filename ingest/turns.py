"""Fair turns: each job of a tenant gets the turn after the tenant's last one, but none that has passed already.

The job engine takes the waiting job of the highest priority, which is the turn with its sign changed. Tenants that
wait therefore alternate, however many jobs each of them has; this is start-time fair queueing (Goyal, Vin and Cheng,
1996) with jobs of equal cost. The turn that is served now is that of the first waiting job.
"""

from __future__ import annotations

from typing import NamedTuple

from core.domain import DocumentId
from core.errors import NotFound
from ingest.document import Connection
from ingest.retry import PAUSED, QUEUE

# A resumed tenant must not find its old turns: they would put all that it has before everybody else.
NOW = (
    "coalesce((SELECT -priority FROM procrastinate_jobs WHERE status = 'todo' AND queue_name = 'ingest' "
    "AND (scheduled_at IS NULL OR scheduled_at <= now()) ORDER BY priority DESC LIMIT 1), "
    "(SELECT max(last) FROM turns), 0)"
)


class Turn(NamedTuple):
    """Where a job stands: its queue, and its priority in it."""

    queue: str
    priority: int


async def take_turn(connection: Connection, document: DocumentId, *, task: str) -> Turn:
    """The next turn of the document's tenant; others of the tenant wait for the end of the transaction.

    Raises:
        NotFound: there is no such document.
    """
    cursor = await connection.execute(
        f"INSERT INTO turns (tenant_id, last) SELECT tenant_id, {NOW} FROM documents WHERE id = %(document)s "  # noqa: S608
        "ON CONFLICT (tenant_id) DO UPDATE SET last = greatest(turns.last + 1, EXCLUDED.last) "
        "RETURNING last, (SELECT c.paused_at IS NOT NULL FROM documents d JOIN collections c "
        "ON c.id = d.collection_id WHERE d.id = %(document)s) AS paused",
        {"document": document},
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"There is no document {str(document)!r}.")
    queue = PAUSED if row["paused"] and task == "ingest" else QUEUE
    return Turn(queue, -int(row["last"]))


async def align(connection: Connection) -> tuple[int, int]:
    """Put waiting ingestions into the queue that their collection's state asks for; how many stopped, and went on.

    Those that go on get new turns, in their old order.
    """
    stopped = await connection.execute(
        "UPDATE procrastinate_jobs j SET queue_name = %s FROM documents d JOIN collections c ON c.id = d.collection_id "
        "WHERE d.job_id = j.id AND j.status = 'todo' AND j.task_name = 'ingest' AND j.queue_name = %s "
        "AND c.paused_at IS NOT NULL AND d.status <> 'indexed'",
        (PAUSED, QUEUE),
    )
    resumed = await connection.execute(
        "WITH moved AS (SELECT j.id, d.tenant_id, row_number() OVER "  # noqa: S608 (constants)
        "  (PARTITION BY d.tenant_id ORDER BY j.priority DESC, j.id) AS place "
        "  FROM procrastinate_jobs j JOIN documents d ON d.job_id = j.id JOIN collections c ON c.id = d.collection_id "
        "  WHERE j.status = 'todo' AND j.queue_name = %s AND c.paused_at IS NULL AND d.status <> 'indexed'"
        "), base AS (SELECT tenant_id, count(*) AS number FROM moved GROUP BY tenant_id ORDER BY tenant_id"
        "), told AS (INSERT INTO turns (tenant_id, last) "
        f"  SELECT tenant_id, {NOW} + number FROM base "
        f"  ON CONFLICT (tenant_id) DO UPDATE SET last = greatest(turns.last + (EXCLUDED.last - {NOW}), EXCLUDED.last) "
        "  RETURNING tenant_id, last) "
        "UPDATE procrastinate_jobs j SET queue_name = %s, priority = -(told.last - base.number + moved.place) "
        "FROM moved JOIN base USING (tenant_id) JOIN told USING (tenant_id) WHERE j.id = moved.id",
        (PAUSED, QUEUE),
    )
    return stopped.rowcount, resumed.rowcount
