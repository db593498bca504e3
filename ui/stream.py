"""What a run's event stream says, folded into the view of one answer. Nothing here reads or draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from app.schemas import CitationOut, StepEvent

ANSWERING_NODE = "generate"
_CITATIONS = TypeAdapter(list[CitationOut])

# What a step is called while it goes on, and when it is done.
_LABELS = {
    "contextualise": ("Reading the conversation", "Read the conversation"),
    "route": ("Choosing where to look", "Chose where to look"),
    "retrieve": ("Searching the documents", "Searched the documents"),
    "rerank": ("Ordering the passages", "Ordered the passages"),
    "grade": ("Judging the passages", "Judged the passages"),
    "rewrite": ("Rewording the question", "Reworded the question"),
    "generate": ("Writing the answer", "Wrote the answer"),
    "verify": ("Checking the quotes", "Checked the quotes"),
}

_NOUNS = {"dropped": "sentences without support left out"}
_TELLING_ZEROS = frozenset({"passages", "citations"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A question, or an answer with what its marks stand for; ``stopped`` when it is only what was written by then."""

    role: Literal["human", "ai"]
    text: str
    id: str = ""
    citations: tuple[CitationOut, ...] = ()
    stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a node of the graph does; ``seconds`` is none while it goes on."""

    name: str
    seconds: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The step in words, in the tense that fits."""
        doing, done = _LABELS.get(self.name, (self.name.capitalize(),) * 2)
        return doing if self.seconds is None else done

    @property
    def line(self) -> str:
        """The step with what it found and how long it took."""
        if self.seconds is None:
            return f"{self.label}…"
        return f"{self.label} — {', '.join([*_facts(self.detail), seconds_text(self.seconds)])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView:
    """What can be shown of an answer: ``draft`` is what the model writes, ``messages`` what is certain."""

    run_id: str | None = None
    steps: tuple[Step, ...] = ()
    draft: str = ""
    draft_id: str | None = None
    messages: tuple[Message, ...] = ()
    error: str | None = None
    ended: bool = False

    @property
    def answer(self) -> Message | None:
        """The verified answer, once there is one."""
        return self.messages[-1] if self.messages and self.messages[-1].role == "ai" else None

    @property
    def text(self) -> str:
        """The text to show: the verified answer replaces what was streamed."""
        return self.answer.text if self.answer else self.draft

    @property
    def question(self) -> str | None:
        """The question that is being answered, as the server has it."""
        return split_last_question(self.messages)[1]

    @property
    def headline(self) -> str:
        """One line for all steps: what goes on now, or how long it took."""
        going_on = [step.label for step in self.steps if step.seconds is None]
        if not self.ended:
            return f"{going_on[-1] if going_on else 'Working'}…"
        return steps_headline(self.steps)


def fold(view: AnswerView, event: str, data: Any) -> AnswerView:
    """The view after one more event of the stream; unknown events change nothing."""
    fields = data if isinstance(data, dict) else {}
    match event.partition("|")[0]:
        case "metadata":
            # A run that was taken over by another worker writes its answer anew.
            return replace(view, run_id=fields.get("run_id", view.run_id), draft="", draft_id=None)
        case "custom":
            return replace(view, steps=_with_step(view.steps, fields))
        case "messages":
            return _with_chunk(view, data)
        case "values":
            return replace(view, messages=read_messages(fields))
        case "error":
            return replace(view, error=str(fields.get("message") or "The answer failed."), ended=True)
        case "end":
            return replace(view, ended=True)
    return view


def read_messages(values: Mapping[str, Any]) -> tuple[Message, ...]:
    """The questions and answers in a thread's state; the newest answer also has the state's own citations."""
    found = [message for raw in values.get("messages") or () if (message := _read_message(raw))]
    latest = _read_citations(values.get("citations"))
    if found and found[-1].role == "ai" and not found[-1].citations:
        found[-1] = replace(found[-1], citations=latest)
    return tuple(found)


def split_last_question(messages: Sequence[Message]) -> tuple[tuple[Message, ...], str | None]:
    """What was said before the last question, and that question."""
    for position in range(len(messages) - 1, -1, -1):
        if messages[position].role == "human":
            return tuple(messages[:position]), messages[position].text
    return tuple(messages), None


def steps_headline(steps: Sequence[Step]) -> str:
    """How many steps there were and how long they took together."""
    total = seconds_text(sum(step.seconds or 0.0 for step in steps))
    return f"{len(steps)} {'step' if len(steps) == 1 else 'steps'}, {total}"


def seconds_text(seconds: float) -> str:
    """A duration as people read it: 0.12 s, 4.3 s, 75 s."""
    if seconds < 0.01:
        return "under 0.01 s"
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def title_for(question: str, longest: int = 60) -> str:
    """A conversation's title: its first question in one line, cut at a word."""
    line = " ".join(question.split())
    if len(line) <= longest:
        return line
    head = line[: longest - 1]
    cut = head.rpartition(" ")[0] if " " in head[longest // 2 :] else head
    return f"{cut.rstrip()}…"


def _with_step(steps: tuple[Step, ...], data: Mapping[str, Any]) -> tuple[Step, ...]:
    if data.get("type") != "step":
        return steps
    try:
        event = StepEvent.model_validate(data)
    except ValidationError:
        return steps
    if event.status == "started":
        return (*steps, Step(name=event.step))
    done = Step(name=event.step, seconds=event.seconds or 0.0, detail=event.detail)
    for position in range(len(steps) - 1, -1, -1):
        if steps[position].name == event.step and steps[position].seconds is None:
            return (*steps[:position], done, *steps[position + 1 :])
    return (*steps, done)


def _with_chunk(view: AnswerView, data: Any) -> AnswerView:
    match data:
        case [{"type": str(kind), "content": content}, {"langgraph_node": node}]:
            if node != ANSWERING_NODE or not kind.lower().startswith("ai"):
                return view
            identity: str | None = data[0].get("id")
            # Another message id means that the model began again.
            before = view.draft if identity == view.draft_id else ""
            return replace(view, draft=before + _text_of(content), draft_id=identity)
    return view


def _read_message(raw: Any) -> Message | None:
    match raw:
        case {"type": ("human" | "ai") as role, "content": content}:
            kept: Mapping[str, Any] = raw.get("additional_kwargs") or {}
            return Message(
                role=role,
                text=_text_of(content),
                id=str(raw.get("id") or ""),
                citations=_read_citations(kept.get("citations")),
                stopped=bool(kept.get("stopped")),
            )
    return None


def _read_citations(raw: Any) -> tuple[CitationOut, ...]:
    try:
        return tuple(_CITATIONS.validate_python(raw or []))
    except ValidationError:
        return ()


def _text_of(content: Any) -> str:
    """The text of a message whose content is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(block if isinstance(block, str) else str(block.get("text") or "") for block in content)
    return ""


def _facts(detail: Mapping[str, Any]) -> Iterable[str]:
    """What a step found, in words: {"passages": 3} is "3 passages"; lists and objects are left out."""
    for name, value in detail.items():
        if isinstance(value, bool):
            if value:
                yield name.replace("_", " ")
        elif isinstance(value, int | float):
            if value or name in _TELLING_ZEROS:
                nouns = _NOUNS.get(name, name.replace("_", " "))
                yield f"{value:g} {_singular(nouns) if value == 1 else nouns}"
        elif isinstance(value, str) and value:
            yield f"“{title_for(value)}”"


def _singular(nouns: str) -> str:
    first, _, rest = nouns.partition(" ")
    return " ".join(filter(None, [first.removesuffix("s"), rest]))
