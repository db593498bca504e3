"""Conversations with a Ragstone whose processes die, by the stock client; what each reader saw is kept.

A reader asks again whatever failed, as a program that must get through would: the thread is made under an id of its
own, a run that was begun is found on the thread, and a stream that was cut is taken up after the last event that was
seen.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import LangGraphError
from langgraph_sdk.schema import StreamMode, StreamPart

from benchmarks.fault_graph import NAME

T = TypeVar("T")
PATIENCE_S = 150.0
PAUSE_S = 0.25
MODES: list[StreamMode] = ["values", "updates", "messages-tuple"]


@dataclass(kw_only=True)
class Seen:
    """A run as its reader saw it: how many steps it was asked for, and its events as (id, event, data)."""

    thread: str
    steps: int
    run: str | None = None
    events: list[tuple[str | None, str, Any]] = field(default_factory=list)
    cuts: int = 0
    ended: bool = False
    refused: str = ""


class Load:
    """Readers that start one run after the other, each on a fresh thread, until they are stopped."""

    def __init__(self, urls: Sequence[str], key: str, chance: random.Random) -> None:
        self._clients = [client_of(url, key) for url in urls]
        self._chance = chance
        self._stopping = False
        self.seen: list[Seen] = []

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()

    def stop(self) -> None:
        """Let every reader end its run and start no other."""
        self._stopping = True

    async def read(self, steps: tuple[int, int]) -> None:
        """One reader; each run has from so many to so many steps."""
        while not self._stopping:
            seen = Seen(thread=str(uuid.uuid4()), steps=self._chance.randint(*steps))
            self.seen.append(seen)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self.converse(seen)
            except TimeoutError:
                seen.refused = seen.refused or f"no end in {PATIENCE_S:.0f} s"

    async def converse(self, seen: Seen) -> None:
        """Make the thread, start the run and read it to its end, however often that is cut."""
        await self.again(seen, lambda sdk: sdk.threads.create(thread_id=seen.thread, if_exists="do_nothing"))
        while not seen.ended:
            sdk = self._chance.choice(self._clients)
            try:
                await self.follow(sdk, seen)
            except (httpx.HTTPError, LangGraphError) as error:
                seen.cuts += 1
                seen.refused = refusal(error) or seen.refused
                await asyncio.sleep(PAUSE_S)

    async def follow(self, sdk: LangGraphClient, seen: Seen) -> None:
        """Read from after the last event that was seen, from wherever the run is executed."""
        if seen.run is None:
            # Whether a request that was cut has begun a run is for the server to say.
            begun = await sdk.runs.list(seen.thread, limit=1)
            seen.run = begun[0]["run_id"] if begun else None
        with warnings.catch_warnings():
            # The client warns when it was cut before it saw an event; it then gets them all, which is right.
            warnings.simplefilter("ignore", UserWarning)
            if seen.run is None:
                question: dict[str, Any] = {"messages": [{"role": "user", "content": str(seen.steps)}]}
                parts = sdk.runs.stream(
                    seen.thread,
                    NAME,
                    input=question,
                    stream_mode=MODES,
                    stream_resumable=True,
                    config={"recursion_limit": 100},
                )
            else:
                last = next((number for number, _, _ in reversed(seen.events) if number), "-1")
                parts = sdk.runs.join_stream(seen.thread, seen.run, last_event_id=last)
            async for part in parts:
                note(seen, part)

    async def again(self, seen: Seen, ask: Callable[[LangGraphClient], Awaitable[T]]) -> T:
        """Ask one server after the other until one answers."""
        while True:
            try:
                return await ask(self._chance.choice(self._clients))
            except (httpx.HTTPError, LangGraphError) as error:
                seen.refused = refusal(error) or seen.refused
                await asyncio.sleep(PAUSE_S)

    async def answer_again(self, thread: str) -> str:
        """A further run on the thread; what is wrong with it, empty when it ends well."""
        question: dict[str, Any] = {"messages": [{"role": "user", "content": "0"}]}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                values: Any = await self._clients[0].runs.wait(thread, NAME, input=question, raise_error=False)
            except (httpx.HTTPError, LangGraphError) as error:
                if time.monotonic() > deadline or refusal(error):
                    return f"{type(error).__name__}: {error}"
                await asyncio.sleep(PAUSE_S)
                continue
            said = values["messages"][-1]["content"] if "messages" in values else str(values)
            return "" if said.startswith("done after 0") else said


def client_of(url: str, key: str) -> LangGraphClient:
    """The stock client."""
    return get_client(url=url, api_key=key, timeout=(2, 60, 10, 30))


def note(seen: Seen, part: StreamPart) -> None:
    """Keep an event; what is known of the run from its first one."""
    if part.event == "metadata" and seen.run is None:
        seen.run = part.data["run_id"]
    if part.event == "end":
        seen.ended = True
        return
    seen.events.append((part.id, part.event, part.data))


def refusal(error: Exception) -> str:
    """What a client that does all right is refused with; empty for what it should just try again."""
    status = getattr(getattr(error, "response", None), "status_code", 503)
    return "" if status >= 500 or status in (408, 429) else f"{status}: {error}"[:300]
