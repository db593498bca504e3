"""What a client asks of a run, checked, and put into the one form in which it is stored and executed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from langgraph.types import Command, Send
from pydantic import BaseModel, Field

from app.agents import Agent, Agents
from app.assistant import Assistants
from app.runs.admission import Order
from app.runs.life import Strategy
from app.runs.playing import StreamMode
from app.runs.run import Run
from app.runs.webhook import Webhooks
from core.domain import Principal
from core.errors import InvalidInput

Nodes: TypeAlias = Literal["*"] | list[str]
RECURSION_LIMIT = 25
RESERVED = ("thread_id", "run_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "assistant_id", "graph_id")
"""What a run is and where it stands is said by its row, never by a client's ``configurable``."""


class Goto(BaseModel):
    """A node to go on at, with an input of its own."""

    node: str
    input: Any = None


class CommandIn(BaseModel):
    """What moves a thread on instead of an input."""

    resume: Any = None
    update: dict[str, Any] | list[tuple[str, Any]] | None = None
    goto: str | Goto | list[str | Goto] | None = None


class CheckpointIn(BaseModel):
    """A place in the thread's past."""

    checkpoint_id: str | None = None
    checkpoint_ns: str = ""
    checkpoint_map: dict[str, Any] | None = None


class ConfigIn(BaseModel):
    """LangChain's config, as far as a client may set it."""

    configurable: dict[str, Any] = Field(default_factory=dict)
    recursion_limit: int | None = Field(None, ge=1, le=1000)
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


class Basis(NamedTuple):
    """An agent, and what the assistant adds to it."""

    agent: Agent
    id: UUID
    config: Mapping[str, Any]
    context: Mapping[str, Any]
    metadata: Mapping[str, Any]


class RunCreate(BaseModel):
    """A run as the SDK asks for it."""

    assistant_id: str
    input: dict[str, Any] | None = None
    command: CommandIn | None = None
    stream_mode: StreamMode | list[StreamMode] = "values"
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    metadata: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    config: ConfigIn | None = None
    checkpoint: CheckpointIn | None = None
    checkpoint_id: str | None = None
    interrupt_before: Nodes | None = None
    interrupt_after: Nodes | None = None
    multitask_strategy: Strategy | None = None
    """``None``: enqueue, which is the Agent Server's default."""
    if_not_exists: Literal["create", "reject"] | None = None
    on_disconnect: Literal["cancel", "continue"] | None = None
    on_completion: Literal["delete", "keep"] | None = None
    after_seconds: float | None = Field(None, ge=0, le=31_536_000)
    durability: Literal["sync", "async", "exit"] | None = None
    checkpoint_during: bool | None = None
    strict_resume: bool | None = None
    webhook: str | None = Field(None, max_length=2000)
    feedback_keys: list[str] | None = None

    @property
    def modes(self) -> list[str]:
        """The stream modes as a list."""
        return [self.stream_mode] if isinstance(self.stream_mode, str) else list(self.stream_mode)


class Orders:
    """Reads what clients ask for; an assistant's configuration is what its runs start from."""

    def __init__(self, agents: Agents, assistants: Assistants, webhooks: Webhooks) -> None:
        self._agents = agents
        self._assistants = assistants
        self._webhooks = webhooks

    async def read(
        self, principal: Principal, body: RunCreate, thread: UUID | None, *, modes: Sequence[str] | None = None
    ) -> Order:
        """The run that a request asks for; without a thread it gets one of its own.

        Raises:
            InvalidInput: it does not fit the agent.
            NotFound: what it names does not exist.
            Forbidden: its webhook leads into a private network.
        """
        basis = await self._basis(principal, body.assistant_id)
        agent, own = basis.agent, ConfigIn.model_validate(basis.config)
        config = body.config or ConfigIn()
        context = {**basis.context, **(body.context or {})}
        await agent.open_context(principal, context)
        if body.webhook is not None:
            await self._webhooks.check(body.webhook)
        command = _command(body.command)
        checkpoint = body.checkpoint or CheckpointIn()
        place = {
            "checkpoint_id": body.checkpoint_id or checkpoint.checkpoint_id,
            "checkpoint_ns": checkpoint.checkpoint_ns,
            "checkpoint_map": checkpoint.checkpoint_map,
        }
        given, refusal = _input(agent, body, place)
        configurable = {**own.configurable, **config.configurable}
        kwargs = {
            "input": given,
            "command": command,
            "context": context,
            "configurable": {name: value for name, value in configurable.items() if _free(name)},
            "tags": [*own.tags, *config.tags],
            "recursion_limit": config.recursion_limit or own.recursion_limit or RECURSION_LIMIT,
            "checkpoint": place if place["checkpoint_id"] else None,
            "interrupt_before": _nodes(agent, body.interrupt_before),
            "interrupt_after": _nodes(agent, body.interrupt_after),
            "stream_mode": list(modes or body.modes),
            "stream_subgraphs": bool(body.stream_subgraphs),
            "durability": _durability(body),
            "strict_resume": bool(body.strict_resume),
            "webhook": body.webhook,
        }
        identity = {"graph_id": agent.graph_id, "assistant_id": str(basis.id)}
        return Order(
            thread=thread or uuid.uuid4(),
            assistant=basis.id,
            kwargs=kwargs,
            metadata={**basis.metadata, **own.metadata, **config.metadata, **(body.metadata or {}), **identity},
            strategy=body.multitask_strategy or "enqueue",
            after_s=body.after_seconds or 0,
            resumes=command is not None and "resume" in command,
            refusal=refusal,
            make_thread=thread is None or body.if_not_exists == "create",
            alone=thread is None and body.on_completion != "keep",
        )

    async def _basis(self, principal: Principal, name: str) -> Basis:
        """Where a run starts from; a graph's own assistant adds nothing and needs no look at the database."""
        own = self._agents.find(name)
        if own is not None:
            return Basis(own, own.assistant_id, {}, {}, {})
        stored = await self._assistants.get(principal, name)
        agent = self._agents.get(stored.graph_id)
        return Basis(agent, stored.id, stored.config, stored.context, stored.metadata)


def given_of(run: Run) -> Mapping[str, Any] | Command[Any] | None:
    """What the run's graph is called with: an input, a command, or nothing, to go on from where the thread stands."""
    command = run.kwargs.get("command")
    if command is None:
        given: Mapping[str, Any] | None = run.kwargs["input"]
        return given
    goto = [Send(item["node"], item["input"]) if isinstance(item, dict) else item for item in command["goto"]]
    return Command(resume=command.get("resume"), update=command["update"], goto=goto)


def config_of(run: Run, agent: Agent, *, from_checkpoint: bool) -> dict[str, Any]:
    """The config that the run's graph is called with; ``from_checkpoint``: at the place that the client named."""
    identity = {
        "run_id": str(run.id),
        "thread_id": str(run.thread_id),
        "graph_id": agent.graph_id,
        "assistant_id": str(run.assistant_id),
    }
    place = (run.kwargs.get("checkpoint") or {}) if from_checkpoint else {}
    return {
        "configurable": {
            **run.kwargs.get("configurable", {}),
            **identity,
            **{name: value for name, value in place.items() if value is not None},
        },
        "metadata": {**run.metadata, **identity},
        "tags": run.kwargs.get("tags", []),
        # A trace of its own for each attempt.
        "run_id": run.id if run.attempt == 0 else uuid.uuid4(),
        "run_name": agent.graph_id,
        "recursion_limit": run.kwargs.get("recursion_limit", RECURSION_LIMIT),
    }


def _free(name: str) -> bool:
    return name not in RESERVED and not name.startswith("__")


def _input(
    agent: Agent, body: RunCreate, place: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, InvalidInput | None]:
    """The input in the agent's form, and what is wrong with it unless the thread has something to go on with.

    A command needs no input, and neither has a checkpoint to go on from.
    """
    if not body.input and (body.command is not None or place["checkpoint_id"]):
        return None, None
    try:
        return agent.read_input(body.input), None
    except InvalidInput as error:
        if body.input is not None:
            raise
        return None, error


def _command(command: CommandIn | None) -> dict[str, Any] | None:
    """The command as it is stored.

    Raises:
        InvalidInput: it says nothing.
    """
    if command is None:
        return None
    said = command.model_fields_set
    if not said & {"resume", "update", "goto"}:
        raise InvalidInput("command must say resume, update or goto.")
    goto = command.goto if isinstance(command.goto, list) else [command.goto] if command.goto else []
    stored: dict[str, Any] = {
        "update": command.update,
        "goto": [item.model_dump() if isinstance(item, Goto) else item for item in goto],
    }
    return stored | ({"resume": command.resume} if "resume" in said and command.resume is not None else {})


def _nodes(agent: Agent, nodes: Nodes | None) -> Nodes | None:
    if nodes is None or nodes == "*":
        return nodes
    if strangers := sorted(set(nodes) - agent.graph.nodes.keys()):
        there = ", ".join(repr(name) for name in agent.graph.nodes if not name.startswith("__"))
        raise InvalidInput(f"The graph {agent.graph_id!r} has no node {strangers[0]!r}. There are: {there}.")
    return nodes


def _durability(body: RunCreate) -> str:
    if body.durability is None and body.checkpoint_during is not None:
        return "async" if body.checkpoint_during else "exit"
    return body.durability or "sync"
