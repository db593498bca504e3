"""Small graphs for tests, each compiled like a product's: what they do is decided by their input and context alone.

| graph | does |
|---|---|
| `echo` | answers with the last message's text, in one node; appends the node's name to `steps` |
| `slow` | streams `tokens` tokens, one every `pause_s` seconds (context), by a chat model |
| `asks` | interrupts once for each text of `questions` (or once); after `then_s` seconds answers what it was told |
| `nested` | a subgraph `inner` of two nodes between `before` and `after`; custom events from everywhere |
| `fails` | raises after one good step: what we foresee (`{"kind": "known"}`), or something else |
| `remembers` | puts the last message's text into the store, below `name` (context), and tells what is there |
| `calls` | asks in a graph `inner` inside a graph `outer`, both nodes of their parents, and then tells the answer |
| `caller` | a model that calls a tool, `nap`, which takes `nap_s` seconds (context); then the model answers |
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.types import interrupt
from typing_extensions import TypedDict

from app.agents import Agent, Ground
from core.errors import Unavailable

Graph = CompiledStateGraph[Any, Any, Any, Any]
Saver = BaseCheckpointSaver[str]


class PacedChat(BaseChatModel):
    """A chat model that answers with ``reply``, word by word, one every ``pause_s`` seconds."""

    reply: str = "word " * 20
    pause_s: float = 0.0
    tool_call: dict[str, Any] | None = None

    @property
    def _llm_type(self) -> str:
        return "paced"

    def _chunks(self) -> Iterator[AIMessageChunk]:
        if self.tool_call:
            yield AIMessageChunk(
                content="", tool_call_chunks=[{**self.tool_call, "index": 0, "type": "tool_call_chunk"}]
            )
        for word in self.reply.split():
            yield AIMessageChunk(content=f"{word} ")

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        whole = AIMessageChunk(content="")
        for chunk in self._chunks():
            whole = whole + chunk
        return ChatResult(generations=[ChatGeneration(message=AIMessage(whole.content, tool_calls=whole.tool_calls))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks():
            await asyncio.sleep(self.pause_s)
            part = ChatGenerationChunk(message=chunk)
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=part)
            yield part


class Talk(TypedDict):
    """A conversation, and the nodes that were executed."""

    messages: Annotated[list[AnyMessage], add_messages]
    steps: Annotated[list[str], operator.add]


@dataclass(frozen=True)
class Pace:
    """How much a run says, and how fast."""

    tokens: int = 20
    pause_s: float = 0.0
    nap_s: float = 0.0


class Asking(Talk):
    """What `asks` wants to know."""

    questions: list[str]
    then_s: float


class Failing(Talk):
    """How `fails` shall fail."""

    kind: str


def echo(saver: Saver) -> Graph:
    async def answer(state: Talk) -> dict[str, Any]:
        return {"messages": [AIMessage(f"echo: {state['messages'][-1].text}")], "steps": ["answer"]}

    graph = StateGraph(Talk)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=saver, name="echo")


def slow(saver: Saver) -> Graph:
    async def answer(state: Talk, runtime: Runtime[Pace]) -> dict[str, Any]:
        pace = runtime.context or Pace()
        chat = PacedChat(reply=" ".join(f"w{number}" for number in range(pace.tokens)), pause_s=pace.pause_s)
        return {"messages": [await chat.ainvoke(state["messages"])], "steps": ["answer"]}

    graph = StateGraph(Talk, context_schema=Pace)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=saver, name="slow")


def asks(saver: Saver) -> Graph:
    async def ask(state: Asking) -> dict[str, Any]:
        answers = [str(interrupt({"question": text})) for text in state.get("questions") or ["Why?"]]
        await asyncio.sleep(state.get("then_s", 0.0))
        return {"messages": [AIMessage(f"told: {', '.join(answers)}")], "steps": ["ask"]}

    graph = StateGraph(Asking)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile(checkpointer=saver, name="asks")


def nested(saver: Saver) -> Graph:
    def node(name: str) -> Any:
        async def act(state: Talk, runtime: Runtime[None]) -> dict[str, Any]:
            runtime.stream_writer({"at": name})
            return {"messages": [AIMessage(name)], "steps": [name]}

        return act

    inner = StateGraph(Talk)
    inner.add_node("first", node("first"))
    inner.add_node("second", node("second"))
    inner.add_edge(START, "first")
    inner.add_edge("first", "second")
    inner.add_edge("second", END)

    async def call_inner(state: Talk) -> dict[str, Any]:
        result = await compiled.ainvoke({"messages": state["messages"], "steps": []})
        return {"messages": result["messages"], "steps": result["steps"]}

    compiled = inner.compile(name="inner")
    outer = StateGraph(Talk)
    outer.add_node("before", node("before"))
    outer.add_node("inner", call_inner)
    outer.add_node("after", node("after"))
    outer.add_edge(START, "before")
    outer.add_edge("before", "inner")
    outer.add_edge("inner", "after")
    outer.add_edge("after", END)
    return outer.compile(checkpointer=saver, name="nested")


def calls(saver: Saver) -> Graph:
    async def ask(state: Talk) -> dict[str, Any]:
        return {"messages": [AIMessage(f"told: {interrupt('Why?')}")], "steps": ["ask"]}

    async def note(state: Talk) -> dict[str, Any]:
        return {"steps": ["note"]}

    inner = StateGraph(Talk).add_node("ask", ask).add_edge(START, "ask").compile()
    outer = StateGraph(Talk).add_node("inner", inner).add_edge(START, "inner").compile()
    graph = StateGraph(Talk).add_node("outer", outer).add_node("note", note)
    graph.add_edge(START, "outer")
    graph.add_edge("outer", "note")
    return graph.compile(checkpointer=saver, name="calls")


def fails(saver: Saver) -> Graph:
    async def begin(state: Failing) -> dict[str, Any]:
        return {"steps": ["begin"]}

    async def fail(state: Failing) -> dict[str, Any]:
        if state.get("kind") == "known":
            raise Unavailable("The part is away. Try again later.")
        raise RuntimeError("a text that nobody outside may read")

    graph = StateGraph(Failing)
    graph.add_node("begin", begin)
    graph.add_node("fail", fail)
    graph.add_edge(START, "begin")
    graph.add_edge("begin", "fail")
    graph.add_edge("fail", END)
    return graph.compile(checkpointer=saver, name="fails")


def caller(saver: Saver) -> Graph:
    call = {"name": "nap", "args": "{}", "id": "call-1"}

    async def model(state: Talk, runtime: Runtime[Pace]) -> dict[str, Any]:
        done = isinstance(state["messages"][-1], ToolMessage)
        chat = PacedChat(reply="I have slept." if done else "", tool_call=None if done else call)
        return {"messages": [await chat.ainvoke(state["messages"])], "steps": ["model"]}

    async def tools(state: Talk, runtime: Runtime[Pace]) -> dict[str, Any]:
        await asyncio.sleep((runtime.context or Pace()).nap_s)
        last = state["messages"][-1]
        assert isinstance(last, AIMessage)
        return {
            "messages": [ToolMessage("slept", tool_call_id=str(call["id"])) for call in last.tool_calls],
            "steps": ["tools"],
        }

    def after_model(state: Talk) -> str:
        last = state["messages"][-1]
        return "tools" if isinstance(last, AIMessage) and last.tool_calls else END

    graph = StateGraph(Talk, context_schema=Pace)
    graph.add_node("model", model)
    graph.add_node("tools", tools)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", after_model, ["tools", END])
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=saver, name="caller")


@dataclass(frozen=True)
class Whose:
    """Whose memory a run is about."""

    name: str = "nobody"


def remembers(saver: Saver, store: BaseStore) -> Graph:
    async def note(state: Talk, runtime: Runtime[Whose]) -> dict[str, Any]:
        assert runtime.store is not None
        text = state["messages"][-1].text
        await runtime.store.aput(("notes", runtime.context.name), text, {"text": text})
        return {"steps": ["note"]}

    def tell(state: Talk, runtime: Runtime[Whose]) -> dict[str, Any]:
        assert runtime.store is not None
        found = runtime.store.search(("notes",))
        return {"messages": [AIMessage(", ".join(sorted(item.key for item in found)))], "steps": ["tell"]}

    graph = StateGraph(Talk, context_schema=Whose)
    graph.add_node("note", note)
    graph.add_node("tell", tell)
    graph.add_edge(START, "note")
    graph.add_edge("note", "tell")
    graph.add_edge("tell", END)
    return graph.compile(checkpointer=saver, store=store, name="remembers")


BUILDERS = (echo, slow, asks, nested, calls, fails, caller)


def build_agents(ground: Ground) -> Iterable[Agent]:
    """The graphs above as agents of their own names."""
    for build in BUILDERS:
        name = build.__name__
        yield Agent(graph_id=name, name=name, description=f"A test's graph: {name}.", graph=build(ground.saver))
    memory = remembers(ground.saver, ground.memory)
    yield Agent(graph_id="remembers", name="remembers", description="A test's graph: remembers.", graph=memory)
