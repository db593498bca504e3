"""JSON as the Agent Server protocol has it: messages, states, threads and runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import orjson
from langchain_core.messages import BaseMessage
from langgraph.types import Interrupt, StateSnapshot
from pydantic import BaseModel

# Dataclasses come to `_plain` too: an interrupt is one, and clients read two of its fields.
OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS


def to_json(value: Any) -> str:
    """One line of JSON; messages become dicts, what has no JSON form becomes its text."""
    return orjson.dumps(value, default=_plain, option=OPTIONS).decode()


def plain(value: Any) -> Any:
    """The value as JSON types only."""
    return orjson.loads(to_json(value))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseMessage | BaseModel):
        return value.model_dump()
    if isinstance(value, Interrupt):
        return interrupt_of(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


def interrupt_of(interrupt: Interrupt) -> dict[str, Any]:
    """The protocol's interrupt; clients of other versions know no further fields."""
    schema = getattr(interrupt, "response_schema", None)
    return {"value": interrupt.value, "id": interrupt.id} | ({} if schema is None else {"response_schema": schema})


def checkpoint_of(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The protocol's checkpoint from a LangGraph config."""
    if not config or "checkpoint_id" not in config.get("configurable", {}):
        return None
    configurable = config["configurable"]
    return {
        "thread_id": configurable.get("thread_id"),
        "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        "checkpoint_id": configurable.get("checkpoint_id"),
        "checkpoint_map": configurable.get("checkpoint_map"),
    }


def thread_state(snapshot: StateSnapshot) -> dict[str, Any]:
    """The protocol's ThreadState; a task that is a subgraph has its checkpoint, or its state when that was read."""
    state = {
        "values": snapshot.values,
        "next": list(snapshot.next),
        "checkpoint": checkpoint_of(snapshot.config),
        "metadata": snapshot.metadata,
        "created_at": snapshot.created_at,
        "parent_checkpoint": checkpoint_of(snapshot.parent_config),
        "tasks": [
            {
                "id": task.id,
                "name": task.name,
                "error": str(task.error) if task.error else None,
                "interrupts": [interrupt_of(item) for item in task.interrupts],
                "path": list(task.path),
                # A subgraph whose state was not read is named by its namespace alone: its last checkpoint is meant.
                "checkpoint": task.state["configurable"] if isinstance(task.state, dict) else None,
                "state": thread_state(task.state) if isinstance(task.state, StateSnapshot) else None,
                "result": task.result,
            }
            for task in snapshot.tasks
        ],
        "interrupts": [interrupt_of(item) for item in snapshot.interrupts],
    }
    return dict(plain(state))
