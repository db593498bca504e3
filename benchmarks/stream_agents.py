"""The graph of `benchmarks.stream_graph` as an agent of Ragstone's."""

from __future__ import annotations

from collections.abc import Iterable

from app.agents import Agent, Ground
from benchmarks.stream_graph import NAME, make_graph


def agents(ground: Ground) -> Iterable[Agent]:
    """The graph, with every state stored."""
    graph = make_graph().compile(checkpointer=ground.saver, name=NAME)
    yield Agent(graph_id=NAME, name="Paced", description="Speaks at a fixed pace.", graph=graph)
