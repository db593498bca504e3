"""Binds the answer that a run is started with to the tool calls that wait, so that each gets its own decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from app.agents import Agents
from app.approvals.answers import Question, check_whole, question_of, read_resume
from app.runs.admission import Order
from core.database import Pool
from core.domain import Principal
from tools.ledger import Connection, Entry, Ledger


class Binder:
    """Reads what threads ask, and what is answered."""

    def __init__(self, pool: Pool, agents: Agents) -> None:
        self._ledger = Ledger(pool)
        self._agents = agents

    async def bind(self, principal: Principal, order: Order) -> Order:
        """A run that resumes a thread, with its answer bound to the calls that wait.

        They are decided in the transaction in which the run is admitted: both happen or neither. What is no answer to
        a gate stays as it is.

        Raises:
            InvalidInput: the answer does not fit what was asked, which stays open.
        """
        questions, others = await self.asked(order.metadata["graph_id"], order.thread, order.kwargs.get("checkpoint"))
        entries = await self.entries(order.thread, questions)
        if not entries or any(entry.owner != principal.id for entry in entries.values()):
            return order
        resume, foreign = order.kwargs["command"]["resume"], {}
        if isinstance(resume, Mapping):
            foreign = {name: value for name, value in resume.items() if name in others}
            resume = {name: value for name, value in resume.items() if name not in others}
        if foreign and not resume:
            return order
        decisions = read_resume(resume, questions)
        answered = [one for one in questions if any(asked.approval in decisions for asked in one.asked)]
        check_whole(decisions, answered, [entry.id for entry in entries.values() if entry.status == "pending"])

        async def decide(connection: Connection) -> None:
            await self._ledger.decide(connection, principal, decisions)

        return replace(order, kwargs=resuming(order.kwargs, answered, foreign), within=decide, bound=True)

    async def asked(
        self, graph_id: str, thread: UUID, at: Mapping[str, Any] | None = None
    ) -> tuple[list[Question], set[str]]:
        """The open interrupts of gates, and the ids of all others."""
        place = {name: value for name, value in (at or {}).items() if value is not None}
        config: Any = {"configurable": {**place, "thread_id": str(thread)}}
        state = await self._agents.get(graph_id).graph.aget_state(config)
        found = {item.id: question_of(item.id, item.value) for item in state.interrupts}
        return [one for one in found.values() if one], {name for name, one in found.items() if one is None}

    async def entries(self, thread: UUID, questions: Sequence[Question]) -> dict[UUID, Entry]:
        """The rows of what is asked; none for a copy of a thread, which asks anew when it is woken up."""
        asked = [one.approval for question in questions for one in question.asked]
        found = {entry.id: entry for entry in await self._ledger.read(asked) if entry.thread_id == thread}
        return found if len(found) == len(set(asked)) else {}


def resuming(kwargs: Mapping[str, Any], questions: Sequence[Question], foreign: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is started with that wakes these interrupts up: the gate reads the decisions in the ledger."""
    ours = {one.interrupt: {"decided": [str(asked.approval) for asked in one.asked]} for one in questions}
    command = {"update": None, "goto": [], **(kwargs.get("command") or {}), "resume": {**ours, **foreign}}
    return {**kwargs, "command": command}
