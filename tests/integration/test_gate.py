"""The gate before tools with effects: nothing happens undecided, nothing twice, in every kind of graph."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import ToolMessage
from langgraph.types import Command

from app.services import create_saver, prepare_database
from core.database import Pool, open_pool
from core.domain import Principal
from core.settings import DatabaseSettings
from tests.conftest import make_principal
from tests.gated import GRAPHS, Script, asks_for, effects, make_thread
from tools.ledger import Decision, Ledger
from tools.rule import DecisionKind

QUESTION: Any = {"messages": [{"role": "user", "content": "Charge Ann."}]}
DECISIONS: dict[DecisionKind, Decision] = {
    "approve": Decision(kind="approve"),
    "edit": Decision(kind="edit", args={"customer": "", "amount": 5}),
    "reject": Decision(kind="reject", message="Not this month."),
    "respond": Decision(kind="respond", message="It is paid already."),
}


@asynccontextmanager
async def process(url: str) -> AsyncIterator[Pool]:
    """What a process has of its own: its connections, and what is built on them."""
    async with open_pool(DatabaseSettings.model_validate({"url": url, "pool_min": 1, "pool_max": 4})) as pool:
        yield pool


@pytest.fixture(scope="module")
async def pool(postgres: str) -> AsyncIterator[Pool]:
    async with process(postgres) as pool:
        await prepare_database(pool)
        yield pool


@pytest.fixture
async def person(pool: Pool) -> Principal:
    principal, _ = await make_principal(pool)
    return principal


def config_of(thread: UUID) -> Any:
    return {"configurable": {"thread_id": str(thread)}}


def requests_of(state: Any) -> list[dict[str, Any]]:
    return [request for found in state.interrupts for request in found.value["action_requests"]]


async def decide(pool: Pool, person: Principal, decisions: dict[UUID, Decision]) -> None:
    async with pool.connection() as connection, connection.transaction():
        await Ledger(pool).decide(connection, person, decisions)


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
@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("kind", DECISIONS)
async def test_an_effect_follows_its_decision_and_nothing_else(
    pool: Pool, postgres: str, person: Principal, kind: DecisionKind, name: str, calls: int, restart: bool
) -> None:
    customer, thread = f"ann-{uuid.uuid4()}", await make_thread(pool, person)
    script = asks_for(*(("charge", {"customer": customer, "amount": n + 1}) for n in range(calls)))
    if restart:
        async with process(postgres) as before:
            requests = await interrupted(before, name, script, thread)
    else:
        requests = await interrupted(pool, name, script, thread)
    assert [request["args"]["amount"] for request in requests] == list(range(1, calls + 1))
    assert await effects(pool, customer) == []
    # The first call gets the decision under test; of two the other one is approved, so that each gets its own.
    given = DECISIONS[kind]
    if given.args is not None:
        given = Decision(kind="edit", args={"customer": customer, "amount": 5})
    ids = [UUID(request["approval_id"]) for request in requests]
    await decide(pool, person, {ids[0]: given, **{other: Decision(kind="approve") for other in ids[1:]}})
    if restart:
        async with process(postgres) as after:
            state = await resumed(after, name, script, thread)
    else:
        state = await resumed(pool, name, script, thread)
    first = {"approve": [f"{customer} 1"], "edit": [f"{customer} 5"], "reject": [], "respond": []}[kind]
    assert sorted(await effects(pool, customer)) == sorted([*first, *[f"{customer} 2"] * (calls - 1)])
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
