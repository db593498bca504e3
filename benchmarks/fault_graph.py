"""A graph whose tool has an effect that can be counted, for `benchmarks.run_faults`.

The model speaks some words and calls the tool, so many times as the input says; then it says that it is done. The
effect is a line in a file outside of the database: it happened when the line is there, whatever else was lost. The tool
sleeps before and after it, so that processes die there too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolCallId, tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from app.agents import Agent, Ground
from graphs.gate import Gate
from tools.ledger import Ledger
from tools.rule import Rule

NAME = "effects"
WORDS = 8
PAUSE_S = 0.005
EFFECT_S = 0.02
FILE = "RAGSTONE_EFFECTS"
"""The environment's variable with the file that effects are written to."""


class Deed(BaseChatModel):
    """Speaks, then calls `ring` as long as the last question asks for more steps than were made since."""

    @property
    def _llm_type(self) -> str:
        return NAME

    def _chunks(self, messages: list[BaseMessage]) -> list[AIMessageChunk]:
        asked = max(place for place, message in enumerate(messages) if isinstance(message, HumanMessage))
        done = sum(isinstance(message, ToolMessage) for message in messages[asked:])
        wanted = int(messages[asked].text)
        if done == wanted:
            return [AIMessageChunk(content=f"{word} ") for word in f"done after {wanted} steps".split()]
        # The same name for the same step, whoever speaks it again after a crash: so a repeated effect is seen.
        before = sum(isinstance(message, ToolMessage) for message in messages)
        call = {"name": "ring", "args": f'{{"bell": {before}}}', "id": f"call-{before}", "index": 0}
        words = [AIMessageChunk(content=f"word{number} ") for number in range(WORDS)]
        return [*words, AIMessageChunk(content="", tool_call_chunks=[{**call, "type": "tool_call_chunk"}])]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        whole = AIMessageChunk(content="")
        for chunk in self._chunks(messages):
            whole = whole + chunk
        return ChatResult(generations=[ChatGeneration(message=AIMessage(whole.content, tool_calls=whole.tool_calls))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for message in self._chunks(messages):
            await asyncio.sleep(PAUSE_S)
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                await run_manager.on_llm_new_token(message.text, chunk=chunk)
            yield chunk


class Talk(TypedDict):
    """A conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


def ring_tool(path: Path) -> BaseTool:
    """The tool whose effect is a line of ``path``: the thread and the call."""

    @tool
    async def ring(bell: int, call: Annotated[str, InjectedToolCallId], config: RunnableConfig) -> str:
        """Ring a bell."""
        await asyncio.sleep(EFFECT_S)
        # One write of a few bytes at the end of the file: it is there as a whole or not at all.
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(file, f"{config['configurable']['thread_id']} {call}\n".encode())
        os.close(file)
        await asyncio.sleep(EFFECT_S)
        return f"bell {bell} rang"

    return ring


def agents(ground: Ground) -> Iterable[Agent]:
    """The graph behind the gate, with every state stored."""
    gate = Gate(Ledger(ground.pool), {"ring": Rule(effect=True, approval=())})
    ring = ring_tool(Path(os.environ[FILE]))
    chat = Deed()

    async def model(state: Talk) -> dict[str, Any]:
        return {"messages": [await chat.ainvoke(state["messages"])]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(Talk)
    graph.add_node("model", model)
    graph.add_node("review", gate.review)
    graph.add_node("tools", gate.tool_node([ring]))
    graph.add_edge(START, "model")
    graph.add_edge("model", "review")
    graph.add_conditional_edges("review", gate.after_review, ["tools", END])
    graph.add_edge("tools", "model")
    compiled = graph.compile(checkpointer=ground.saver, name=NAME)
    yield Agent(graph_id=NAME, name="Effects", description="Rings bells.", graph=compiled)
