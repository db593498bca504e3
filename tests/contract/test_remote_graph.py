"""Our graphs as nodes of somebody else's: LangGraph's `RemoteGraph` over our API."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.pregel.remote import RemoteException, RemoteGraph
from langgraph.types import Command

from tests.conftest import Tenant
from tests.graphs import Talk

INPUT: dict[str, Any] = {"messages": [{"role": "user", "content": "Go."}], "steps": []}


def remote(tenant: Tenant, name: str) -> RemoteGraph:
    return RemoteGraph(name, client=tenant.sdk)


def calling(graph: RemoteGraph) -> Any:
    """A local graph whose only node is a remote one."""
    return StateGraph(Talk).add_node("away", graph).add_edge(START, "away").compile(checkpointer=InMemorySaver())


async def on_a_thread(tenant: Tenant) -> Any:
    return {"configurable": {"thread_id": (await tenant.sdk.threads.create())["thread_id"]}}


async def test_a_remote_graph_is_invoked_streamed_and_asked_for_its_state(tenant: Tenant) -> None:
    graph, config = remote(tenant, "nested"), await on_a_thread(tenant)
    assert (await graph.ainvoke(INPUT, config))["steps"] == ["before", "first", "second", "after"]
    snapshot = await graph.aget_state(config)
    assert (snapshot.values["steps"][-1], snapshot.next) == ("after", ())
    stream: Any = graph.astream(INPUT, config, stream_mode=["updates", "custom"], subgraphs=True)
    parts = [part async for part in stream]
    assert {mode for _, mode, _ in parts} == {"updates", "custom"}
    assert [data["at"] for _, mode, data in parts if mode == "custom"] == ["before", "first", "second", "after"]
    assert {namespace[0].partition(":")[0] for namespace, _, _ in parts if namespace} == {"inner"}
    assert {node.id for node in (await graph.aget_graph()).nodes.values()} >= {"before", "inner", "after"}
    history = [state async for state in graph.aget_state_history(config, limit=2)]
    assert history[0].config["configurable"]["checkpoint_id"] != snapshot.config["configurable"]["checkpoint_id"]


async def test_a_remote_graph_is_a_node_and_its_tokens_are_streamed_through(tenant: Tenant) -> None:
    graph, config = calling(remote(tenant, "slow")), await on_a_thread(tenant)
    texts = []
    async for namespace, (message, _) in graph.astream(INPUT, config, stream_mode="messages", subgraphs=True):
        texts.append((namespace[0].partition(":")[0], message["content"]))
    assert {node for node, _ in texts} == {"away"}
    assert "".join(text for _, text in texts).split() == [f"w{number}" for number in range(20)]


async def test_a_remote_interrupt_stops_the_caller_and_its_answer_goes_on_there(tenant: Tenant) -> None:
    graph, config = calling(remote(tenant, "asks")), await on_a_thread(tenant)
    asked = await graph.ainvoke(INPUT, config)
    assert [item.value for item in asked["__interrupt__"]] == [{"question": "Why?"}]
    away = remote(tenant, "asks")
    thread: Any = await on_a_thread(tenant)
    first = await away.ainvoke(INPUT, thread)
    assert [item["value"] for item in first["__interrupt__"]] == [{"question": "Why?"}]
    answered = await away.ainvoke(Command(resume="Because."), thread)
    assert answered["messages"][-1]["content"] == "told: Because."


async def test_a_remote_failure_is_an_exception_with_our_words(tenant: Tenant) -> None:
    with pytest.raises(RemoteException, match="The part is away"):
        await remote(tenant, "fails").ainvoke({**INPUT, "kind": "known"}, await on_a_thread(tenant))
