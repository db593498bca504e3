"""What the calls of the stock client's methods share: where they are listed, and what they are made with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.contract.sdk_clients import Client

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "steps": []}
ANSWER = "echo: hello"
SLOW: dict[str, Any] = {"context": {"tokens": 500, "pause_s": 0.01}, "input": HELLO}
YEARLY = "0 0 1 1 *"


@dataclass(frozen=True, slots=True)
class Scene:
    """A thread on which `echo` has answered, by whom, and in which run."""

    thread: str
    run: str
    assistant: str


Call = Callable[[Client, Scene], Awaitable[None]]
CALLS: dict[str, Call] = {}


def calls(method: str) -> Callable[[Call], Call]:
    """The function is the call of the method."""

    def note(call: Call) -> Call:
        CALLS[method] = call
        return call

    return note


def last(values: Any) -> Any:
    return values["messages"][-1]["content"]


async def new_thread(client: Client, **fields: Any) -> str:
    return str((await client("threads.create", **fields))["thread_id"])


async def new_assistant(client: Client) -> str:
    return str((await client("assistants.create", "echo", name="Made"))["assistant_id"])


async def new_cron(client: Client) -> dict[str, Any]:
    made: dict[str, Any] = await client("crons.create", "echo", schedule=YEARLY, input=HELLO)
    return made


async def slow_run(client: Client) -> tuple[str, str]:
    thread = await new_thread(client)
    return thread, (await client("runs.create", thread, "slow", **SLOW))["run_id"]
