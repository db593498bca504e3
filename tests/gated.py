"""Graphs whose tool has an effect that is counted in a table, each behind the gate, with a model that is scripted."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from langchain.agents import create_agent
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from app.agents import Agent, Ground
from core.database import Pool, open_pool
from core.domain import Principal
from core.settings import DatabaseSettings
from graphs.calls import mended
from graphs.gate import Gate
from graphs.middleware import GateMiddleware, gated_subagents
from graphs.seal import sealed
from tools.ledger import Decision, Ledger
from tools.rule import READ_ONLY, Rule

Script = Callable[[Sequence[BaseMessage]], AIMessage]
CHARGE = Rule(description="Charge a customer.")
RULES = {"charge": CHARGE, "task": READ_ONLY, "look": READ_ONLY}
QUESTION: Any = {"messages": [{"role": "user", "content": "Charge Ann."}]}
TABLE = "CREATE TABLE IF NOT EXISTS test_effects (number bigserial, what text NOT NULL)"


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


class ScriptedModel(BaseChatModel):
    """Answers what its script makes of the conversation: it has no memory of its own, like a real model."""

    script: Script

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        made = {call["id"] for message in messages if isinstance(message, AIMessage) for call in message.tool_calls}
        given = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
        assert made <= given, "a model refuses a conversation in which a result is missing"
        return ChatResult(generations=[ChatGeneration(message=self.script(messages))])

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> ScriptedModel:
        return self


def results(messages: Sequence[BaseMessage]) -> list[str]:
    """What the tools gave since the last question."""
    last = max(place for place, message in enumerate(messages) if isinstance(message, HumanMessage))
    return [message.text for message in messages[last:] if isinstance(message, ToolMessage)]


def asks_for(*calls: tuple[str, Mapping[str, Any]]) -> Script:
    """A model that makes these calls and then says what they gave."""

    def script(messages: Sequence[BaseMessage]) -> AIMessage:
        if found := results(messages):
            return AIMessage("I got: " + " | ".join(found))
        made = [
            {"name": name, "args": dict(args), "id": f"call-{place}", "type": "tool_call"}
            for place, (name, args) in enumerate(calls)
        ]
        return AIMessage("", tool_calls=made)

    return script


def insists_on(name: str, args: Mapping[str, Any]) -> Script:
    """A model that makes the same call again and again."""
    return lambda _: AIMessage("", tool_calls=[{"name": name, "args": dict(args), "id": str(uuid.uuid4())}])


def from_question(only: int | None = None) -> Script:
    """A model that makes the calls that the last question holds as JSON, or only one of them."""

    def script(messages: Sequence[BaseMessage]) -> AIMessage:
        question = next(message.text for message in reversed(messages) if isinstance(message, HumanMessage))
        if not question.startswith("["):
            return AIMessage(f"echo: {question}")
        calls = json.loads(question)
        return asks_for(*(calls if only is None else [calls[only]]))(messages)

    return script


def charge_tool(pool: Pool, name: str = "charge") -> BaseTool:
    """The tool with the effect: a row per call."""

    async def charge(customer: str, amount: int) -> str:
        """Charge a customer."""
        async with pool.connection() as connection:
            await connection.execute("INSERT INTO test_effects (what) VALUES (%s)", (f"{customer} {amount}",))
        return f"charged {customer} {amount}"

    return sealed(StructuredTool.from_function(coroutine=charge, name=name, description="Charge a customer."))


async def effects(pool: Pool, customer: str) -> list[str]:
    """What was charged to the customer, in the order in which it happened."""
    async with pool.connection() as connection:
        await connection.execute(TABLE)
        cursor = await connection.execute(
            "SELECT what FROM test_effects WHERE what LIKE %s ORDER BY number", (f"{customer} %",)
        )
        return [row["what"] for row in await cursor.fetchall()]


def root_graph(pool: Pool, saver: AsyncPostgresSaver | None, script: Script, rules: Mapping[str, Rule] = RULES) -> Any:
    """A graph of our own: model, review, tools."""
    gate = Gate(Ledger(pool), rules)
    chat = ScriptedModel(script=script)

    async def model(state: State) -> dict[str, Any]:
        return {"messages": [await chat.ainvoke(mended(state["messages"]))]}

    builder = StateGraph(State)
    builder.add_node("model", model)
    builder.add_node("review", gate.review)
    builder.add_node("tools", gate.tool_node([charge_tool(pool)]))
    builder.add_edge(START, "model")
    builder.add_edge("model", "review")
    builder.add_conditional_edges("review", gate.after_review, ["tools", "__end__"])
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=saver, name="root")


def agent_graph(pool: Pool, saver: AsyncPostgresSaver, script: Script, rules: Mapping[str, Rule] = RULES) -> Any:
    """An agent of LangChain's."""
    return create_agent(
        ScriptedModel(script=script),
        [charge_tool(pool)],
        middleware=[GateMiddleware(Gate(Ledger(pool), rules))],
        checkpointer=saver,
    )


def deep_graph(pool: Pool, saver: AsyncPostgresSaver, script: Script, rules: Mapping[str, Rule] = RULES) -> Any:
    """A deep agent that uses the tool itself."""
    return _deep(pool, saver, script, script, rules)


def subagent_graph(pool: Pool, saver: AsyncPostgresSaver, script: Script, rules: Mapping[str, Rule] = RULES) -> Any:
    """A deep agent that has its general subagent use the tool."""
    task = {"description": "Charge them.", "subagent_type": "clerk"}
    return _deep(pool, saver, asks_for(("task", task)), script, rules)


def _deep(pool: Pool, saver: AsyncPostgresSaver, main: Script, clerk: Script, rules: Mapping[str, Rule]) -> Any:
    from deepagents import create_deep_agent
    from deepagents.middleware.subagents import SubAgent

    gate = Gate(Ledger(pool), rules)
    tools = [charge_tool(pool)]
    worker = SubAgent(name="clerk", description="Charges.", system_prompt="Charge.", model=ScriptedModel(script=clerk))
    return create_deep_agent(
        ScriptedModel(script=main),
        tools,
        middleware=[GateMiddleware(gate)],
        subagents=[*gated_subagents(gate, [worker])],
        checkpointer=saver,
    )


@asynccontextmanager
async def process(url: str) -> AsyncIterator[Pool]:
    """What a process has of its own: its connections, and what is built on them."""
    async with open_pool(DatabaseSettings.model_validate({"url": url, "pool_min": 1, "pool_max": 8})) as pool:
        yield pool


def config_of(thread: UUID) -> Any:
    """The config of a run on the thread."""
    return {"configurable": {"thread_id": str(thread)}}


def requests_of(state: Any) -> list[dict[str, Any]]:
    """All that the open interrupts of a state ask."""
    return [request for found in state.interrupts for request in found.value["action_requests"]]


async def decide(pool: Pool, person: Principal, decisions: Mapping[UUID, Decision]) -> None:
    """Decide calls in a transaction."""
    async with pool.connection() as connection, connection.transaction():
        await Ledger(pool).decide(connection, person, decisions)


GRAPHS = {"root": root_graph, "agent": agent_graph, "deep": deep_graph, "subagent": subagent_graph}


SERVED = {
    "charge": CHARGE,
    "refund": Rule(decided_by=("role:administrator",)),
    "hurry": Rule(expires_after=timedelta(milliseconds=1)),
    "confirm": Rule(approval=("approve", "reject")),
}


def build_gated(ground: Ground) -> Iterable[Agent]:
    """Agents whose calls are the JSON of their question: ``gated``, and ``pair``, which makes two in parallel."""
    gated = create_agent(
        ScriptedModel(script=from_question()),
        [charge_tool(ground.pool, name) for name in SERVED],
        middleware=[GateMiddleware(Gate(Ledger(ground.pool), SERVED))],
        checkpointer=ground.saver,
    )
    pair = StateGraph(State)
    for place, name in enumerate(("left", "right")):
        pair.add_node(name, root_graph(ground.pool, None, from_question(place), SERVED))
        pair.add_edge(START, name)
    graphs: dict[str, Any] = {"gated": gated, "pair": pair.compile(checkpointer=ground.saver)}
    for name, graph in graphs.items():
        yield Agent(graph_id=name, name=name, description="Asks before it charges.", graph=graph)


async def make_thread(pool: Pool, principal: Principal) -> UUID:
    """A thread of the principal's."""
    async with pool.connection() as connection:
        await connection.execute(TABLE)
        cursor = await connection.execute(
            "INSERT INTO threads (tenant_id, principal_id, status) VALUES (%s, %s, 'interrupted') RETURNING id",
            (principal.tenant, principal.id),
        )
        row = await cursor.fetchone()
    assert row is not None
    return UUID(str(row["id"]))
