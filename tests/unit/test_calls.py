"""The tool calls of conversations."""

from __future__ import annotations

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from graphs.calls import LEFT_OPEN, is_storable, mended, most_repeated, open_calls


def asks(*calls: str, arg: int = 1) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "look", "args": {"b": arg, "a": 2}, "id": call} for call in calls])


def test_a_conversation_is_mended_where_a_result_is_missing() -> None:
    talk: list[BaseMessage] = [
        HumanMessage("a"),
        asks("1", "2"),
        ToolMessage("found", tool_call_id="2"),
        HumanMessage("b"),
        asks("3"),
    ]
    whole = mended(talk)
    assert [message.type for message in whole] == ["human", "ai", "tool", "tool", "human", "ai", "tool"]
    assert [m.text for m in whole if isinstance(m, ToolMessage)] == [LEFT_OPEN, "found", LEFT_OPEN]
    assert mended(whole) == whole


def test_the_open_calls_are_those_of_the_last_message() -> None:
    message, waiting = open_calls([asks("1"), asks("2", "3"), ToolMessage("found", tool_call_id="2")])
    assert message is not None
    assert [call["id"] for call in waiting] == ["3"]
    assert open_calls([HumanMessage("a")]) == (None, [])


def test_calls_are_equal_by_tool_and_arguments_since_the_last_question() -> None:
    same = AIMessage("", tool_calls=[{"name": "look", "args": {"a": 2, "b": 1}, "id": "9"}])
    talk: list[BaseMessage] = [HumanMessage("a"), asks("1"), asks("2", arg=5), asks("3", "4"), same]
    assert most_repeated(talk) == ("look", 3)
    assert most_repeated([asks("1"), HumanMessage("b"), same]) == ("look", 1)
    assert most_repeated([HumanMessage("b"), AIMessage("done")]) == ("", 0)


def test_what_postgresql_cannot_keep_is_told_apart() -> None:
    assert is_storable({"a": [1, 2.5, None, True, "é \\u0000 🙂"]})
    for wrong in ("a\x00b", "\ud800", float("nan"), float("inf")):
        for value in (wrong, [wrong], {"a": {"b": [wrong]}}):
            assert not is_storable(value)
    assert not is_storable({"a\x00": 1})
