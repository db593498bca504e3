"""The assistants: each a compiled graph, what it is called, and which of its nodes writes the answer."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.graph.state import CompiledStateGraph

from core.database import Pool
from core.errors import NotFound

NAMESPACE = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""The namespace of the protocol's servers: clients may compute a graph's default assistant id themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A graph that people can talk to.

    ``draft_node`` is the node whose tokens a person sees, ``answer_node`` the one in whose name a stopped answer is
    kept.
    """

    graph_id: str
    name: str
    description: str
    graph: CompiledStateGraph[Any, Any, Any, Any]
    draft_node: str
    answer_node: str

    @property
    def assistant_id(self) -> uuid.UUID:
        """The id of the graph's own assistant."""
        return uuid.uuid5(NAMESPACE, self.graph_id)


class Agents:
    """All agents, by the assistant's id or the graph's name."""

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self._agents = agents

    def all(self) -> list[Agent]:
        """Every agent, in the order of their names."""
        return [self._agents[name] for name in sorted(self._agents)]

    def get(self, assistant: str) -> Agent:
        """An agent by assistant id or graph name.

        Raises:
            NotFound: there is none; the message names those that exist.
        """
        for agent in self._agents.values():
            if assistant in (agent.graph_id, str(agent.assistant_id)):
                return agent
        names = ", ".join(repr(name) for name in sorted(self._agents))
        raise NotFound(f"There is no assistant {assistant!r}. There are: {names}.")


async def register(pool: Pool, agents: Agents) -> None:
    """Make each agent's assistant known to the database."""
    async with pool.connection() as connection:
        for agent in agents.all():
            await connection.execute(
                "INSERT INTO assistants (id, graph_id, name, description) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, description = EXCLUDED.description",
                (agent.assistant_id, agent.graph_id, agent.name, agent.description),
            )
