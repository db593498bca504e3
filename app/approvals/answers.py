"""What a resume says about the tool calls that wait, in every form that clients send; pure.

| form | from |
|---|---|
| `{"decisions": [{"type": "approve"}, …]}` | LangChain's human in the loop: one for each call, in their order |
| the same with `tool_call_id` or `approval_id` in each | bound to the calls, in any order |
| `{INTERRUPT_ID: {"decisions": […]}, …}` | for several interrupts at once |
| `{"type": "approve"}` | for the only call that waits |
| `[{"type": "accept", "args": …}]` | the agent inbox: accept, edit, response, ignore |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.errors import InvalidInput
from tools.ledger import Decision
from tools.rule import EVERY_DECISION

IGNORED = "The user does not want to answer this."
INBOX = ("accept", "response", "ignore")
FORMS = (
    'Answer with {"decisions": [{"type": "approve"}]}: one decision for each call, in their order, or each with the '
    "tool_call_id of its call."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call that an interrupt asks about, and the decisions that its rule allows."""

    approval: UUID
    tool_call_id: str
    name: str
    allowed: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An open interrupt of a gate."""

    interrupt: str
    asked: Sequence[Asked]


def question_of(interrupt: str, value: Any) -> Question | None:
    """The question that an interrupt's value asks; ``None`` when it is not one of a gate's."""
    requests = value.get("action_requests") if isinstance(value, Mapping) else None
    if not requests or not all(isinstance(one, Mapping) and "approval_id" in one for one in requests):
        return None
    allowed = {one["action_name"]: one["allowed_decisions"] for one in value.get("review_configs", ())}
    asked = [
        Asked(
            approval=UUID(one["approval_id"]),
            tool_call_id=one["tool_call_id"],
            name=one["name"],
            allowed=allowed.get(one["name"], ()),
        )
        for one in requests
    ]
    return Question(interrupt=interrupt, asked=asked)


def read_resume(resume: Any, questions: Sequence[Question]) -> dict[UUID, Decision]:
    """The decisions of a resume, by the approvals that they are about.

    Raises:
        InvalidInput: it is in none of the forms, or it is not clear which call a decision is about.
    """
    by_interrupt = {question.interrupt: question for question in questions}
    if isinstance(resume, Mapping) and resume and resume.keys() <= by_interrupt.keys():
        found: dict[UUID, Decision] = {}
        for interrupt, answer in resume.items():
            found |= _bind(_listed(answer), [by_interrupt[interrupt]])
        return found
    return _bind(_listed(resume), questions)


def check_whole(decisions: Mapping[UUID, Decision], questions: Iterable[Question], pending: Iterable[UUID]) -> None:
    """Refuse an answer that leaves calls of these questions undecided: the run could not go on.

    Raises:
        InvalidInput: a call that is ``pending`` has no decision.
    """
    waiting = set(pending)
    asked = [one for question in questions for one in question.asked if one.approval in waiting]
    if left := [one for one in asked if one.approval not in decisions]:
        names = ", ".join(f"{one.name!r} ({one.tool_call_id})" for one in left)
        raise InvalidInput(
            f"{len(asked)} calls wait for a decision and {len(asked) - len(left)} got one. Left: {names}. {FORMS} "
            "POST /approvals/ID decides one at a time."
        )


def _listed(answer: Any) -> list[Mapping[str, Any]]:
    """The decisions of an answer to one or more questions, as a list."""
    if isinstance(answer, Mapping) and "decisions" in answer:
        answer = answer["decisions"]
    elif isinstance(answer, Mapping) and "type" in answer:
        answer = [answer]
    if not isinstance(answer, list) or not answer or not all(isinstance(one, Mapping) for one in answer):
        raise InvalidInput(f"The resume holds no decisions. {FORMS}")
    return answer


def _bind(given: Sequence[Mapping[str, Any]], questions: Sequence[Question]) -> dict[UUID, Decision]:
    """Each decision with the call that it is about: by an id in it, or by its place when there is one question."""
    asked = [one for question in questions for one in question.asked]
    bound = [_id_of(one) for one in given]
    if not any(bound):
        if len(questions) > 1:
            raise InvalidInput(
                f"{len(questions)} interrupts are open, so a decision's place does not say which call it is about. "
                "Put the approval_id of its call, or its tool_call_id, into each decision."
            )
        if len(given) != len(asked):
            raise InvalidInput(f"{len(asked)} calls wait for a decision, and {len(given)} were given. {FORMS}")
        return {one.approval: read_decision(said, one) for one, said in zip(asked, given, strict=True)}
    names = _names(asked)
    found: dict[UUID, Decision] = {}
    for said, id_of_call in zip(given, bound, strict=True):
        if id_of_call is None or id_of_call not in names:
            raise InvalidInput(f"No one call is {id_of_call!r}. There are {', '.join(names)}.")
        one = names[id_of_call]
        if one.approval in found:
            raise InvalidInput(f"The call {one.tool_call_id!r} got two decisions.")
        found[one.approval] = read_decision(said, one)
    return found


def _names(asked: Sequence[Asked]) -> dict[str, Asked]:
    """What each call may be called; the id of the model's call only where no other has the same."""
    often = Counter(one.tool_call_id for one in asked)
    return {str(one.approval): one for one in asked} | {
        one.tool_call_id: one for one in asked if often[one.tool_call_id] == 1
    }


def _id_of(said: Mapping[str, Any]) -> str | None:
    found = said.get("approval_id") or said.get("tool_call_id")
    return None if found is None else str(found)


def read_decision(said: Mapping[str, Any], asked: Asked) -> Decision:
    """One decision, in LangChain's words or in the agent inbox's.

    Raises:
        InvalidInput: it is neither.
    """
    kind, message = said.get("type"), said.get("message")
    if kind in INBOX:
        return _inbox_decision(kind, said.get("args"), asked)
    if kind not in EVERY_DECISION:
        raise InvalidInput(f"There is no decision {kind!r}; there are {', '.join(EVERY_DECISION)}.")
    if message is not None and not isinstance(message, str):
        raise InvalidInput("The message of a decision must be a text.")
    return Decision(kind=kind, args=_edited(said, asked) if kind == "edit" else None, message=message)


def _inbox_decision(kind: str, args: Any, asked: Asked) -> Decision:
    if kind == "accept":
        return Decision(kind="approve")
    if kind == "ignore":
        return Decision(kind="reject", message=IGNORED)
    if not isinstance(args, str) or not args:
        raise InvalidInput("A response must be a text.")
    return Decision(kind="respond" if "respond" in asked.allowed else "reject", message=args)


def _edited(said: Mapping[str, Any], asked: Asked) -> Mapping[str, Any]:
    """The arguments of an edit: LangChain's ``edited_action``, the inbox's ``args``, or ``args`` as they are."""
    action = said.get("edited_action")
    args = said.get("args") if action is None else action.get("args") if isinstance(action, Mapping) else None
    name = action.get("name") if isinstance(action, Mapping) else None
    if action is None and isinstance(args, Mapping) and args.keys() == {"action", "args"}:
        name, args = args["action"], args["args"]
    if not isinstance(args, Mapping):
        raise InvalidInput(
            'An edit must say what the tool is to run with: {"edited_action": {"name": …, "args": {…}}}.'
        )
    if name not in (None, asked.name):
        raise InvalidInput(f"An edit cannot make a call of {asked.name!r} one of {name!r}. Reject it instead.")
    return args
