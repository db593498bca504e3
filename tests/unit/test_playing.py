"""The protocol's events of what LangGraph streams."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from app.runs.playing import play
from app.wire import plain

GIVEN: Any = {"messages": [{"role": "user", "content": "Go?"}]}
CONFIG: Any = {"configurable": {"thread_id": "t"}}


def compiled() -> Any:
    """A subgraph whose model says "one two", then a node that asks a person."""
    model = GenericFakeChatModel(messages=iter([AIMessage("one two")]))

    async def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(interrupt({"question": "Go on?"}))]}

    child = StateGraph(MessagesState).add_node("say", say).add_edge(START, "say").compile()
    parent = StateGraph(MessagesState).add_node("child", child).add_node("ask", ask)
    return parent.add_edge(START, "child").add_edge("child", "ask").compile(checkpointer=InMemorySaver())


async def played(*modes: str, graph: Any = None, given: Any = GIVEN, **options: Any) -> list[tuple[str, Any]]:
    graph = graph or compiled()
    return [(name, plain(data)) async for name, data in play(graph, given, CONFIG, None, modes=modes, **options)]


async def test_each_mode_gives_its_own_event() -> None:
    modes = ("values", "updates", "tasks", "checkpoints", "debug")
    for mode in modes:
        assert {name for name, _ in await played(mode)} == {mode}
    assert {name for name, _ in await played(*modes)} == set(modes)


async def test_a_subgraph_s_events_are_named_after_its_place() -> None:
    events = await played("values", "messages-tuple", subgraphs=True)
    below = {name.partition("|")[0] for name, _ in events if name.partition("|")[2].startswith("child:")}
    assert below == {"values", "messages"}
    assert not [name for name, _ in await played("values", "updates") if "|" in name]


async def test_tokens_are_tuples_of_chunk_and_metadata() -> None:
    tokens = [data for name, data in await played("messages-tuple", subgraphs=True) if name.startswith("messages|")]
    assert [chunk["content"] for chunk, _ in tokens] == ["one", " ", "two"]
    assert {(chunk["type"], metadata["langgraph_node"]) for chunk, metadata in tokens} == {("AIMessageChunk", "say")}


async def test_the_mode_messages_gives_metadata_first_and_then_the_growing_message() -> None:
    events = await played("messages", subgraphs=True)
    assert [name for name, _ in events] == ["messages/metadata", *["messages/partial"] * 3]
    assert [data[0]["content"] for _, data in events[1:]] == ["one", "one ", "one two"]
    (key,) = events[0][1]
    assert events[0][1][key]["metadata"]["langgraph_node"] == "say"
    assert {(data[0]["id"], data[0]["type"]) for _, data in events[1:]} == {(key, "ai")}


async def test_a_message_that_no_model_streamed_is_complete() -> None:
    graph = compiled()
    await played("values", graph=graph)
    events = await played("messages", graph=graph, given=Command(resume="Yes."))
    assert [name for name, _ in events] == ["messages/metadata", "messages/complete"]
    assert events[1][1][0]["content"] == "Yes."


async def test_an_interrupt_is_in_values_and_in_updates() -> None:
    events = await played("values", "updates")
    (updates,) = [data["__interrupt__"] for name, data in events if name == "updates" and "__interrupt__" in data]
    (values,) = [data["__interrupt__"] for name, data in events if name == "values" and "__interrupt__" in data]
    assert updates == values
    assert [set(item) for item in values] == [{"value", "id"}]
    assert values[0]["value"] == {"question": "Go on?"}


async def test_the_mode_events_gives_langchain_s_events_and_the_other_modes_beside_them() -> None:
    events = await played("events", "values", "messages-tuple", subgraphs=True)
    kinds = {data["event"] for name, data in events if name == "events"}
    assert kinds >= {"on_chain_start", "on_chat_model_stream", "on_chain_end"}
    assert [data["messages"][-1]["content"] for name, data in events if name == "values"][:2] == ["Go?", "one two"]
    assert [data[0]["content"] for name, data in events if name.startswith("messages|")] == ["one", " ", "two"]


async def test_checkpoints_are_said_in_the_protocol_s_form() -> None:
    for mode in ("checkpoints", "debug"):
        payloads = [data.get("payload", data) for _, data in await played(mode) if data.get("type", "") != "task"]
        payloads = [payload for payload in payloads if "checkpoint" in payload]
        assert payloads[0]["parent_checkpoint"] is None
        for older, newer in zip(payloads, payloads[1:], strict=False):
            assert newer["parent_checkpoint"] == older["checkpoint"]
            assert newer["checkpoint"]["thread_id"] == "t"


async def test_a_pause_before_and_after_a_node_ends_the_stream_there() -> None:
    assert not [data for _, data in await played("updates", interrupt_before=["child"]) if "child" in data]
    updates = [data for _, data in await played("updates", interrupt_after="*")]
    assert [name for data in updates for name in data] == ["child", "__interrupt__"]


async def test_whoever_listens_hears_every_token_in_any_mode() -> None:
    heard: list[str] = []
    events = await played(subgraphs=True, on_message=lambda message, _: heard.append(message.text))
    assert (heard, events) == (["one", " ", "two"], [])
