"""Threads as rows, seen by their own principal only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.types.json import Jsonb

from core.database import Pool
from core.domain import Principal
from core.errors import Conflict, NotFound

COLUMNS = "id AS thread_id, status, metadata, created_at, updated_at"
SORTS = {"thread_id": "id", "status": "status", "created_at": "created_at", "updated_at": "updated_at"}


class Threads:
    """The rows of ``threads`` and what hangs on them."""

    def __init__(self, pool: Pool, saver: AsyncPostgresSaver) -> None:
        self._pool = pool
        self._saver = saver

    async def create(
        self, principal: Principal, thread: UUID, metadata: Mapping[str, Any], *, if_exists: str
    ) -> dict[str, Any]:
        """Make a thread.

        Raises:
            Conflict: the id is taken and ``if_exists`` is not ``do_nothing``, or it is somebody else's.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "INSERT INTO threads (id, tenant_id, principal_id, metadata) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (id) DO NOTHING",
                (thread, principal.tenant, principal.id, Jsonb(metadata)),
            )
        if cursor.rowcount == 0 and if_exists != "do_nothing":
            raise Conflict(f"The thread {str(thread)!r} exists already. Pass if_exists='do_nothing' to use it.")
        try:
            return await self.get(principal, thread)
        except NotFound as error:
            raise Conflict(f"The thread id {str(thread)!r} is taken. Choose another.") from error

    async def get(self, principal: Principal, thread: UUID) -> dict[str, Any]:
        """One thread.

        Raises:
            NotFound: the principal has no such thread.
        """
        rows = await self._select("id = %s", [thread], principal, "updated_at DESC", 1, 0)
        if not rows:
            raise NotFound(f"There is no thread {str(thread)!r}.")
        return rows[0]

    async def search(
        self,
        principal: Principal,
        *,
        metadata: Mapping[str, Any],
        status: str | None,
        ids: list[UUID] | None,
        sort_by: str,
        descending: bool,
        limit: int,
        offset: int,
    ) -> list[dict[str, Any]]:
        """The principal's threads that fit."""
        order = f"{SORTS.get(sort_by, 'updated_at')} {'DESC' if descending else 'ASC'}, id"
        condition = "metadata @> %s AND (%s::text IS NULL OR status = %s) AND (%s::uuid[] IS NULL OR id = ANY(%s))"
        return await self._select(
            condition, [Jsonb(metadata), status, status, ids, ids], principal, order, limit, offset
        )

    async def update(self, principal: Principal, thread: UUID, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Merge keys into the thread's metadata.

        Raises:
            NotFound: the principal has no such thread.
        """
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE threads SET metadata = metadata || %s, updated_at = now() "
                "WHERE id = %s AND tenant_id = %s AND principal_id = %s",
                (Jsonb(metadata), thread, principal.tenant, principal.id),
            )
        return await self.get(principal, thread)

    async def delete(self, principal: Principal, thread: UUID) -> None:
        """Remove the thread with its runs, events and checkpoints.

        Raises:
            NotFound: the principal has no such thread.
        """
        await self.get(principal, thread)
        # The row last: as long as it is there nobody else can take the id, and a deletion that broke can be repeated.
        await self._saver.adelete_thread(str(thread))
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM threads WHERE id = %s", (thread,))

    async def _select(
        self, condition: str, values: list[Any], principal: Principal, order: str, limit: int, offset: int
    ) -> list[dict[str, Any]]:
        query = (
            f"SELECT {COLUMNS} FROM threads WHERE {condition} AND tenant_id = %s AND principal_id = %s "  # noqa: S608
            f"ORDER BY {order} LIMIT %s OFFSET %s"
        )
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), [*values, principal.tenant, principal.id, limit, offset])
            return [dict(row) for row in await cursor.fetchall()]
