"""The states of threads: read at any checkpoint, changed by hand, and shown on the thread's row for lists."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

import psycopg
from langgraph.errors import EmptyInputError, InvalidUpdateError
from langgraph.types import Command, Send, StateSnapshot, StateUpdate
from psycopg.rows import DictRow

from app.agents import Agents
from app.thread import lock_idle
from app.wire import thread_state, to_json
from core.database import Pool
from core.domain import Principal
from core.errors import InvalidInput, NotFound, PlatformError

WRITERS = 4
"""States changed at once by one process: each holds a connection while its graph needs another."""
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")

SHOW = (
    "state = %(state)s::jsonb, interrupts = %(interrupts)s::jsonb, "
    "state_updated_at = CASE WHEN %(shown)s THEN now() END"
)
"""What an UPDATE of a thread's row sets of its state, from the values of `shown`."""

Given = Mapping[str, Any]


class States:
    """The states of threads, each read and written by the graph that the thread's metadata names."""

    def __init__(self, pool: Pool, agents: Agents) -> None:
        self._pool = pool
        self._agents = agents
        self._writers = asyncio.Semaphore(WRITERS)

    async def read(
        self, thread: Given, *, checkpoint: Given | None = None, subgraphs: bool = False
    ) -> StateSnapshot | None:
        """The thread's state at its last checkpoint or at another; ``None`` when no graph has run on it.

        Raises:
            NotFound: there is no such checkpoint.
        """
        graph = self._graph(thread)
        if graph is None:
            if checkpoint:
                raise _no_checkpoint(checkpoint)
            return None
        try:
            snapshot = await graph.aget_state(config_of(thread["thread_id"], checkpoint), subgraphs=subgraphs)
        except ValueError as error:
            # A namespace of a subgraph that the graph does not have.
            raise _no_checkpoint(checkpoint or {}) from error
        if checkpoint and checkpoint.get("checkpoint_id") and snapshot.created_at is None:
            raise _no_checkpoint(checkpoint)
        return _snapshot(snapshot)

    async def current(self, thread: Given) -> dict[str, Any]:
        """The values and the open interrupts of the thread's last checkpoint, as a thread has them."""
        try:
            snapshot = await self.read(thread)
        except NotFound:
            snapshot = None
        if snapshot is None:
            return {"values": None, "interrupts": {}}
        return {"values": snapshot.values or None, "interrupts": interrupts_of(snapshot)}

    async def history(
        self,
        thread: Given,
        *,
        limit: int,
        before: str | None,
        metadata: Given | None,
        checkpoint: Given | None,
    ) -> AsyncIterator[StateSnapshot]:
        """The thread's states, newest first; of a subgraph when the checkpoint names one."""
        graph = self._graph(thread)
        if graph is None:
            return
        earlier = config_of(thread["thread_id"], {"checkpoint_id": before}) if before else None
        config = config_of(thread["thread_id"], checkpoint)
        try:
            async for snapshot in graph.aget_state_history(config, filter=metadata, before=earlier, limit=limit):
                yield snapshot
        except ValueError as error:
            raise _no_checkpoint(checkpoint or {}) from error

    async def update(
        self,
        principal: Principal,
        thread: Given,
        values: Any,
        *,
        as_node: str | None,
        checkpoint: Given | None,
    ) -> dict[str, Any]:
        """Change the state as if a node had given the values; returns the config of the new checkpoint.

        Raises:
            NotFound: the thread or the checkpoint is not there.
            Conflict: a run is active on the thread.
            InvalidInput: the graph does not take the values, or has no such node.
        """
        graph = self._needed(thread)
        async with self._writing(principal, thread["thread_id"]) as connection:
            if checkpoint and checkpoint.get("checkpoint_id"):
                await self.read(thread, checkpoint=checkpoint)
            config = config_of(thread["thread_id"], checkpoint)
            with _translated():
                made = await graph.aupdate_state(config, values, as_node)
            await self._show_head(connection, graph, thread["thread_id"])
        return dict(made)

    async def play_supersteps(self, principal: Principal, thread: Given, supersteps: Sequence[Any]) -> None:
        """Give a thread the states of another, one superstep after the other.

        Raises:
            InvalidInput: the graph does not take an update, or has no such node.
        """
        graph = self._needed(thread)
        steps = [[_update(update) for update in updates] for updates in supersteps]
        async with self._writing(principal, thread["thread_id"]) as connection:
            with _translated():
                await graph.abulk_update_state(config_of(thread["thread_id"]), steps)
            await self._show_head(connection, graph, thread["thread_id"])

    async def _show_head(self, connection: psycopg.AsyncConnection[DictRow], graph: Any, thread: UUID) -> None:
        snapshot = await graph.aget_state(config_of(thread))
        status = "interrupted" if snapshot.next else "idle"
        await connection.execute(
            f"UPDATE threads SET {SHOW}, status = %(status)s, updated_at = now() WHERE id = %(thread)s "  # noqa: S608
            "RETURNING pg_notify('ragstone_states', id::text)",
            {**shown(snapshot), "status": status, "thread": thread},
        )

    @asynccontextmanager
    async def _writing(self, principal: Principal, thread: UUID) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        async with self._writers, self._pool.connection() as connection, connection.transaction():
            await lock_idle(connection, principal, thread)
            yield connection

    def _graph(self, thread: Given) -> Any:
        name = thread["metadata"].get("graph_id")
        return None if name is None else self._agents.get(str(name)).graph

    def _needed(self, thread: Given) -> Any:
        graph = self._graph(thread)
        if graph is None:
            raise InvalidInput(
                "This thread has no graph yet, and so no state. Create it with graph_id, or run an assistant on it."
            )
        return graph


def shown(snapshot: StateSnapshot | None) -> dict[str, Any]:
    """What a thread's row shows of a state; of one that is not known, nothing: it is then read anew when asked for."""
    if snapshot is None:
        return {"state": None, "interrupts": "{}", "shown": False}
    return {"state": _json(snapshot.values or None), "interrupts": _json(interrupts_of(snapshot)), "shown": True}


def interrupts_of(snapshot: StateSnapshot) -> dict[str, list[dict[str, Any]]]:
    """The open interrupts, by the task that waits."""
    return {
        task.id: [{"value": item.value, "id": item.id} for item in task.interrupts]
        for task in snapshot.tasks
        if task.interrupts
    }


def wire_state(thread_id: UUID, snapshot: StateSnapshot | None, select: Sequence[str] | None) -> dict[str, Any]:
    """The protocol's ThreadState with the fields that were asked for; ``values.KEY`` asks for one of the values."""
    empty = StateSnapshot({}, (), config_of(thread_id), None, None, None, (), ())
    state = thread_state(snapshot or empty)
    if select is None:
        return state
    keys = {path.removeprefix("values.") for path in select if path.startswith("values.")}
    chosen = {name: value for name, value in state.items() if name in select}
    if keys and "values" not in select:
        chosen["values"] = {key: value for key, value in state["values"].items() if key in keys}
    return chosen


def config_of(thread: UUID | str, checkpoint: Given | None = None) -> Any:
    """LangGraph's config of a thread at its last checkpoint or at the protocol's ``checkpoint``."""
    names = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
    said = {name: checkpoint[name] for name in names if checkpoint and checkpoint.get(name)}
    return {"configurable": {"checkpoint_ns": "", **said, "thread_id": str(thread)}}


def _snapshot(snapshot: Any) -> StateSnapshot:
    assert isinstance(snapshot, StateSnapshot)  # noqa: S101 (graphs are typed as any)
    return snapshot


def _json(value: Any) -> str:
    # jsonb cannot hold U+0000; the checkpoint has the text as it is.
    return NUL.sub(r"\1\\ufffd", to_json(value))


def _no_checkpoint(checkpoint: Given) -> NotFound:
    said = checkpoint.get("checkpoint_id") or checkpoint.get("checkpoint_ns")
    return NotFound(f"There is no checkpoint {said!r} on this thread. POST /threads/…/history lists those that are.")


def _update(update: Given) -> StateUpdate:
    """An update of a superstep: its values, or its command when it has one."""
    given, as_node = update.get("command"), update.get("as_node")
    if not given:
        return StateUpdate(update.get("values"), as_node)
    goto: Any = given.get("goto")
    places = goto if isinstance(goto, list) else [goto] if goto else []
    sends = [Send(place["node"], place.get("input")) if isinstance(place, Mapping) else place for place in places]
    values: Any = Command(update=given.get("update"), resume=given.get("resume"), goto=sends)
    return StateUpdate(values, as_node)


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of a graph that was given an update, in our words."""
    try:
        yield
    except PlatformError:
        raise
    except (InvalidUpdateError, EmptyInputError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise InvalidInput(f"The graph does not take this update: {error}") from error
