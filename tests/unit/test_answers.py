"""Resumes in every form that clients send, as decisions bound to tool calls."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.approvals.answers import IGNORED, Asked, Question, check_whole, question_of, read_resume
from core.errors import InvalidInput
from tools.ledger import Decision
from tools.rule import EVERY_DECISION

APPROVE = Decision(kind="approve")


def asked(name: str = "charge", call: str = "call-1", allowed: tuple[str, ...] = EVERY_DECISION) -> Asked:
    return Asked(approval=uuid.uuid4(), tool_call_id=call, name=name, allowed=allowed)


def question(*calls: Asked, interrupt: str = "a" * 32) -> Question:
    return Question(interrupt=interrupt, asked=calls)


def test_a_gates_interrupt_is_a_question_and_another_is_none() -> None:
    one = asked()
    request = {"name": one.name, "args": {}, "tool_call_id": one.tool_call_id, "approval_id": str(one.approval)}
    value = {
        "action_requests": [request],
        "review_configs": [{"action_name": one.name, "allowed_decisions": list(EVERY_DECISION)}],
    }
    found = question_of("x", value)
    assert found is not None
    assert (found.interrupt, found.asked[0].approval) == ("x", one.approval)
    assert list(found.asked[0].allowed) == list(EVERY_DECISION)
    assert question_of("x", "Why?") is None
    assert question_of("x", {"action_requests": [{"name": "charge", "args": {}}]}) is None


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"type": "approve"}, APPROVE),
        ({"type": "edit", "edited_action": {"name": "charge", "args": {"n": 2}}}, Decision(kind="edit", args={"n": 2})),
        ({"type": "edit", "args": {"n": 2}}, Decision(kind="edit", args={"n": 2})),
        ({"type": "edit", "args": {"args": {"n": 2}}}, Decision(kind="edit", args={"args": {"n": 2}})),
        ({"type": "reject", "message": "No."}, Decision(kind="reject", message="No.")),
        ({"type": "reject"}, Decision(kind="reject")),
        ({"type": "respond", "message": "Paid."}, Decision(kind="respond", message="Paid.")),
        ({"type": "accept", "args": None}, APPROVE),
        ({"type": "edit", "args": {"action": "charge", "args": {"n": 2}}}, Decision(kind="edit", args={"n": 2})),
        ({"type": "response", "args": "Paid."}, Decision(kind="respond", message="Paid.")),
        ({"type": "ignore", "args": None}, Decision(kind="reject", message=IGNORED)),
    ],
)
def test_one_call_is_answered_in_every_form(said: dict[str, Any], meant: Decision) -> None:
    one = asked()
    forms: list[Any] = [
        {"decisions": [said]},
        {"decisions": [{**said, "tool_call_id": one.tool_call_id}]},
        {"a" * 32: {"decisions": [said]}},
        [said],
        said,
    ]
    for form in forms:
        assert read_resume(form, [question(one)]) == {one.approval: meant}


def test_a_response_is_a_rejection_with_a_reason_where_nobody_may_answer_for_the_tool() -> None:
    one = asked(allowed=("approve", "reject"))
    meant = Decision(kind="reject", message="Not now.")
    assert read_resume([{"type": "response", "args": "Not now."}], [question(one)]) == {one.approval: meant}


@given(st.permutations(range(4)))
def test_decisions_with_ids_are_bound_in_any_order_and_over_several_interrupts(order: list[int]) -> None:
    calls = [asked(call=f"call-{n}") for n in range(4)]
    questions = [question(*calls[:2]), question(*calls[2:], interrupt="b" * 32)]
    said = [{"type": "respond", "message": str(n), "tool_call_id": f"call-{n}"} for n in order]
    found = read_resume({"decisions": said}, questions)
    assert {one.approval: str(n) for n, one in enumerate(calls)} == {key: one.message for key, one in found.items()}
    check_whole(found, questions, found)


@pytest.mark.parametrize(
    "form",
    [
        {"decisions": [{"type": "approve"}]},
        {"decisions": [{"type": "approve"}] * 3},
        {"decisions": []},
        {"decisions": "approve"},
        {"decisions": [{"type": "approve", "tool_call_id": "call-9"}] * 2},
        {"decisions": [{"type": "approve", "tool_call_id": "call-1"}] * 2},
        {"decisions": [{"type": "approve", "tool_call_id": "call-1"}, {"type": "approve"}]},
        {"decisions": [{"type": "dance"}, {"type": "approve"}]},
        {"decisions": [{"type": "edit"}, {"type": "approve"}]},
        {"decisions": [{"type": "edit", "edited_action": {"name": "wipe", "args": {}}}, {"type": "approve"}]},
        {"decisions": [{"type": "edit", "edited_action": "no"}, {"type": "approve"}]},
        {"decisions": [{"type": "reject", "message": 7}, {"type": "approve"}]},
        [{"type": "accept"}],
        [{"type": "response", "args": {}}, {"type": "accept"}],
        {"c" * 32: {"decisions": [{"type": "approve"}] * 2}},
        "yes",
        {},
        [],
        ["approve", "approve"],
    ],
)
def test_an_answer_that_does_not_fit_two_calls_is_refused(form: Any) -> None:
    with pytest.raises(InvalidInput):
        read_resume(form, [question(asked(), asked(call="call-2"))])


def test_places_say_nothing_when_several_interrupts_are_open() -> None:
    questions = [question(asked()), question(asked(call="call-2"), interrupt="b" * 32)]
    with pytest.raises(InvalidInput, match="tool_call_id"):
        read_resume({"decisions": [{"type": "approve"}] * 2}, questions)


def test_an_id_that_two_calls_have_says_nothing() -> None:
    first, second = asked(), asked()
    questions = [question(first), question(second, interrupt="b" * 32)]
    with pytest.raises(InvalidInput, match="No one call"):
        read_resume({"decisions": [{"type": "approve", "tool_call_id": "call-1"}] * 2}, questions)
    said = [{"type": "approve", "approval_id": str(one.approval)} for one in (second, first)]
    assert read_resume({"decisions": said}, questions) == {first.approval: APPROVE, second.approval: APPROVE}


def test_an_answer_that_leaves_a_call_waiting_names_it() -> None:
    first, second = asked(), asked(call="call-2")
    questions = [question(first), question(second, interrupt="b" * 32)]
    decisions = read_resume({"a" * 32: {"decisions": [{"type": "approve"}]}}, questions)
    assert decisions == {first.approval: APPROVE}
    with pytest.raises(InvalidInput, match="call-2"):
        check_whole(decisions, questions, [first.approval, second.approval])
    check_whole(decisions, questions, [first.approval])
