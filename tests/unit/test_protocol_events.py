"""The second protocol's events of what is in a run's log."""

from __future__ import annotations

from typing import Any

from app.runs.protocol import Translator
from app.wire import to_json

META = {"langgraph_node": "model", "thread_id": "t"}


def chunk(content: Any = "", **more: Any) -> dict[str, Any]:
    return {"type": "AIMessageChunk", "id": "m", "content": content, "tool_call_chunks": [], **more}


def said(*events: tuple[str, Any]) -> list[dict[str, Any]]:
    """What a run whose log holds the events becomes, with its end."""
    found: list[dict[str, Any]] = []
    translator = Translator("agent")
    for place, (name, data) in enumerate(events, 1):
        found += translator.events(place, name, to_json(data))
    return [*found, *translator.end(len(events) + 1, "success")]


def messages(*chunks: dict[str, Any]) -> list[dict[str, Any]]:
    events = said(*[("messages", [data, META]) for data in chunks])
    return [event["params"]["data"] for event in events if event["method"] == "messages"]


def test_a_text_is_said_in_deltas_between_start_and_finish() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    events = messages(chunk("one "), chunk("two"), chunk("", chunk_position="last", usage_metadata=usage))
    assert [event["event"] for event in events] == [
        "message-start",
        "content-block-start",
        "content-block-delta",
        "content-block-delta",
        "content-block-finish",
        "message-finish",
    ]
    assert events[0]["metadata"] == META
    assert events[-2]["content"] == {"type": "text", "text": "one two"}
    assert events[-1]["usage"] == usage
    assert {event["message_id"] for event in events} == {"m"}


def test_a_tool_call_s_arguments_are_put_together() -> None:
    first = {"index": 0, "id": "c", "name": "find", "args": '{"a'}
    second = {"index": 0, "id": None, "name": None, "args": '": 1}'}
    events = messages(chunk("Look: "), chunk(tool_call_chunks=[first]), chunk(tool_call_chunks=[second]))
    finished = [event["content"] for event in events if event["event"] == "content-block-finish"]
    assert finished[1] == {"type": "tool_call", "id": "c", "name": "find", "args": {"a": 1}}
    assert [event["index"] for event in events if event["event"] == "content-block-start"] == [0, 1]
    (broken,) = [
        event["content"]
        for event in messages(chunk(tool_call_chunks=[first]))
        if event["event"] == "content-block-finish"
    ]
    assert broken["type"] == "invalid_tool_call"


def test_a_whole_message_is_said_at_once_and_a_person_s_not_at_all() -> None:
    call = {"id": "c", "name": "find", "args": {"a": 1}}
    whole = {"type": "ai", "id": "m", "content": [{"type": "text", "text": "Look."}], "tool_calls": [call]}
    finished = [event["content"] for event in messages(whole) if event["event"] == "content-block-finish"]
    assert finished == [{"type": "text", "text": "Look."}, {"type": "tool_call", **call}]
    assert messages({"type": "human", "id": "h", "content": "Hi."}) == []


def test_an_interrupt_is_asked_for_once_and_ends_the_run_as_interrupted() -> None:
    waiting = {"__interrupt__": [{"id": "i", "value": {"question": "Why?"}}]}
    events = said(("updates", waiting), ("values", {"n": 1, **waiting}))
    asked = [event["params"]["data"] for event in events if event["method"] == "input.requested"]
    assert asked == [{"interrupt_id": "i", "value": {"question": "Why?"}, "payload": {"question": "Why?"}}]
    assert [event["params"]["data"] for event in events if event["method"] == "values"] == [{"n": 1}]
    assert events[-1]["params"]["data"] == {"event": "interrupted", "graph_name": "agent"}


def test_a_run_that_was_stopped_or_rolled_back_has_failed() -> None:
    for status, words in (("interrupted", "The run was stopped."), ("deleted", "The run was rolled back.")):
        (end,) = Translator("agent").end(1, status)
        assert end["params"]["data"] == {"event": "failed", "graph_name": "agent", "error": words}
    assert list(Translator("agent").end(1, "error")) == []


def test_places_grow_and_name_their_namespace() -> None:
    result: Any = {"id": "1", "name": "child", "result": {}, "error": None, "interrupts": []}
    events = said(
        ("metadata", {"run_id": "r", "attempt": 1}),
        ("custom|child:1", {"name": "progress", "n": 1}),
        ("updates|child:1", {"first": {"n": 1}, "second": {"n": 2}}),
        ("tasks", result),
    )
    places = [event["seq"] for event in events]
    assert places == sorted(set(places))
    lifecycle = [event["params"] for event in events if event["method"] == "lifecycle"]
    assert [(params["namespace"], params["data"]["event"]) for params in lifecycle] == [
        ([], "running"),
        (["child:1"], "started"),
        (["child:1"], "completed"),
        ([], "completed"),
    ]
    (custom,) = [event["params"]["data"] for event in events if event["method"] == "custom"]
    assert (custom["name"], custom["payload"]["n"]) == ("progress", 1)
    updates = [event["params"]["data"] for event in events if event["method"] == "updates"]
    assert [data["node"] for data in updates] == ["first", "second"]
