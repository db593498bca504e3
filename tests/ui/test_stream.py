from __future__ import annotations

from functools import reduce
from typing import Any
from uuid import uuid4

import pytest

from ui.stream import (
    AnswerView,
    Message,
    Step,
    fold,
    read_messages,
    seconds_text,
    split_last_question,
    steps_headline,
    title_for,
)

CITATION: dict[str, Any] = {
    "n": 1,
    "document_id": str(uuid4()),
    "document_name": "report.pdf",
    "chunk_id": str(uuid4()),
    "page": 2,
    "section": ["Results"],
    "quote": "The bridge opened in 1894.",
    "start": 10,
    "end": 36,
}
QUESTION = {"type": "human", "content": "When did it open?", "id": "q1"}


def chunk(text: str, *, node: str = "generate", identity: str = "a1", kind: str = "AIMessageChunk") -> Any:
    return [{"type": kind, "id": identity, "content": text}, {"langgraph_node": node}]


def step(name: str, status: str, seconds: float | None = None, **detail: Any) -> dict[str, Any]:
    return {"type": "step", "step": name, "status": status, "seconds": seconds, "detail": detail}


def folded(*events: tuple[str, Any]) -> AnswerView:
    return reduce(lambda view, event: fold(view, *event), events, AnswerView())


def test_tokens_of_the_answering_node_are_joined() -> None:
    view = folded(("messages", chunk("It ")), ("messages", chunk("opened")))
    assert view.text == "It opened"


@pytest.mark.parametrize(
    "data",
    [
        chunk("a rewritten question", node="contextualise"),
        chunk("what the person said", kind="human"),
        [{"type": "AIMessageChunk"}, {}],
        {"content": "not a pair"},
        None,
    ],
)
def test_other_messages_are_not_shown(data: Any) -> None:
    assert folded(("messages", chunk("It ")), ("messages", data)).text == "It "


def test_content_blocks_are_read_as_text() -> None:
    blocks = [{"type": "text", "text": "It "}, "opened", {"type": "image"}]
    view = folded(
        ("messages", [{"type": "AIMessageChunk", "id": "a1", "content": blocks}, {"langgraph_node": "generate"}])
    )
    assert view.text == "It opened"


def test_a_new_message_id_begins_the_draft_anew() -> None:
    view = folded(("messages", chunk("Wrong")), ("messages", chunk("Right", identity="a2")))
    assert view.text == "Right"


def test_a_run_that_is_taken_over_begins_its_draft_anew() -> None:
    view = folded(
        ("metadata", {"run_id": "r1", "attempt": 1}),
        ("messages", chunk("It opened in")),
        ("metadata", {"run_id": "r1", "attempt": 2}),
        ("messages", chunk("It opened")),
    )
    assert (view.run_id, view.text) == ("r1", "It opened")


def test_the_verified_answer_replaces_the_draft() -> None:
    answer = {"type": "ai", "content": "It opened in 1894 [1].", "id": "a1"}
    view = folded(
        ("messages", chunk("It opened in 1895 [3].")),
        ("values", {"messages": [QUESTION, answer], "citations": [CITATION]}),
    )
    assert view.text == "It opened in 1894 [1]."
    assert view.answer is not None
    assert [citation.quote for citation in view.answer.citations] == ["The bridge opened in 1894."]


def test_the_earlier_answer_is_not_taken_for_the_new_one() -> None:
    earlier = [{"type": "human", "content": "Hello"}, {"type": "ai", "content": "Hi"}, QUESTION]
    view = folded(("values", {"messages": earlier}))
    assert view.answer is None
    assert view.question == "When did it open?"


def test_a_step_is_shown_while_it_goes_on_and_when_it_is_done() -> None:
    started = fold(AnswerView(), "custom", step("retrieve", "started"))
    assert [one.line for one in started.steps] == ["Searching the documents…"]
    assert started.headline == "Searching the documents…"
    done = fold(started, "custom", step("retrieve", "finished", 0.1234, passages=3, documents=["a.pdf"]))
    assert [one.line for one in done.steps] == ["Searched the documents — 3 passages, 0.12 s"]


def test_a_step_that_is_repeated_is_listed_twice() -> None:
    view = folded(
        ("custom", step("retrieve", "started")),
        ("custom", step("retrieve", "finished", 0.1, passages=0)),
        ("custom", step("retrieve", "started")),
        ("custom", step("retrieve", "finished", 0.2, passages=1)),
    )
    assert [one.line for one in view.steps] == [
        "Searched the documents — 0 passages, 0.10 s",
        "Searched the documents — 1 passage, 0.20 s",
    ]


@pytest.mark.parametrize(
    ("detail", "line"),
    [
        ({"citations": 1, "dropped": 0}, "Checked the quotes — 1 citation, 0.01 s"),
        (
            {"citations": 0, "dropped": 1},
            "Checked the quotes — 0 citations, 1 sentence without support left out, 0.01 s",
        ),
        ({"tokens": 22, "retried": True, "cached": False}, "Checked the quotes — 22 tokens, retried, 0.01 s"),
        ({"question": "When did it open?"}, "Checked the quotes — “When did it open?”, 0.01 s"),
    ],
)
def test_a_step_tells_what_it_found_and_not_what_it_did_not(detail: dict[str, Any], line: str) -> None:
    assert Step(name="verify", seconds=0.01, detail=detail).line == line


def test_a_step_whose_start_was_missed_is_listed() -> None:
    view = folded(("custom", step("verify", "finished", 0.01)))
    assert [one.line for one in view.steps] == ["Checked the quotes — 0.01 s"]


@pytest.mark.parametrize("data", [{"type": "answer", "text": "It"}, {"type": "step"}, "text", None])
def test_custom_events_that_are_no_steps_change_nothing(data: Any) -> None:
    assert folded(("custom", data)) == AnswerView()


def test_a_step_of_another_graph_is_called_by_its_name() -> None:
    assert Step(name="summarise").label == "Summarise"


def test_an_error_ends_the_answer_and_keeps_its_sentence() -> None:
    view = folded(("messages", chunk("It")), ("error", {"error": "Unavailable", "message": "The model is gone."}))
    assert (view.error, view.ended, view.text) == ("The model is gone.", True, "It")


def test_events_of_a_subgraph_are_folded_like_the_others() -> None:
    assert folded(("messages|agent:1", chunk("It"))).text == "It"


def test_unknown_events_change_nothing() -> None:
    assert folded(("updates", {"generate": {}}), ("checkpoints", {})) == AnswerView()


def test_the_headline_of_an_ended_answer_sums_its_steps() -> None:
    view = folded(
        ("custom", step("retrieve", "finished", 0.4)), ("custom", step("generate", "finished", 2.0)), ("end", None)
    )
    assert view.headline == "2 steps, 2.4 s"
    assert steps_headline(view.steps[:1]) == "1 step, 0.40 s"


def test_messages_have_their_own_citations_and_the_newest_those_of_the_state() -> None:
    first = {"type": "ai", "content": "One [1].", "additional_kwargs": {"citations": [CITATION]}}
    state = {
        "messages": [QUESTION, first, QUESTION, {"type": "ai", "content": "Two [1]."}, {"type": "tool", "content": ""}],
        "citations": [{**CITATION, "document_name": "other.pdf"}],
    }
    names = [[citation.document_name for citation in message.citations] for message in read_messages(state)]
    assert names == [[], ["report.pdf"], [], ["other.pdf"]]


def test_citations_in_an_unknown_form_are_left_out() -> None:
    answer = {"type": "ai", "content": "One.", "additional_kwargs": {"citations": [{"n": "first"}]}}
    assert read_messages({"messages": [answer]}) == (Message(role="ai", text="One."),)


def test_what_was_written_by_a_stop_is_marked() -> None:
    stopped = {"type": "ai", "content": "It op", "additional_kwargs": {"citations": [], "stopped": True}}
    assert [message.stopped for message in read_messages({"messages": [QUESTION, stopped]})] == [False, True]


def test_an_empty_state_has_no_messages() -> None:
    assert read_messages({}) == ()


def test_a_conversation_is_split_before_its_last_question() -> None:
    messages = [Message(role="human", text="One"), Message(role="ai", text="1"), Message(role="human", text="Two")]
    assert split_last_question(messages) == (tuple(messages[:2]), "Two")
    assert split_last_question(messages[1:2]) == ((messages[1],), None)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.004, "under 0.01 s"), (0.12, "0.12 s"), (4.26, "4.3 s"), (75.4, "75 s")]
)
def test_durations_are_as_exact_as_people_read_them(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("When did  it\nopen?", "When did it open?"),
        ("a" * 80, "a" * 59 + "…"),
        ("word " * 20, ("word " * 11).strip() + "…"),
    ],
)
def test_a_title_is_one_line_of_at_most_60_characters(question: str, title: str) -> None:
    assert title_for(question) == title
    assert len(title_for(question)) <= 60
