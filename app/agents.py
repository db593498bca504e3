"""The assistants: each a compiled graph, what its runs are given, and which of its nodes writes the answer."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph.state import CompiledStateGraph

from app.store.memory import Memory
from core.database import Pool
from core.domain import Principal
from core.errors import NotFound

NAMESPACE = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""The namespace of the protocol's servers: clients may compute a graph's default assistant id themselves."""

ReadInput: TypeAlias = Callable[[Mapping[str, Any] | None], dict[str, Any] | None]
OpenContext: TypeAlias = Callable[[Principal, Mapping[str, Any]], Awaitable[Any]]


def any_input(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The input as it is: the graph's own schema decides."""
    return None if value is None else dict(value)


async def given_context(_: Principal, given: Mapping[str, Any]) -> Any:
    """The context as it was given: the graph's own schema decides."""
    return dict(given) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A graph that people can talk to.

    ``read_input`` checks a run's input and gives the form that is stored; it raises `InvalidInput`. ``open_context``
    makes the graph's context of who asks and of the ``context`` that the run was given; it raises `PlatformError`. It
    is called once to check a run and again wherever the run is executed. ``draft_node`` is the node whose tokens a
    person sees, ``answer_node`` the one in whose name a stopped answer is kept; ``None``: any node. ``context_schema``
    is the JSON schema of what ``open_context`` takes; ``None``: the graph's own.
    """

    graph_id: str
    name: str
    description: str
    graph: CompiledStateGraph[Any, Any, Any, Any]
    read_input: ReadInput = any_input
    open_context: OpenContext = given_context
    draft_node: str | None = None
    answer_node: str | None = None
    context_schema: Mapping[str, Any] | None = None

    @property
    def assistant_id(self) -> uuid.UUID:
        """The id of the graph's own assistant."""
        return uuid.uuid5(NAMESPACE, self.graph_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What every graph of a process is compiled with."""

    pool: Pool
    saver: AsyncPostgresSaver
    memory: Memory


BuildAgents: TypeAlias = Callable[[Ground], Iterable[Agent]]


def no_agents(_: Ground) -> Iterable[Agent]:
    """No agents beside our own."""
    return ()


class Agents:
    """All agents, by the assistant's id or the graph's name."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._agents = {agent.graph_id: agent for agent in agents}
        self._by_id = {str(agent.assistant_id): agent for agent in self._agents.values()}

    def all(self) -> list[Agent]:
        """Every agent, in the order of their names."""
        return [self._agents[name] for name in sorted(self._agents)]

    def find(self, assistant: str) -> Agent | None:
        """An agent by its graph's name, or by the id of the graph's own assistant."""
        return self._agents.get(assistant) or self._by_id.get(assistant)

    def get(self, assistant: str) -> Agent:
        """An agent by assistant id or graph name.

        Raises:
            NotFound: there is none; the message names those that exist.
        """
        agent = self.find(assistant)
        if agent is None:
            names = ", ".join(repr(name) for name in sorted(self._agents))
            raise NotFound(f"There is no assistant {assistant!r}. There are: {names}.")
        return agent
