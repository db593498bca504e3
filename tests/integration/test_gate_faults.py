"""The gate when things go wrong: crashes, cuts, detours, forged resumes, and models that go in circles."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, hook_config
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command, interrupt

from app.services import create_saver
from core.database import Pool
from core.domain import Principal
from core.errors import Forbidden, InvalidInput, PlatformError, Unavailable
from graphs.gate import Gate
from graphs.middleware import GateMiddleware, gated_subagents
from graphs.seal import sealed
from tests.gated import (
    GRAPHS,
    QUESTION,
    RULES,
    ScriptedModel,
    State,
    agent_graph,
    asks_for,
    charge_tool,
    config_of,
    decide,
    effects,
    insists_on,
    make_thread,
    requests_of,
    results,
    root_graph,
)
from tools.ledger import CallStatus, Decision, Ledger
from tools.rule import Rule

APPROVE = Decision(kind="approve")
WAKE: Command[Any] = Command(resume={"decisions": [{"type": "approve"}]})
FREE_TO_RUN = Rule(approval=())


async def statuses(pool: Pool, thread: UUID) -> list[CallStatus]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT status FROM tool_calls WHERE thread_id = %s ORDER BY created_at", (thread,)
        )
        return [row["status"] for row in await cursor.fetchall()]


def tool_graph(
    pool: Pool, tool: BaseTool, rule: Rule, *, args: Mapping[str, Any] | None = None, reviewed: bool = True
) -> Any:
    """A model that calls the tool once, the tool behind the gate; without the review node when not ``reviewed``."""
    gate = Gate(Ledger(pool), {tool.name: rule})
    chat = ScriptedModel(script=asks_for((tool.name, args or {})))

    async def model(state: State) -> dict[str, Any]:
        return {"messages": [await chat.ainvoke(state["messages"])]}

    builder = StateGraph(State)
    builder.add_node("model", model)
    builder.add_node("tools", gate.tool_node([tool]))
    builder.add_edge(START, "model")
    if reviewed:
        builder.add_node("review", gate.review)
        builder.add_edge("model", "review")
    builder.add_conditional_edges("review" if reviewed else "model", gate.after_review, ["tools", "__end__"])
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=create_saver(pool))


def tool_of(act: Any) -> BaseTool:
    return StructuredTool.from_function(coroutine=act, name="act", description="Acts.")


@pytest.mark.parametrize("name", GRAPHS)
async def test_a_forged_resume_decides_nothing(prepared: Pool, person: Principal, name: str) -> None:
    customer, thread = f"eve-{uuid.uuid4()}", await make_thread(prepared, person)
    graph = GRAPHS[name](prepared, create_saver(prepared), asks_for(("charge", {"customer": customer, "amount": 1})))
    await graph.ainvoke(QUESTION, config_of(thread))
    for _ in range(2):
        await graph.ainvoke(WAKE, config_of(thread))
        state = await graph.aget_state(config_of(thread))
        assert [request["name"] for request in requests_of(state)] == ["charge"]
    assert await effects(prepared, customer) == []
    await decide(prepared, person, {UUID(requests_of(state)[0]["approval_id"]): APPROVE})
    await graph.ainvoke(WAKE, config_of(thread))
    assert await effects(prepared, customer) == [f"{customer} 1"]


async def test_a_detour_around_the_review_ends_at_the_gate(prepared: Pool, person: Principal) -> None:
    """A middleware that jumps to the tools, and a graph without a review node (C9)."""

    class Detour(AgentMiddleware[Any, Any, Any]):
        @hook_config(can_jump_to=["tools"])
        async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
            if results(state["messages"]):
                return None
            made = asks_for(*(("charge", {"customer": customer, "amount": n}) for n in (1, 2)))(state["messages"])
            return {"messages": [made], "jump_to": "tools"}

    customer, thread = f"eve-{uuid.uuid4()}", await make_thread(prepared, person)
    graph = create_agent(
        ScriptedModel(script=asks_for(("charge", {"customer": customer, "amount": 3}))),
        [charge_tool(prepared)],
        middleware=[GateMiddleware(Gate(Ledger(prepared), RULES)), Detour()],
        checkpointer=create_saver(prepared),
    )
    await graph.ainvoke(QUESTION, config_of(thread))
    requests = requests_of(await graph.aget_state(config_of(thread)))
    assert ([request["args"]["amount"] for request in requests], await effects(prepared, customer)) == ([1, 2], [])
    first, second = (UUID(request["approval_id"]) for request in requests)
    await decide(prepared, person, {first: Decision(kind="reject"), second: APPROVE})
    await graph.ainvoke(WAKE, config_of(thread))
    assert await effects(prepared, customer) == [f"{customer} 2"]

    done: list[int] = []

    async def act() -> str:
        done.append(1)
        return "acted"

    bare, thread = tool_graph(prepared, tool_of(act), Rule(), reviewed=False), await make_thread(prepared, person)
    await bare.ainvoke(QUESTION, config_of(thread))
    (request,) = requests_of(await bare.aget_state(config_of(thread)))
    assert done == []
    await decide(prepared, person, {UUID(request["approval_id"]): Decision(kind="reject", message="No.")})
    state = await bare.ainvoke(WAKE, config_of(thread))
    assert ("No." in state["messages"][-1].text, done) == (True, [])


async def test_a_sealed_tool_does_not_run_where_the_gate_was_forgotten(prepared: Pool, person: Principal) -> None:
    """The general subagent of a deep agent inherits tools, but no middleware (C9)."""
    from deepagents import create_deep_agent

    customer, thread = f"eve-{uuid.uuid4()}", await make_thread(prepared, person)
    charge: tuple[str, dict[str, Any]] = ("charge", {"customer": customer, "amount": 1})
    task = ("task", {"description": "Charge.", "subagent_type": "general-purpose"})

    def script(messages: Sequence[BaseMessage]) -> AIMessage:
        return asks_for(charge if messages[-1].text == "Charge." else task)(messages)

    gate = GateMiddleware(Gate(Ledger(prepared), RULES))
    half = create_deep_agent(
        ScriptedModel(script=script), [charge_tool(prepared)], middleware=[gate], checkpointer=create_saver(prepared)
    )
    state = await half.ainvoke(QUESTION, config_of(thread))
    assert "behind its gate only" in state["messages"][-1].text
    plain = create_agent(ScriptedModel(script=asks_for(charge)), [charge_tool(prepared)])
    with pytest.raises(PlatformError, match="gate"):
        await plain.ainvoke(QUESTION)
    assert await effects(prepared, customer) == []


async def test_tools_keep_what_they_ask_to_be_given_when_they_are_sealed(prepared: Pool, person: Principal) -> None:
    seen: list[tuple[str | None, int]] = []

    def act(times: int, runtime: ToolRuntime) -> str:
        seen.append((runtime.tool_call_id, times))
        return "acted"

    tool = StructuredTool.from_function(func=act, name="act", description="Acts.")
    thread = await make_thread(prepared, person)
    graph = tool_graph(prepared, tool, FREE_TO_RUN, args={"times": 2})
    state = await graph.ainvoke(QUESTION, config_of(thread))
    assert (state["messages"][-1].text, seen) == ("I got: acted", [("call-0", 2)])
    with pytest.raises(InvalidInput, match="sealed"):
        sealed(Tool(name="x", func=str, description="x"))


async def test_a_tool_without_a_rule_does_not_run(prepared: Pool, person: Principal) -> None:
    customer, thread = f"eve-{uuid.uuid4()}", await make_thread(prepared, person)
    graph = agent_graph(
        prepared, create_saver(prepared), asks_for(("charge", {"customer": customer, "amount": 1})), rules={}
    )
    state = await graph.ainvoke(QUESTION, config_of(thread))
    assert state["messages"][-1].text == "I got: This tool is not available here."
    assert await effects(prepared, customer) == []


async def test_a_call_that_cannot_be_stored_does_not_run(prepared: Pool, person: Principal) -> None:
    customer, thread = f"eve-{uuid.uuid4()}", await make_thread(prepared, person)
    calls = (("charge", {"customer": f"{customer}\x00", "amount": 1}), ("charge", {"customer": customer, "amount": 2}))
    graph = root_graph(prepared, create_saver(prepared), asks_for(*calls), {"charge": FREE_TO_RUN})
    state = await graph.ainvoke(QUESTION, config_of(thread))
    assert "cannot be stored" in state["messages"][-1].text
    assert await effects(prepared, customer) == [f"{customer} 2"]


async def test_the_subagent_that_comes_by_itself_is_gated_and_a_compiled_one_is_refused(prepared: Pool) -> None:
    gate = Gate(Ledger(prepared), RULES)
    general = gated_subagents(gate)
    assert [spec["name"] for spec in general] == ["general-purpose"]
    assert [type(one) for one in general[0]["middleware"]] == [GateMiddleware]
    again: Any = gated_subagents(gate, general)
    assert [len(spec["middleware"]) for spec in again] == [1]
    compiled: Any = {"name": "x", "description": "x", "runnable": object()}
    with pytest.raises(InvalidInput, match="compiled"):
        gated_subagents(gate, [compiled])


@pytest.mark.parametrize("name", ["root", "agent"])
async def test_a_replay_from_an_older_checkpoint_gives_the_stored_result(
    prepared: Pool, person: Principal, name: str
) -> None:
    customer, thread = f"ann-{uuid.uuid4()}", await make_thread(prepared, person)
    graph = GRAPHS[name](
        prepared,
        create_saver(prepared),
        asks_for(*(("charge", {"customer": customer, "amount": n}) for n in (1, 2))),
        {"charge": FREE_TO_RUN},
    )
    await graph.ainvoke(QUESTION, config_of(thread))
    assert sorted(await effects(prepared, customer)) == [f"{customer} 1", f"{customer} 2"]
    before = [snapshot async for snapshot in graph.aget_state_history(config_of(thread)) if "tools" in snapshot.next]
    state = await graph.ainvoke(None, before[-1].config)
    assert state["messages"][-1].text == f"I got: charged {customer} 1 | charged {customer} 2"
    assert len(await effects(prepared, customer)) == 2


@pytest.mark.parametrize("found", ["running", "unknown"])
async def test_an_effect_that_was_cut_off_is_said_and_never_repeated(
    prepared: Pool, person: Principal, found: CallStatus
) -> None:
    """What a killed process leaves is a row that is running: nobody knows how far it came."""
    done: list[int] = []

    async def act() -> str:
        done.append(1)
        await asyncio.Event().wait()
        return "never"

    thread = await make_thread(prepared, person)
    graph = tool_graph(prepared, tool_of(act), FREE_TO_RUN)
    run = asyncio.create_task(graph.ainvoke(QUESTION, config_of(thread)))
    while not done:
        await asyncio.sleep(0.01)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert await statuses(prepared, thread) == ["unknown"]
    async with prepared.connection() as connection:
        await connection.execute("UPDATE tool_calls SET status = %s WHERE thread_id = %s", (found, thread))
    state = await tool_graph(prepared, tool_of(act), FREE_TO_RUN).ainvoke(None, config_of(thread))
    assert "Nobody knows whether" in state["messages"][-1].text
    assert (done, await statuses(prepared, thread)) == ([1], ["unknown"])


async def test_a_tool_that_asks_goes_on_when_it_is_answered(prepared: Pool, person: Principal) -> None:
    answers: list[str] = []

    async def act() -> str:
        answers.append(interrupt("How much?"))
        return f"took {answers[-1]}"

    thread = await make_thread(prepared, person)
    graph = tool_graph(prepared, tool_of(act), FREE_TO_RUN)
    await graph.ainvoke(QUESTION, config_of(thread))
    assert await statuses(prepared, thread) == ["approved"]
    state = await graph.ainvoke(Command(resume="5"), config_of(thread))
    assert (state["messages"][-1].text, answers) == ("I got: took 5", ["5"])
    assert await statuses(prepared, thread) == ["done"]


async def test_what_a_tool_fails_with_is_told_to_the_model_but_for_a_prohibition(
    prepared: Pool, person: Principal
) -> None:
    async def outcome(error: Exception) -> tuple[str, list[CallStatus]]:
        async def act() -> str:
            raise error

        thread = await make_thread(prepared, person)
        state = await tool_graph(prepared, tool_of(act), FREE_TO_RUN).ainvoke(QUESTION, config_of(thread))
        return state["messages"][-1].text, await statuses(prepared, thread)

    assert await outcome(Unavailable("The bank is closed.")) == ("I got: The bank is closed.", ["failed"])
    text, found = await outcome(RuntimeError("a secret"))
    assert ("secret" in text, "unexpectedly" in text, found) == (False, True, ["failed"])
    with pytest.raises(Forbidden):
        await outcome(Forbidden("Not yours."))


async def test_a_tool_that_changes_the_state_gives_the_same_change_again(prepared: Pool, person: Principal) -> None:
    done: list[int] = []

    async def act() -> Command[Any]:
        done.append(1)
        return Command(update={"messages": [ToolMessage("changed", tool_call_id="call-0")]})

    thread = await make_thread(prepared, person)
    graph = tool_graph(prepared, tool_of(act), FREE_TO_RUN)
    first = await graph.ainvoke(QUESTION, config_of(thread))
    before = [snapshot async for snapshot in graph.aget_state_history(config_of(thread)) if "tools" in snapshot.next]
    again = await graph.ainvoke(None, before[0].config)
    assert (first["messages"][-1].text, again["messages"][-1].text, done) == ("I got: changed", "I got: changed", [1])


async def test_a_model_that_repeats_itself_is_stopped(prepared: Pool, person: Principal) -> None:
    """After a rejection, and after results that do not help (C11)."""
    customer = f"eve-{uuid.uuid4()}"
    script = insists_on("charge", {"customer": customer, "amount": 1})
    for graph, rejects in (
        (agent_graph(prepared, create_saver(prepared), script), True),
        (root_graph(prepared, create_saver(prepared), script, {"charge": FREE_TO_RUN}), False),
    ):
        thread, asked = await make_thread(prepared, person), 0
        state = await graph.ainvoke(QUESTION, config_of(thread))
        while waiting := requests_of(await graph.aget_state(config_of(thread))):
            asked += 1
            no = Decision(kind="reject", message="Never.")
            await decide(prepared, person, {UUID(request["approval_id"]): no for request in waiting})
            state = await graph.ainvoke(WAKE, config_of(thread))
        assert asked == (2 if rejects else 0)
        assert state["messages"][-1].text.startswith("I stopped: I tried to use 'charge' in the same way 3 times")
        assert not open_ids(state["messages"])
    assert len(await effects(prepared, customer)) == 2


def open_ids(messages: Sequence[BaseMessage]) -> set[str | None]:
    made = {call["id"] for message in messages if isinstance(message, AIMessage) for call in message.tool_calls}
    return made - {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}


async def test_call_ids_may_come_again_with_a_later_question(prepared: Pool, person: Principal) -> None:
    customer, thread = f"ann-{uuid.uuid4()}", await make_thread(prepared, person)
    graph = agent_graph(
        prepared,
        create_saver(prepared),
        asks_for(("charge", {"customer": customer, "amount": 1})),
        {"charge": FREE_TO_RUN},
    )
    for _ in range(2):
        await graph.ainvoke(QUESTION, config_of(thread))
    assert await effects(prepared, customer) == [f"{customer} 1"] * 2


async def test_two_subagents_ask_together_and_each_gets_its_own_answer(prepared: Pool, person: Principal) -> None:
    """Interrupts of parallel subagents, with equal tool call ids (C7, C8)."""
    from deepagents import create_deep_agent
    from deepagents.middleware.subagents import SubAgent

    customer, thread = f"ann-{uuid.uuid4()}", await make_thread(prepared, person)
    gate = Gate(Ledger(prepared), RULES)
    workers = [
        SubAgent(
            name=f"clerk-{n}",
            description="Charges.",
            system_prompt="Charge.",
            model=ScriptedModel(script=asks_for(("charge", {"customer": customer, "amount": n}))),
        )
        for n in (1, 2)
    ]
    tasks = [("task", {"description": "Charge.", "subagent_type": f"clerk-{n}"}) for n in (1, 2)]
    graph = create_deep_agent(
        ScriptedModel(script=asks_for(*tasks)),
        [charge_tool(prepared)],
        middleware=[GateMiddleware(gate)],
        subagents=[*gated_subagents(gate, workers)],
        checkpointer=create_saver(prepared),
    )
    await graph.ainvoke(QUESTION, config_of(thread))
    state = await graph.aget_state(config_of(thread))
    requests = {request["args"]["amount"]: UUID(request["approval_id"]) for request in requests_of(state)}
    assert (len(state.interrupts), sorted(requests)) == (2, [1, 2])
    await decide(prepared, person, {requests[1]: Decision(kind="reject", message="Not Ann."), requests[2]: APPROVE})
    answer: Command[Any] = Command(resume={found.id: {"decisions": []} for found in state.interrupts})
    done = await graph.ainvoke(answer, config_of(thread))
    assert await effects(prepared, customer) == [f"{customer} 2"]
    assert "Not Ann." in done["messages"][-1].text


async def test_an_expired_question_goes_on_as_rejected(prepared: Pool, person: Principal) -> None:
    customer, thread = f"ann-{uuid.uuid4()}", await make_thread(prepared, person)
    rules = {"charge": Rule(expires_after=timedelta(0))}
    graph = root_graph(
        prepared, create_saver(prepared), asks_for(("charge", {"customer": customer, "amount": 1})), rules
    )
    await graph.ainvoke(QUESTION, config_of(thread))
    await Ledger(prepared).expire()
    state = await graph.ainvoke(WAKE, config_of(thread))
    assert "Nobody decided in time." in state["messages"][-1].text
    assert await effects(prepared, customer) == []


async def test_tools_with_rules_run_on_a_known_thread_only(prepared: Pool, person: Principal) -> None:
    graph = root_graph(prepared, create_saver(prepared), asks_for(("charge", {"customer": "x", "amount": 1})))
    with pytest.raises(InvalidInput, match="thread"):
        await graph.ainvoke(QUESTION, {"configurable": {"thread_id": "mine"}})
