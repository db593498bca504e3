"""The tool calls of a conversation: those without a result, and those that are made again and again; pure."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage

LEFT_OPEN = "Not carried out: the conversation went on without it."


def fingerprint(name: str, args: Mapping[str, Any]) -> str:
    """Equal for calls of one tool with equal arguments, in whatever order they stand."""
    return f"{name} {json.dumps(args, sort_keys=True, default=str)}"


def open_calls(messages: Sequence[BaseMessage]) -> tuple[AIMessage | None, list[ToolCall]]:
    """The last message of the model, and those of its tool calls that have no result yet."""
    answered = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
        if isinstance(message, AIMessage):
            return message, [call for call in message.tool_calls if call["id"] not in answered]
    return None, []


def is_storable(value: Any) -> bool:
    """Whether PostgreSQL can keep the value as JSON: no U+0000, no half of a surrogate pair, no infinite number."""
    match value:
        case str():
            return "\x00" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
        case float():
            return math.isfinite(value)
        case Mapping():
            return all(is_storable(part) for pair in value.items() for part in pair)
        case list() | tuple():
            return all(is_storable(part) for part in value)
        case _:
            return True


def mended(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The conversation with a result for each tool call that has none, right after it: models refuse any other."""
    answered = _answered(messages)
    whole: list[BaseMessage] = []
    for message in messages:
        whole += [message, *_missing(message, answered, LEFT_OPEN)]
    return whole


def missing_results(messages: Sequence[BaseMessage], said: str) -> list[ToolMessage]:
    """A result that says ``said`` for each tool call that has none."""
    answered = _answered(messages)
    return [result for message in messages for result in _missing(message, answered, said)]


def _answered(messages: Sequence[BaseMessage]) -> set[str]:
    return {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}


def _missing(message: BaseMessage, answered: Set[str], said: str) -> list[ToolMessage]:
    if not isinstance(message, AIMessage):
        return []
    return [
        ToolMessage(said, name=call["name"], tool_call_id=call["id"] or "", status="error")
        for call in message.tool_calls
        if call["id"] not in answered
    ]


def since_question(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """The messages after the last one of a person."""
    last = max((place for place, message in enumerate(messages) if isinstance(message, HumanMessage)), default=-1)
    return messages[last + 1 :]


def most_repeated(messages: Sequence[BaseMessage]) -> tuple[str, int]:
    """Of the model's open calls the one that it has made most often since the last question: the tool, and how often.

    A message counts once, whatever it holds twice. Without open calls: ``("", 0)``.
    """
    _, waiting = open_calls(messages)
    made = Counter[str]()
    for message in since_question(messages):
        if isinstance(message, AIMessage):
            made.update({fingerprint(call["name"], call["args"]) for call in message.tool_calls})
    counts = [(call["name"], made[fingerprint(call["name"], call["args"])]) for call in waiting]
    return max(counts, key=lambda found: found[1], default=("", 0))
