"""Assistants as rows: a graph with a configuration of its own, in versions; those of the graphs are everybody's."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from app.agents import Agents
from app.listing import Window
from core.database import Pool
from core.domain import Principal
from core.errors import Conflict, Forbidden, NotFound

CONTENT = ("graph_id", "name", "description", "config", "context", "metadata")
COLUMNS = "id, tenant_id, version, created_at, updated_at, " + ", ".join(CONTENT)
SORTS = {
    "assistant_id": "id",
    "graph_id": "graph_id",
    "name": "name",
    "created_at": "created_at",
    "updated_at": "updated_at",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantContent:
    """What a version of an assistant says; ``config`` and ``context`` are what its runs start from."""

    graph_id: str
    name: str = "Untitled"
    description: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> tuple[Any, ...]:
        """The content in the order of its columns."""
        objects = (Jsonb(value) for value in (self.config, self.context, self.metadata))
        return (self.graph_id, self.name, self.description, *objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant(AssistantContent):
    """An assistant at its current version; without a tenant it is a graph's own and cannot be changed."""

    id: UUID
    tenant_id: UUID | None
    version: int
    created_at: datetime
    updated_at: datetime

    def wire(self) -> dict[str, Any]:
        """The protocol's Assistant."""
        said = {name: getattr(self, name) for name in CONTENT}
        times = {"created_at": self.created_at, "updated_at": self.updated_at}
        return {"assistant_id": self.id, "version": self.version, **said, **times}


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantFilter:
    """Which assistants fit: by graph, part of the name (whatever its case), and metadata that they hold."""

    graph_id: str | None = None
    name: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Assistants:
    """The rows of ``assistants``: a principal sees those of the graphs and those of its tenant."""

    def __init__(self, pool: Pool, agents: Agents) -> None:
        self._pool = pool
        self._agents = agents

    async def register(self) -> None:
        """Make each graph's own assistant known to the database."""
        async with self._pool.connection() as connection, connection.transaction():
            for agent in self._agents.all():
                content = AssistantContent(
                    graph_id=agent.graph_id,
                    name=agent.name,
                    description=agent.description,
                    metadata={"created_by": "system"},
                )
                await connection.execute(
                    "INSERT INTO assistants (id, graph_id, name, description, config, context, metadata) "
                    "VALUES (%s, %s, %s, %s, %s, %s, %s) "
                    "ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, description = EXCLUDED.description",
                    (agent.assistant_id, *content.values()),
                )
                await _record(connection, agent.assistant_id, 1, content)

    async def get(self, principal: Principal, assistant: str) -> Assistant:
        """An assistant by its id or by its graph's name.

        Raises:
            NotFound: there is none that the principal may use; the message names the graphs.
        """
        rows = await self._select("id = %s", [self._id_of(assistant)], principal, "id LIMIT 1")
        if not rows:
            raise self._unknown(assistant)
        return rows[0]

    async def search(self, principal: Principal, asked: AssistantFilter, window: Window) -> list[Assistant]:
        """The assistants that fit, of one page."""
        order = f"{window.order} LIMIT %s OFFSET %s"
        return await self._select(*_condition(asked), principal, order, window.limit, window.offset)

    async def count(self, principal: Principal, asked: AssistantFilter) -> int:
        """How many assistants fit."""
        condition, values = _condition(asked)
        query = f"SELECT count(*) AS found FROM assistants WHERE {condition} AND {_VISIBLE}"  # noqa: S608
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), [*values, *self._visible(principal)])
            row = await cursor.fetchone()
        return int(row["found"]) if row else 0

    async def create(
        self, principal: Principal, content: AssistantContent, *, assistant: UUID | None, if_exists: str
    ) -> Assistant:
        """Make an assistant of the tenant, at version 1.

        Raises:
            NotFound: there is no such graph.
            Conflict: the id is taken and ``if_exists`` is not ``do_nothing``, or it is another tenant's.
        """
        self._agents.get(content.graph_id)
        wanted = assistant or uuid.uuid4()
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "INSERT INTO assistants (id, tenant_id, graph_id, name, description, config, context, metadata) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
                (wanted, principal.tenant, *content.values()),
            )
            if made := cursor.rowcount == 1:
                await _record(connection, wanted, 1, content)
        if not made and if_exists != "do_nothing":
            raise Conflict(f"The assistant {str(wanted)!r} exists already. Pass if_exists='do_nothing' to use it.")
        try:
            return await self.get(principal, str(wanted))
        except NotFound as error:
            raise Conflict(f"The assistant id {str(wanted)!r} is taken. Choose another.") from error

    async def update(self, principal: Principal, assistant: str, changes: Mapping[str, Any]) -> Assistant:
        """Make a new version with the changes and use it from now on; metadata is merged, the rest replaced.

        Raises:
            NotFound: there is no such assistant, or no such graph.
            Forbidden: it is a graph's own.
        """
        if "graph_id" in changes:
            self._agents.get(changes["graph_id"])
        async with self._pool.connection() as connection, connection.transaction():
            stored = await self._locked(connection, principal, assistant)
            said = {name: getattr(stored, name) for name in CONTENT}
            metadata = {**stored.metadata, **changes.get("metadata", {})}
            content = AssistantContent(**{**said, **changes, "metadata": metadata})
            cursor = await connection.execute(
                "SELECT max(version) + 1 AS next FROM assistant_versions WHERE assistant_id = %s", (stored.id,)
            )
            row = await cursor.fetchone()
            version = row["next"] if row else stored.version + 1
            await _record(connection, stored.id, version, content)
            await _use(connection, stored.id, version)
        return await self.get(principal, assistant)

    async def use_version(self, principal: Principal, assistant: str, version: int) -> Assistant:
        """Use one of the assistant's versions from now on.

        Raises:
            NotFound: there is no such assistant or version.
            Forbidden: it is a graph's own.
        """
        async with self._pool.connection() as connection, connection.transaction():
            stored = await self._locked(connection, principal, assistant)
            if not await _use(connection, stored.id, version):
                raise NotFound(f"The assistant {assistant!r} has no version {version}.")
        return await self.get(principal, assistant)

    async def versions(
        self, principal: Principal, assistant: str, *, metadata: Mapping[str, Any], limit: int, offset: int
    ) -> list[dict[str, Any]]:
        """The assistant's versions that hold the metadata, newest first.

        Raises:
            NotFound: there is no such assistant.
        """
        stored = await self.get(principal, assistant)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT assistant_id, version, graph_id, name, description, config, context, metadata, created_at "
                "FROM assistant_versions WHERE assistant_id = %s AND metadata @> %s "
                "ORDER BY version DESC LIMIT %s OFFSET %s",
                (stored.id, Jsonb(metadata), limit, offset),
            )
            return [dict(row) for row in await cursor.fetchall()]

    async def delete(self, principal: Principal, assistant: str) -> None:
        """Remove the assistant with its versions and the record of its runs.

        Raises:
            NotFound: there is no such assistant.
            Forbidden: it is a graph's own.
            Conflict: somebody's run of it is active.
        """
        async with self._pool.connection() as connection, connection.transaction():
            stored = await self._locked(connection, principal, assistant)
            cursor = await connection.execute(
                "SELECT FROM runs WHERE assistant_id = %s AND status IN ('pending', 'running')", (stored.id,)
            )
            if cursor.rowcount:
                raise Conflict(
                    f"{cursor.rowcount} runs of the assistant {assistant!r} are active. Wait for them or cancel them."
                )
            await connection.execute("DELETE FROM assistants WHERE id = %s", (stored.id,))

    async def owned(self, principal: Principal, assistant: str) -> Assistant:
        """An assistant that the principal's tenant may change.

        Raises:
            NotFound: there is no such assistant.
            Forbidden: it is a graph's own.
        """
        return _owned(await self.get(principal, assistant))

    async def _locked(
        self, connection: psycopg.AsyncConnection[DictRow], principal: Principal, assistant: str
    ) -> Assistant:
        query = f"SELECT {COLUMNS} FROM assistants WHERE id = %s AND {_VISIBLE} FOR UPDATE"  # noqa: S608
        values = [self._id_of(assistant), *self._visible(principal)]
        row = await (await connection.execute(query.encode(), values)).fetchone()
        if row is None:
            raise self._unknown(assistant)
        return _owned(Assistant(**row))

    def _id_of(self, assistant: str) -> UUID:
        try:
            return UUID(assistant)
        except ValueError:
            return self._agents.get(assistant).assistant_id

    def _unknown(self, assistant: str) -> NotFound:
        names = ", ".join(repr(agent.graph_id) for agent in self._agents.all())
        return NotFound(f"There is no assistant {assistant!r}. The graphs have one each: {names}.")

    def _visible(self, principal: Principal) -> list[Any]:
        return [[agent.graph_id for agent in self._agents.all()], principal.tenant]

    async def _select(
        self, condition: str, values: list[Any], principal: Principal, order: str, *window: int
    ) -> list[Assistant]:
        query = f"SELECT {COLUMNS} FROM assistants WHERE {condition} AND {_VISIBLE} ORDER BY {order}"  # noqa: S608
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), [*values, *self._visible(principal), *window])
            return [Assistant(**row) for row in await cursor.fetchall()]


# Of the graphs' own, those whose graph this program still has.
_VISIBLE = "graph_id = ANY(%s) AND (tenant_id IS NULL OR tenant_id = %s)"


def _owned(stored: Assistant) -> Assistant:
    if stored.tenant_id is None:
        raise Forbidden(
            f"The assistant {stored.name!r} belongs to its graph and to everybody. Make one of your own: "
            f"POST /assistants with graph_id {stored.graph_id!r}."
        )
    return stored


def _condition(asked: AssistantFilter) -> tuple[str, list[Any]]:
    condition = (
        "metadata @> %s AND (%s::text IS NULL OR graph_id = %s) "
        "AND (%s::text IS NULL OR position(lower(%s) IN lower(name)) > 0)"
    )
    return condition, [Jsonb(asked.metadata), asked.graph_id, asked.graph_id, asked.name, asked.name]


async def _record(
    connection: psycopg.AsyncConnection[DictRow], assistant: UUID, version: int, content: AssistantContent
) -> None:
    await connection.execute(
        "INSERT INTO assistant_versions "
        "(assistant_id, version, graph_id, name, description, config, context, metadata) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (assistant_id, version) DO UPDATE "
        "SET name = EXCLUDED.name, description = EXCLUDED.description",
        (assistant, version, *content.values()),
    )


async def _use(connection: psycopg.AsyncConnection[DictRow], assistant: UUID, version: int) -> bool:
    cursor = await connection.execute(
        "UPDATE assistants a SET version = v.version, graph_id = v.graph_id, name = v.name, "
        "description = v.description, config = v.config, context = v.context, metadata = v.metadata, "
        "updated_at = now() FROM assistant_versions v "
        "WHERE a.id = %s AND v.assistant_id = a.id AND v.version = %s",
        (assistant, version),
    )
    return cursor.rowcount == 1
