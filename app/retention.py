"""What is kept of threads and for how long: which checkpoints, which threads, and nothing of those that are gone."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import procrastinate
import psycopg
from psycopg.rows import DictRow

from app.checkpoints import TABLES, delete_checkpoints
from app.runs.tasks import QUEUE
from core.database import Pool
from core.errors import Conflict
from core.sections import ThreadSettings

logger = logging.getLogger(__name__)

BATCH = 500
"""Threads that one sweep looks at; the next goes on from there."""
GRACE = timedelta(hours=1)
"""Checkpoints without a thread are left alone for so long: their thread may be about to be stored."""


REMOVALS = (
    """
    DELETE FROM checkpoint_writes USING unnest(%(names)s::text[], %(ids)s::text[]) AS gone (ns, id)
    WHERE thread_id = %(thread)s AND checkpoint_ns = gone.ns AND checkpoint_id = gone.id
    """,
    """
    DELETE FROM checkpoints USING unnest(%(names)s::text[], %(ids)s::text[]) AS gone (ns, id)
    WHERE thread_id = %(thread)s AND checkpoint_ns = gone.ns AND checkpoint_id = gone.id
    """,
    """
    UPDATE checkpoints SET parent_checkpoint_id = NULL FROM unnest(%(names)s::text[], %(ids)s::text[]) AS gone (ns, id)
    WHERE thread_id = %(thread)s AND checkpoint_ns = gone.ns AND parent_checkpoint_id = gone.id
    """,
    """
    WITH used AS MATERIALIZED (
        SELECT DISTINCT checkpoint_ns, v.key, v.value
        FROM checkpoints, jsonb_each_text(checkpoint -> 'channel_versions') v WHERE thread_id = %(thread)s
    )
    DELETE FROM checkpoint_blobs b WHERE thread_id = %(thread)s AND NOT EXISTS (
        SELECT FROM used u WHERE (u.checkpoint_ns, u.key, u.value) = (b.checkpoint_ns, b.channel, b.version)
    )
    """,
    """
    WITH used AS MATERIALIZED (
        SELECT DISTINCT substr(blob, place * 16 + 1, 16) AS hash
        FROM checkpoint_blobs, generate_series(0, length(blob) / 16 - 1) AS place
        WHERE thread_id = %(thread)s AND type LIKE 'parts:%%'
    )
    DELETE FROM checkpoint_parts p WHERE thread_id = %(thread)s AND NOT EXISTS (
        SELECT FROM used u WHERE u.hash = p.hash
    )
    """,
)


class Key(NamedTuple):
    """A checkpoint of a thread: its namespace (empty: the graph itself) and its id, which grows with time."""

    namespace: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What decides whether a checkpoint is kept.

    ``root`` is the checkpoint of the graph itself that a subgraph was called from. ``pending`` are the channels that
    are stored as changes since an earlier checkpoint, ``stored`` those whose whole value is there.
    """

    key: Key
    parent: str | None
    at: datetime
    root: str | None = None
    pending: frozenset[str] = frozenset()
    stored: frozenset[str] = frozenset()


def superfluous(marks: Iterable[Mark], keep: int, since: datetime | None = None) -> set[Key]:
    """The checkpoints that nothing needs when the ``keep`` newest of the graph itself are kept.

    ``since``: of these only such that are not older; the newest is kept in any case. A call of a subgraph is kept with
    the checkpoint that it was called from, a subgraph's own memory at its newest state. A checkpoint that holds only
    changes needs those before it, back to one that holds the whole.
    """
    known = {mark.key: mark for mark in marks}
    roots = sorted((mark for mark in known.values() if mark.key.namespace == ""), key=lambda mark: mark.key.id)[::-1]
    if not roots:
        return set()
    kept_roots = [root for root in roots[:keep] if since is None or root.at >= since] or roots[:1]
    cutoff = kept_roots[-1].key.id
    kept = {mark.key for mark in known.values() if (mark.root or mark.key.id) >= cutoff}
    for namespace in {key.namespace for key in known if ":" not in key.namespace}:
        kept.add(max(key for key in known if key.namespace == namespace))
    for key in list(kept):
        kept |= _needed(known, key)
    return known.keys() - kept


def _needed(known: dict[Key, Mark], key: Key) -> set[Key]:
    """The earlier checkpoints that the checkpoint's changes build on."""
    needed = set()
    pending, parent = known[key].pending, known[key].parent
    while pending and parent is not None and (before := Key(key.namespace, parent)) in known:
        needed.add(before)
        pending, parent = pending - known[before].stored, known[before].parent
    return needed


async def prune(pool: Pool, thread: UUID, *, keep: int, since: datetime | None = None) -> int:
    """Remove the thread's superfluous checkpoints and what only they refer to; returns how many there were.

    Raises:
        Conflict: a run is active on the thread.
    """
    async with pool.connection() as connection, connection.transaction():
        # No run is admitted and no state changed until the transaction ends: what is read here is all there is.
        cursor = await connection.execute(
            "UPDATE threads SET pruned_at = now() WHERE id = %s AND status <> 'busy'", (thread,)
        )
        if cursor.rowcount == 0:
            raise Conflict(f"A run is active on the thread {str(thread)!r}. Wait for it or cancel it.")
        gone = superfluous(await _marks(connection, thread), keep, since)
        if gone:
            await _remove(connection, thread, gone)
    return len(gone)


async def _marks(connection: psycopg.AsyncConnection[DictRow], thread: UUID) -> list[Mark]:
    cursor = await connection.execute(
        "SELECT c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint ->> 'ts' AS at, "
        "c.metadata -> 'parents' ->> '' AS root, d.pending, CASE WHEN d.pending IS NULL THEN NULL ELSE ARRAY("
        "  SELECT v.key FROM jsonb_each_text(c.checkpoint -> 'channel_versions') v JOIN checkpoint_blobs b "
        "  ON (b.thread_id, b.checkpoint_ns, b.channel, b.version) = (c.thread_id, c.checkpoint_ns, v.key, v.value) "
        "  WHERE b.type <> 'empty' UNION "
        "  SELECT key FROM jsonb_each(c.checkpoint -> 'channel_values') WHERE value <> 'null') END AS stored "
        "FROM checkpoints c, LATERAL (SELECT array_agg(key) AS pending "
        "  FROM jsonb_object_keys(coalesce(c.metadata -> 'counters_since_delta_snapshot', '{}')) AS key) d "
        "WHERE c.thread_id = %s",
        (str(thread),),
    )
    return [_mark(row) for row in await cursor.fetchall()]


def _mark(row: dict[str, Any]) -> Mark:
    key = Key(row["checkpoint_ns"], row["checkpoint_id"])
    return Mark(
        key=key,
        parent=row["parent_checkpoint_id"],
        at=datetime.fromisoformat(row["at"]),
        root=row["root"] if key.namespace else None,
        pending=frozenset(row["pending"] or ()),
        stored=frozenset(row["stored"] or ()),
    )


async def _remove(connection: psycopg.AsyncConnection[DictRow], thread: UUID, gone: Iterable[Key]) -> None:
    keys = sorted(gone)
    of_thread = {"thread": str(thread), "names": [key.namespace for key in keys], "ids": [key.id for key in keys]}
    for statement in REMOVALS:
        await connection.execute(statement.encode(), of_thread)


def add_thread_sweep(app: procrastinate.App, retention: Retention) -> None:
    """Have the threads swept every five minutes, by one of the processes that execute runs."""

    @app.periodic(cron="*/5 * * * *")
    @app.task(name="sweep_threads", queue=QUEUE, queueing_lock="sweep_threads", lock="sweep_threads")
    async def sweep_threads(timestamp: int) -> None:  # noqa: ARG001 (the engine says when it was due)
        found = await retention.sweep()
        if any(found.values()):
            logger.info("the sweep of threads removed %s", found)


def checkpoint_id_at(moment: datetime) -> str:
    """What the ids of checkpoints of that moment begin with: they are UUIDs of version 6 (RFC 9562, section 5.6)."""
    ticks = int((moment - datetime(1582, 10, 15, tzinfo=UTC)) / timedelta(microseconds=1)) * 10
    return f"{ticks >> 28:08x}-{ticks >> 12 & 0xFFFF:04x}-6{ticks & 0xFFF:03x}"


class Retention:
    """The sweep that keeps what the settings and the threads' own ttl say, and nothing else."""

    def __init__(self, pool: Pool, settings: ThreadSettings) -> None:
        self._pool = pool
        self._settings = settings

    async def sweep(self) -> dict[str, int]:
        """Remove expired threads, superfluous checkpoints and those without a thread; returns how many of each."""
        return {
            "threads": await self.expire(),
            "checkpoints": await self.prune(),
            "orphans": await self.remove_orphans(),
        }

    async def expire(self) -> int:
        """Remove the threads whose ttl is over, or all of their checkpoints but the last; returns how many."""
        expired = await self._ids(
            "status <> 'busy' AND ttl_minutes IS NOT NULL "
            "AND updated_at + make_interval(mins => 1) * ttl_minutes < now() "
            "AND (ttl_strategy = 'delete' OR pruned_at IS NULL OR pruned_at < updated_at) ORDER BY updated_at"
        )
        for thread in expired:
            await self._expire(thread)
        return len(expired)

    async def _expire(self, thread: UUID) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "DELETE FROM threads WHERE id = %s AND status <> 'busy' AND ttl_strategy = 'delete' "
                "AND updated_at + make_interval(mins => 1) * ttl_minutes < now()",
                (thread,),
            )
            if cursor.rowcount:
                await delete_checkpoints(connection, thread)
                return
        await self._prune(thread, keep=1)

    async def prune(self) -> int:
        """Remove the checkpoints that the settings do not keep, of threads that have changed; returns how many."""
        keep, days = self._settings.keep_checkpoints, self._settings.keep_checkpoint_days
        if keep is None and days is None:
            return 0
        since = None if days is None else datetime.now(UTC) - timedelta(days=days)
        changed = await self._ids(
            "status <> 'busy' AND (pruned_at IS NULL OR state_updated_at > pruned_at OR (%(since)s::timestamptz IS NOT "
            "NULL AND state_updated_at < %(since)s AND pruned_at < state_updated_at + (now() - %(since)s))) "
            "ORDER BY state_updated_at",
            since=since,
        )
        return sum([await self._prune(thread, keep=keep or 2**31, since=since) for thread in changed])

    async def _prune(self, thread: UUID, *, keep: int, since: datetime | None = None) -> int:
        try:
            return await prune(self._pool, thread, keep=keep, since=since)
        except Conflict:
            # A run has begun; the next sweep looks again.
            return 0

    async def remove_orphans(self) -> int:
        """Remove what a dead run's process wrote after its thread was deleted; returns how many threads."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT thread_id FROM (SELECT thread_id, checkpoint_id FROM checkpoints "
                "  UNION ALL SELECT thread_id, checkpoint_id FROM checkpoint_writes) c "
                "WHERE NOT EXISTS (SELECT FROM threads t WHERE t.id::text = c.thread_id) "
                "GROUP BY thread_id HAVING max(checkpoint_id) < %s LIMIT %s",
                (checkpoint_id_at(datetime.now(UTC) - GRACE), BATCH),
            )
            threads = [row["thread_id"] for row in await cursor.fetchall()]
            for table in TABLES if threads else ():
                query = f"DELETE FROM {table} WHERE thread_id = ANY(%s)"  # noqa: S608
                await connection.execute(query.encode(), (threads,))
        return len(threads)

    async def _ids(self, condition: str, **values: object) -> Sequence[UUID]:
        query = f"SELECT id FROM threads WHERE {condition} LIMIT {BATCH}"  # noqa: S608
        async with self._pool.connection() as connection:
            return [row["id"] for row in await (await connection.execute(query.encode(), values)).fetchall()]
