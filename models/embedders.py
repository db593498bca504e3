"""The embedders in use, by stamp: the one of the settings, and those that collections were made with before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from core.domain import EmbedderStamp
from core.errors import Conflict, InvalidInput
from core.settings import EmbeddingSettings
from models.embedder import UNPINNED, WHEEL_MODEL, Embedder, open_embedder


class StampGone(Conflict):
    """The embedder of a stamp cannot be loaded any more."""

    code = "embedder-gone"
    title = "The embedder of a collection is gone"


def stamp_of(embedder: Embedder) -> EmbedderStamp:
    """What the vectors of the embedder are stamped with."""
    return EmbedderStamp(embedder.name, embedder.revision, embedder.dimension)


class Embedders:
    """Opens embedders when they are first asked for; made by `open_embedders`."""

    def __init__(self, running: Embedder, settings: EmbeddingSettings, stack: AsyncExitStack) -> None:
        self.running = running
        self._settings = settings
        self._stack = stack
        self._open: dict[EmbedderStamp, Embedder] = {stamp_of(running): running}
        self._gate = asyncio.Lock()

    async def get(self, stamp: EmbedderStamp) -> Embedder:
        """The embedder of a stamp.

        Raises:
            StampGone: it cannot be loaded any more, or what is loaded by its name is another one.
        """
        if stamp in self._open:
            return self._open[stamp]
        async with self._gate:
            if stamp not in self._open:
                self._open[stamp] = await self._load(stamp)
            return self._open[stamp]

    async def open(self, name: str, revision: str | None) -> Embedder:
        """The embedder of a name, as the settings would open it.

        Raises:
            InvalidInput: it cannot be loaded.
        """
        if name == self.running.name and revision in (None, self.running.revision):
            return self.running
        settings = self._settings.model_copy(update={"model": name, "revision": revision})
        async with self._gate:
            async with AsyncExitStack() as stack:
                embedder = await stack.enter_async_context(open_embedder(settings))
                known = self._open.get(stamp_of(embedder))
                if known is not None:
                    return known
                await self._stack.enter_async_context(stack.pop_all())
            self._open[stamp_of(embedder)] = embedder
            return embedder

    async def _load(self, stamp: EmbedderStamp) -> Embedder:
        pinned = stamp.name != WHEEL_MODEL and stamp.revision != UNPINNED and not stamp.revision.startswith("folder-")
        settings = self._settings.model_copy(
            update={"model": stamp.name, "revision": stamp.revision if pinned else None}
        )
        async with AsyncExitStack() as stack:
            try:
                embedder = await stack.enter_async_context(open_embedder(settings))
            except InvalidInput as error:
                raise StampGone(f"The embedder {stamp} cannot be loaded any more.") from error
            if stamp_of(embedder) != stamp:
                raise StampGone(f"The embedder {stamp} is gone: by its name {stamp_of(embedder)} is loaded.")
            await self._stack.enter_async_context(stack.pop_all())
            return embedder


@asynccontextmanager
async def open_embedders(running: Embedder, settings: EmbeddingSettings) -> AsyncIterator[Embedders]:
    """The registry around the running embedder; the others are closed with the block, the running one is not."""
    async with AsyncExitStack() as stack:
        yield Embedders(running, settings, stack)
