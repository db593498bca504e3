"""The stock clients, async and sync, called by the names of their methods in one way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from operator import attrgetter
from typing import Any, Protocol

from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient

PARTS = ("assistants", "threads", "runs", "crons", "store")


Ends = Callable[[Any], bool]


class Client(Protocol):
    """A stock client whose methods are called by their names, such as ``runs.wait``; a stream gives a list."""

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What the method returns."""

    async def until(self, ends: Ends, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """What a stream that does not end by itself gives, to the part that ends it for us."""

    async def converse(self, assistant: str, given: Any) -> tuple[Any, Any]:
        """The values of a thread that is streamed by ``threads.stream``, and the drawing that its agent gives."""


class AsyncClient:
    """The client of `langgraph_sdk.get_client`."""

    def __init__(self, client: LangGraphClient) -> None:
        self._client = client

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        made = attrgetter(method)(self._client)(*args, **kwargs)
        result = await made if inspect.isawaitable(made) else made
        return [part async for part in result] if isinstance(result, AsyncIterator) else result

    async def until(self, ends: Ends, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        made = attrgetter(method)(self._client)(*args, **kwargs)
        stream = await made if inspect.isawaitable(made) else made
        parts = []
        async with aclosing(stream):
            async for part in stream:
                parts.append(part)
                if ends(part):
                    break
        return parts

    async def converse(self, assistant: str, given: Any) -> tuple[Any, Any]:
        async with self._client.threads.stream(assistant_id=assistant) as thread:
            await thread.run.start(input=given)
            return await thread.output, await thread.agent.get_tree()


class SyncClient:
    """The client of `langgraph_sdk.get_sync_client`, in a thread."""

    def __init__(self, client: SyncLangGraphClient) -> None:
        self._client = client

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        def call() -> Any:
            result = attrgetter(method)(self._client)(*args, **kwargs)
            return list(result) if isinstance(result, Iterator) else result

        return await asyncio.to_thread(call)

    async def until(self, ends: Ends, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        def read() -> list[Any]:
            parts = []
            with closing(attrgetter(method)(self._client)(*args, **kwargs)) as stream:
                for part in stream:
                    parts.append(part)
                    if ends(part):
                        break
            return parts

        return await asyncio.to_thread(read)

    async def converse(self, assistant: str, given: Any) -> tuple[Any, Any]:
        def talk() -> tuple[Any, Any]:
            with self._client.threads.stream(assistant_id=assistant) as thread:
                thread.run.start(input=given)
                return thread.output, thread.agent.get_tree()

        return await asyncio.to_thread(talk)


def methods(client: LangGraphClient | SyncLangGraphClient) -> set[str]:
    """Every public method of the client's parts, and the parts that we do not know."""
    named = {name: part for name, part in vars(client).items() if not name.startswith("_") and name != "http"}
    found = {name for name in named if name not in PARTS}
    for name in PARTS:
        public = inspect.getmembers(named[name], callable)
        found |= {f"{name}.{method}" for method, _ in public if not method.startswith("_")}
    return found
