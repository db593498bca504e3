"""What waits to be written to a run's log."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk

from app.runs.entry import Entries
from app.wire import to_json

META: dict[str, Any] = {"langgraph_node": "answer"}


def taken(entries: Entries) -> list[tuple[str, Any]]:
    return [(entry.event, json.loads(entry.json())) for entry in entries.take()]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text(max_size=5)), min_size=1))
def test_tokens_of_one_message_join_and_no_text_is_lost_or_moved(tokens: list[tuple[str, str]]) -> None:
    entries = Entries()
    for message_id, text in tokens:
        entries.put("messages", (AIMessageChunk(content=text, id=message_id), META))
    chunks = [data[0] for _, data in taken(entries)]
    assert "".join(chunk["content"] for chunk in chunks) == "".join(text for _, text in tokens)
    ids = [chunk["id"] for chunk in chunks]
    assert all(before != after for before, after in zip(ids, ids[1:], strict=False))


def test_a_token_alone_is_what_json_makes_of_it() -> None:
    token = (AIMessageChunk(content="x", id="a", response_metadata={"model_provider": "openai"}), META)
    entries = Entries()
    entries.put("messages", token)
    assert taken(entries) == [("messages", json.loads(to_json(token)))]


def test_only_plain_pieces_of_the_same_answer_join() -> None:
    different = [
        AIMessageChunk(content="x", id="a"),
        AIMessageChunk(content="x", id="a", tool_call_chunks=[{"name": "f", "args": "", "id": "1", "index": 0}]),
        AIMessageChunk(content="x", id="a", usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}),
        AIMessageChunk(content="x", id="a", chunk_position="last"),
        AIMessageChunk(content="x", id="a", response_metadata={"finish_reason": "stop"}),
        AIMessageChunk(content=[{"type": "text", "text": "x"}], id="a"),
        AIMessage("x", id="a"),
    ]
    for second in different[1:]:
        entries = Entries()
        for message in (different[0], second):
            entries.put("messages", (message, META))
        assert len(taken(entries)) == 2
    entries = Entries()
    entries.put("messages", (different[0], META))
    entries.put("messages", (different[0], {**META, "langgraph_step": 2}))
    assert len(taken(entries)) == 2


def test_the_first_token_of_an_answer_is_written_at_once_and_the_next_may_wait() -> None:
    entries = Entries()
    assert entries.put("messages", (AIMessageChunk(content="x", id="a"), META))
    assert not entries.put("messages", (AIMessageChunk(content="x", id="a"), META))
    entries.take()
    assert not entries.put("messages", (AIMessageChunk(content="x", id="a"), META))
    assert entries.put("messages", (AIMessageChunk(content="x", id="b"), META))
    assert entries.put("values", {})


def test_of_a_growing_message_only_the_longest_is_written() -> None:
    entries = Entries()
    for text in ("one", "one two", "one two three"):
        entries.put("messages/partial", [AIMessage(text, id="a")])
    entries.put("messages/partial", [AIMessage("other", id="b")])
    assert [data[0]["content"] for _, data in taken(entries)] == ["one two three", "other"]
    assert entries.size == 0
