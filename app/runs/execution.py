"""One run in this process: its graph is played into the log, and what a stop cuts off is put in order."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langgraph.graph import END
from langgraph.types import StateSnapshot

from app.agents import Agent
from app.checkpoints import Saver
from app.runs.order import config_of, given_of
from app.runs.playing import play
from app.runs.run import Run
from app.runs.writing import RunLog
from core.errors import InvalidInput
from graphs.calls import missing_results

MESSAGES = "messages"
STOPPED = "Stopped before it had a result."


class UnknownInterruptError(InvalidInput):
    """An answer names a question that does not wait."""


class Execution:
    """A run that is being executed here."""

    def __init__(self, run: Run, agent: Agent, log: RunLog) -> None:
        self._run = run
        self._agent = agent
        self._log = log
        self._drafts: dict[str, str] = {}
        self._node: str | None = None

    async def play(self) -> StateSnapshot:
        """Execute the graph to its end; returns the state that the thread has come to.

        After a crash it goes on from its last checkpoint; without one of its own it starts from its input.
        """
        kwargs = self._run.kwargs
        command = kwargs.get("command")
        if command and END in command["goto"]:
            return await self._resolve(command)
        if command and kwargs.get("strict_resume"):
            await self._check_answers(command.get("resume"))
        begun = self._run.attempt > 0 and await self._has_checkpoint()
        context = await self._agent.open_context(self._run.principal, kwargs.get("context") or {})
        playing = play(
            self._agent.graph,
            None if begun else given_of(self._run),
            config_of(self._run, self._agent, from_checkpoint=not begun),
            context,
            modes=kwargs["stream_mode"],
            subgraphs=kwargs.get("stream_subgraphs", False),
            interrupt_before=kwargs.get("interrupt_before"),
            interrupt_after=kwargs.get("interrupt_after"),
            durability=kwargs.get("durability", "sync"),
            on_message=self._see,
        )
        async with aclosing(playing) as events:
            async for name, data in events:
                self._log.put(name, data)
                if self._log.crowded:
                    await self._log.flush()
        return await self._state()

    async def _check_answers(self, answers: Any) -> None:
        """See that every answer that names a question names one that is open.

        Raises:
            UnknownInterruptError: one does not.
        """
        if isinstance(answers, dict):
            waiting = {item.id for item in (await self._state()).interrupts}
            if strangers := sorted(set(answers) - waiting):
                raise UnknownInterruptError(f"No interrupt {strangers[0]!r} waits for an answer on this thread.")

    async def quieten(self) -> None:
        """Return when nothing more is stored of a graph that was cut off."""
        saver = self._agent.graph.checkpointer
        if isinstance(saver, Saver):
            await saver.quiet(self._run.thread_id)

    async def _resolve(self, command: Mapping[str, Any]) -> StateSnapshot:
        """Nothing of what the thread waits for is done any more: what ``goto: "__end__"`` means, in our own words."""
        pending = (await self._state()).next
        state = await self._clear()
        if command["update"]:
            await self._agent.graph.aupdate_state(
                self._place(), dict(command["update"]), pending[0] if pending else None
            )
            state = await self._clear()
        if "values" in self._run.kwargs["stream_mode"]:
            self._log.put("values", state.values)
        return state

    async def settle(self) -> None:
        """Leave the thread so that it can be talked to: nothing is under way, no tool call is without a result.

        What was streamed of an answer is kept.
        """
        state = await self._state()
        pending = state.next
        # Also a task that has ended: what it said counts only with the next checkpoint.
        if state.tasks:
            state = await self._clear()
        if MESSAGES not in self._agent.graph.channels or not isinstance(state.values, dict):
            return
        there: list[BaseMessage] = state.values.get(MESSAGES) or []
        rest = [*self._unfinished(there), *missing_results(there, STOPPED)]
        if not rest:
            return
        node = self._agent.answer_node or self._node or (pending[0] if pending else None)
        update: dict[str, Any] = {MESSAGES: rest}
        if "citations" in self._agent.graph.channels:
            update["citations"] = []
        await self._agent.graph.aupdate_state(self._place(), update, node)
        if (await self._state()).tasks:
            await self._clear()

    def _see(self, message: BaseMessage, metadata: Mapping[str, Any]) -> None:
        """Collect what a person sees of an answer while it is written."""
        node = metadata.get("langgraph_node")
        wanted = self._agent.draft_node
        nested = "|" in str(metadata.get("langgraph_checkpoint_ns", ""))
        if isinstance(message, AIMessageChunk) and message.id and wanted in (None, node) and not nested:
            self._drafts[message.id] = self._drafts.get(message.id, "") + message.text
            self._node = node

    def _unfinished(self, there: list[BaseMessage]) -> list[BaseMessage]:
        known = {message.id for message in there}
        return [
            AIMessage(text, id=message_id, additional_kwargs={"citations": [], "stopped": True})
            for message_id, text in self._drafts.items()
            if text and message_id not in known
        ]

    async def _has_checkpoint(self) -> bool:
        return ((await self._state()).metadata or {}).get("run_id") == str(self._run.id)

    async def _state(self) -> StateSnapshot:
        return await self._agent.graph.aget_state(self._place())

    async def _clear(self) -> StateSnapshot:
        """Take over what finished nodes have written and forget the rest that was to be done."""
        await self._agent.graph.aupdate_state(self._place(), None, END)
        return await self._state()

    def _place(self) -> Any:
        return {"configurable": {"thread_id": str(self._run.thread_id)}}
