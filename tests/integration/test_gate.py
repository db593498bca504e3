"""The gate before tools with effects: nothing happens undecided, nothing twice, in every kind of graph."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import ToolMessage
from langgraph.types import Command

from app.services import create_saver
from core.database import Pool
from core.domain import Principal
from tests.gated import (
    GRAPHS,
    QUESTION,
    Script,
    asks_for,
    config_of,
    decide,
    effects,
    make_thread,
    process,
    requests_of,
)
from tools.ledger import Decision
from tools.rule import DecisionKind

DECISIONS: dict[DecisionKind, Decision] = {
    "approve": Decision(kind="approve"),
    "edit": Decision(kind="edit", args={"customer": "", "amount": 5}),
    "reject": Decision(kind="reject", message="Not this month."),
    "respond": Decision(kind="respond", message="It is paid already."),
}


async def interrupted(pool: Pool, name: str, script: Script, thread: UUID) -> list[dict[str, Any]]:
    """Run the graph until it asks; what it asks."""
    graph = GRAPHS[name](pool, create_saver(pool), script)
    await graph.ainvoke(QUESTION, config_of(thread))
    return requests_of(await graph.aget_state(config_of(thread)))


async def resumed(pool: Pool, name: str, script: Script, thread: UUID) -> Any:
    """Build the graph anew and go on."""
    graph = GRAPHS[name](pool, create_saver(pool), script)
    return await graph.ainvoke(Command(resume={"decisions": []}), config_of(thread))


@pytest.mark.parametrize("restart", [False, True], ids=["same process", "new process"])
@pytest.mark.parametrize(("name", "calls"), [*((name, 1) for name in GRAPHS), ("agent", 2)])
@pytest.mark.parametrize("kind", DECISIONS)
async def test_an_effect_follows_its_decision_and_nothing_else(
    prepared: Pool, postgres: str, person: Principal, kind: DecisionKind, name: str, calls: int, restart: bool
) -> None:
    customer, thread = f"ann-{uuid.uuid4()}", await make_thread(prepared, person)
    script = asks_for(*(("charge", {"customer": customer, "amount": n + 1}) for n in range(calls)))
    if restart:
        async with process(postgres) as before:
            requests = await interrupted(before, name, script, thread)
    else:
        requests = await interrupted(prepared, name, script, thread)
    assert [request["args"]["amount"] for request in requests] == list(range(1, calls + 1))
    assert await effects(prepared, customer) == []
    # The first call gets the decision under test; of two the other one is approved, so that each gets its own.
    given = DECISIONS[kind]
    if given.args is not None:
        given = Decision(kind="edit", args={"customer": customer, "amount": 5})
    ids = [UUID(request["approval_id"]) for request in requests]
    await decide(prepared, person, {ids[0]: given, **{other: Decision(kind="approve") for other in ids[1:]}})
    if restart:
        async with process(postgres) as after:
            state = await resumed(after, name, script, thread)
    else:
        state = await resumed(prepared, name, script, thread)
    first = {"approve": [f"{customer} 1"], "edit": [f"{customer} 5"], "reject": [], "respond": []}[kind]
    assert sorted(await effects(prepared, customer)) == sorted([*first, *[f"{customer} 2"] * (calls - 1)])
    told = {
        "approve": f"charged {customer} 1",
        "edit": f"charged {customer} 5",
        "reject": "Not this month.",
        "respond": "It is paid already.",
    }[kind]
    assert told in state["messages"][-1].text
    answered = [message.tool_call_id for message in state["messages"] if isinstance(message, ToolMessage)]
    assert sorted(answered) == [f"call-{n}" for n in range(calls if name != "subagent" else 1)]
    assert "__interrupt__" not in state
