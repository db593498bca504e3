"""Checkpoints in PostgreSQL: LangGraph's saver, where a longer list costs what is new, with a limit to each step."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal
from uuid import UUID

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from core.database import Pool
from core.errors import TooLarge

PART = 2048
"""Bytes of a part: half of it is what a longer list costs on average beside what was added to it."""
LARGE = 16 * PART
"""Bytes of a part that more than so much follows: a long value is not told in many hashes at each addition."""
HEAD = 16
"""Bytes of the first part: it holds the length of the list, which changes with every addition."""
HASH = 16
STEPS = 5
"""Turns of the event loop in which LangGraph begins to store what a task said that was cut off."""
QUIET_S = 0.01
PARTED = "parts:"
"""Before the type of a value that is stored in parts; its row then holds their hashes, one after the other."""

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes", "checkpoint_parts")


class _Unlocked(asyncio.Lock):
    """A lock that lets everybody in: the saver's own is for a single connection, and ours come from a pool."""

    async def acquire(self) -> Literal[True]:
        return True

    def release(self) -> None:
        pass


class Saver(AsyncPostgresSaver):
    """LangGraph's saver on our pool.

    A value of more than one `PART` is stored in parts that the checkpoints of a thread share, so that a conversation of
    n turns takes room in proportion to n and not to n². Nothing but plain values and messages is loaded.
    """

    UPSERT_CHECKPOINT_BLOBS_SQL = """
        WITH parts AS (
            INSERT INTO checkpoint_parts (thread_id, hash, blob)
            SELECT %s, * FROM unnest(%s::bytea[], %s::bytea[]) ON CONFLICT DO NOTHING
        )
        INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
        VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
    """
    SELECT_SQL = AsyncPostgresSaver.SELECT_SQL.replace(
        "array[bl.channel::bytea, bl.type::bytea, bl.blob]",
        f"""array[
            bl.channel::bytea,
            regexp_replace(bl.type, '^{PARTED}', '')::bytea,
            CASE WHEN bl.type LIKE '{PARTED}%%' THEN (
                SELECT string_agg(p.blob, ''::bytea ORDER BY place)
                FROM generate_series(0, length(bl.blob) / {HASH} - 1) AS place
                JOIN checkpoint_parts p ON p.thread_id = bl.thread_id
                    AND p.hash = substr(bl.blob, place * {HASH} + 1, {HASH})
            ) ELSE bl.blob END
        ]""",  # noqa: S608 (constants of ours)
    )

    def __init__(self, pool: Pool, max_bytes: int) -> None:
        super().__init__(pool, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        self.lock = _Unlocked()
        self._max_bytes = max_bytes
        self._under_way: Counter[str] = Counter()

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written."""
        thread = str(config["configurable"]["thread_id"])
        self._under_way[thread] += 1
        try:
            await super().aput_writes(config, writes, task_id, task_path)
        finally:
            self._under_way[thread] -= 1
            if not self._under_way[thread]:
                del self._under_way[thread]

    async def quiet(self, thread: UUID) -> None:
        """Return when nothing is being stored for the thread; a task that is cut off has its words stored late."""
        for _ in range(STEPS):
            await asyncio.sleep(0)
        while self._under_way[str(thread)]:  # noqa: ASYNC110 (it is a moment, and rare)
            await asyncio.sleep(QUIET_S)

    def _dump_blobs(
        self, thread_id: str, checkpoint_ns: str, values: dict[str, Any], versions: ChannelVersions
    ) -> list[tuple[Any, ...]]:
        """The rows of the new values, each with its parts before it.

        Raises:
            TooLarge: the values take more than the limit.
        """
        rows = super()._dump_blobs(thread_id, checkpoint_ns, values, versions)
        size = sum(len(row[-1] or b"") for row in rows)
        if size > self._max_bytes:
            largest = max(rows, key=lambda row: len(row[-1] or b""))
            raise TooLarge(
                f"A step's state has {size:,} bytes, most of them in {largest[2]!r}; at most {self._max_bytes:,} are "
                "kept (THREADS__CHECKPOINT_MAX_KB). Keep files outside the state and refer to them."
            )
        return [_with_parts(row, whole=isinstance(values.get(row[2]), _DeltaSnapshot)) for row in rows]


def _with_parts(row: tuple[Any, ...], *, whole: bool) -> tuple[Any, ...]:
    thread_id, namespace, channel, version, kind, blob = row
    if whole or blob is None or len(blob) <= PART:
        return (thread_id, [], [], *row)
    parts = cut(blob)
    hashes = [hashlib.sha256(part).digest()[:HASH] for part in parts]
    distinct = dict(zip(hashes, parts, strict=True))
    stored = (thread_id, namespace, channel, version, PARTED + kind, b"".join(hashes))
    return (thread_id, list(distinct), list(distinct.values()), *stored)


def cut(blob: bytes) -> list[bytes]:
    """A value in parts: its head, large ones as long as they are full, and small ones."""
    large = HEAD + (len(blob) - HEAD) // LARGE * LARGE
    places = [0, *range(HEAD, large, LARGE), *range(large, len(blob), PART), len(blob)]
    return [blob[start:end] for start, end in pairwise(places) if start < end]


async def delete_checkpoints(connection: psycopg.AsyncConnection[DictRow], thread: UUID) -> None:
    """Remove all that is stored of the thread's states."""
    for table in TABLES:
        await connection.execute(f"DELETE FROM {table} WHERE thread_id = %s".encode(), (str(thread),))  # noqa: S608


async def copy_checkpoints(connection: psycopg.AsyncConnection[DictRow], thread: UUID, copied: UUID) -> None:
    """Give another thread all that is stored of the thread's states."""
    columns = {
        "checkpoints": "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint",
        "checkpoint_blobs": "checkpoint_ns, channel, version, type, blob",
        "checkpoint_writes": "checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path",
        "checkpoint_parts": "hash, blob",
    }
    for table, names in columns.items():
        own, copies = ("", "") if table != "checkpoints" else (", metadata", ", metadata || %(own)s")
        query = (
            f"INSERT INTO {table} (thread_id, {names}{own}) "  # noqa: S608
            f"SELECT %(to)s, {names}{copies} FROM {table} WHERE thread_id = %(from)s"
        )
        own_metadata = Jsonb({"thread_id": str(copied)})
        await connection.execute(query.encode(), {"to": str(copied), "from": str(thread), "own": own_metadata})


async def size_of(pool: Pool, thread: UUID) -> dict[str, int]:
    """How many checkpoints the thread has, and how many bytes their rows take."""
    sums = " + ".join(
        f"(SELECT coalesce(sum(pg_column_size(t)), 0) FROM {table} t WHERE thread_id = %(thread)s)"  # noqa: S608
        for table in TABLES
    )
    query = f"SELECT (SELECT count(*) FROM checkpoints WHERE thread_id = %(thread)s) AS checkpoints, {sums} AS bytes"  # noqa: S608
    async with pool.connection() as connection:
        row = await (await connection.execute(query.encode(), {"thread": str(thread)})).fetchone()
    return {key: int(value) for key, value in (row or {}).items()}
