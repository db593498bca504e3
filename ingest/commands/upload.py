"""Files of this machine become documents of a running Ragstone: planned, sent, and watched until they are indexed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from tqdm import tqdm

from core.errors import InvalidInput, PlatformError, Unauthorised
from ingest.client import ENDED, Client, Json
from ingest.commands.report import Outcome
from ingest.sources.folder import FolderSource, folder_address, split
from ingest.sources.name import clean_path
from ingest.sources.plan import Action, Rules, Step, plan_sync

AT_ONCE = 4
POLL_S = 2.0
POLLED = 20
QUIET_S = 1.0
"""A file that was written to within this time may not be complete yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be done with the files of a path."""

    collection: str = "default"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    mirror: bool = False
    host: str = ""


class Upload:
    """A folder or file of this machine on its way into a collection.

    A file's source id is made of this machine's name and the file's path, so that the next run finds what the last one
    brought; its version is the hash of its bytes.
    """

    def __init__(self, client: Client, path: Path, wish: Wish) -> None:
        self._client = client
        self._wish = wish
        self.root, self._only = split(path.resolve())
        self._address = folder_address(self.root, wish.host)
        self._source = FolderSource(self.root, self._address, only=self._only, digests=True)
        self._documents: dict[str, Json] = {}

    async def plan(self) -> list[Step]:
        """What there is to do, given what the collection holds.

        Raises:
            InvalidInput: nothing is there, or a mirror would remove everything.
        """
        items = [item async for item in self._source.discover()]
        prefix = items[0].id if self._only is not None and items else self._address + "/"
        found = await self._client.documents(self._wish.collection, prefix)
        self._documents = {document["source_id"]: document for document in found}
        if self._wish.mirror and not items and found:
            raise InvalidInput(
                f"{str(self.root)!r} is empty, and {len(found)} documents came from it. Nothing was removed: see "
                "whether the folder is mounted. To remove them all, delete them."
            )
        stored = {id_: _version(document) for id_, document in self._documents.items()}
        mirror = self._wish.mirror and self._only is None
        return plan_sync(items, stored, self._wish.rules, mirror=mirror, by_content=True)

    def unfinished(self, steps: Sequence[Step]) -> set[str]:
        """The ids of files that somebody may still be writing."""
        now = time.time()
        return {
            step.id
            for step in steps
            if step.action in (Action.ADD, Action.CHANGE) and 0 <= now - self._changed(step) < QUIET_S
        }

    async def carry_out(self, steps: Sequence[Step], outcome: Outcome, *, quiet: bool = False) -> dict[str, str]:
        """Remove and send what the plan says; the names of the documents to wait for, by their ids."""
        waiting: dict[str, str] = {}
        todo = [step for step in steps if step.action in (Action.REMOVE, Action.CHANGE, Action.ADD)]
        total = sum(step.size or 0 for step in todo if step.action is not Action.REMOVE)
        with tqdm(total=total, unit="B", unit_scale=True, desc="Sending", disable=quiet or not todo) as bar:
            for action in (Action.REMOVE, Action.CHANGE, Action.ADD):
                places = asyncio.Semaphore(AT_ONCE)

                async def one(step: Step, places: asyncio.Semaphore = places) -> None:
                    async with places:
                        await self._step(step, outcome, waiting)
                    bar.update(step.size or 0 if step.action is not Action.REMOVE else 0)

                async with asyncio.TaskGroup() as group:
                    for step in todo:
                        if step.action is action:
                            group.create_task(one(step))
        for step in steps:
            if step.action in (Action.UNCHANGED, Action.SKIP):
                outcome.add("unchanged" if step.action is Action.UNCHANGED else "skipped")
        return waiting

    async def _step(self, step: Step, outcome: Outcome, waiting: dict[str, str]) -> None:
        try:
            if step.action is Action.REMOVE:
                await self._client.delete(self._documents[step.id]["id"])
                outcome.add("removed")
                return
            document = await self._client.upload(
                self._path(step),
                clean_path(step.path),
                source_id=step.id,
                collection=self._wish.collection,
                metadata=self._wish.metadata,
            )
        except Unauthorised:
            raise
        except (PlatformError, OSError) as error:
            outcome.failed[step.path] = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            return
        outcome.add("unchanged" if document["unchanged"] else "added" if step.action is Action.ADD else "changed")
        if document["status"] not in ENDED or not document["unchanged"]:
            waiting[document["id"]] = step.path

    def _path(self, step: Step) -> Path:
        return self.root / os.fsdecode(unquote_to_bytes(step.id.removeprefix(self._address + "/")))

    def _changed(self, step: Step) -> float:
        try:
            return self._path(step).stat().st_mtime
        except OSError:
            return 0.0


class Progress:
    """Documents on their way, until each is indexed or has failed: by the stream of changes, and by asking."""

    def __init__(self, client: Client, *, quiet: bool = False) -> None:
        self._client = client
        self._quiet = quiet
        self._latest: dict[str, Json] = {}

    async def wait(self, names: Mapping[str, str], outcome: Outcome) -> None:
        """Wait for the documents with these ids; those that fail are put into ``outcome`` under their names."""
        listening = asyncio.create_task(self._listen())
        try:
            with tqdm(total=len(names), unit="file", desc="Reading", disable=self._quiet or not names) as bar:
                while left := [id_ for id_ in names if not self._ended(id_)]:
                    # The stream tells only of what changes from now on, and may break.
                    await asyncio.gather(*(self._ask(id_) for id_ in left[:POLLED]))
                    done = [self._latest[id_] for id_ in names if id_ in self._latest]
                    bar.n = sum(1 for id_ in names if self._ended(id_))
                    bar.set_postfix_str(f"{sum(document['done'] for document in done):,} chunks")
                    bar.refresh()
                    if bar.n < len(names):
                        await asyncio.sleep(POLL_S if len(left) > POLLED else POLL_S / 4)
                bar.n = len(names)
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
        for id_, name in names.items():
            document = self._latest[id_]
            outcome.chunks += document["chunks"]
            if document["status"] == "failed":
                outcome.failed[name] = document["error"] or "It failed."

    def _ended(self, id_: str) -> bool:
        return self._latest.get(id_, {}).get("status") in ENDED

    async def _listen(self) -> None:
        while True:
            async for document in self._client.changes():
                self._latest[document["id"]] = document
            await asyncio.sleep(POLL_S)

    async def _ask(self, id_: str) -> None:
        document = await self._client.document(id_)
        gone = {"id": id_, "status": "failed", "error": "It was deleted meanwhile.", "done": 0, "chunks": 0}
        self._latest[id_] = document or gone


def _version(document: Json) -> str:
    """The hash of a stored document's bytes; one that failed is never the same, so that it is sent again."""
    sha256: str = document["sha256"]
    return f"failed:{sha256}" if document["status"] == "failed" else sha256
