"""The graph of `benchmarks.soak`: it answers at once, with a message of always the same size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from app.agents import Agent, Ground

NAME = "soak"
ANSWER = "The lamp of the harbour burns as long as somebody looks after it. " * 4


class Talk(TypedDict):
    """A conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


def agents(ground: Ground) -> Iterable[Agent]:
    """The graph, with every state stored."""

    async def answer(state: Talk) -> dict[str, Any]:  # noqa: ARG001 (LangGraph's form of a node)
        return {"messages": [AIMessage(ANSWER)]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(Talk)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    compiled = graph.compile(checkpointer=ground.saver, name=NAME)
    yield Agent(graph_id=NAME, name="Soak", description="Answers at once.", graph=compiled)
