"""A look at a source: what it offers is planned against what is stored, fetched, and taken in like an upload."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO
from urllib.parse import urlsplit

from core.database import Pool
from core.domain import DocumentId, TenantId
from core.errors import Conflict, Forbidden, InvalidInput, NotFound, PlatformError, Unavailable
from core.settings import SourceSettings
from ingest.arrival import describe
from ingest.breaker import Breaker
from ingest.document import Connection, Documents, Upload
from ingest.intake import File, Intake, Taken
from ingest.jobs import Jobs
from ingest.metadata import check_metadata
from ingest.retry import SourceDown
from ingest.sources.address import Resolve, checked, look_up, read_allowed
from ingest.sources.fetch import PORTS, read_url
from ingest.sources.place import open_source, rules_of
from ingest.sources.plan import Action, Step, plan_sync
from ingest.sources.row import SourceEntry, SourceId, SourceKind, Sources, SourceWish, link, still_needed, unlink
from ingest.sources.source import Fetched, Item, Source

AT_ONCE = 2
"""Items of one source that are fetched at once: more would be unkind to small servers."""
BREAKERS = 1000
DONE = {Action.ADD: "added", Action.CHANGE: "changed", Action.CHECK: "changed"}


class Gone(Exception):
    """The source was deleted while it was looked at."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one source; ``counts`` is what it has done so far."""

    entry: SourceEntry
    source: Source
    counts: Counter[str] = field(default_factory=Counter)


class Syncer:
    """Looks at sources."""

    def __init__(
        self,
        pool: Pool,
        settings: SourceSettings,
        *,
        intake: Intake,
        jobs: Jobs,
        resolve: Resolve = look_up,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._intake = intake
        self._documents = Documents(pool)
        self._jobs = jobs
        self._sources = Sources(pool)
        self._resolve = resolve
        self._breakers: dict[str, Breaker] = {}

    async def preview(self, wish: SourceWish, tenant: TenantId, stored: Mapping[str, str | None]) -> list[Step]:
        """What a look would do, given the versions that are stored; nothing is fetched but lists.

        Raises:
            InvalidInput: the place cannot be looked at.
            Forbidden: the settings do not allow it.
            Unavailable: it does not answer now.
        """
        async with open_source(wish, self._settings, tenant, resolve=self._resolve) as source:
            steps = await self._plan(source, wish, stored)
        if wish.kind is SourceKind.WEB:
            # The page is asked for by no list, so that nobody has seen yet whether it may be.
            return await self._unless_refused(wish.address, steps)
        return steps

    async def _unless_refused(self, address: str, steps: Sequence[Step]) -> list[Step]:
        """The steps, or why they are not taken: the address must not be reached."""
        url = read_url(address)
        try:
            await checked(
                url.host, url.port or PORTS[url.scheme], read_allowed(self._settings.allowed_hosts), self._resolve
            )
        except Forbidden as error:
            return [replace(step, action=Action.SKIP, reason=str(error)) for step in steps]
        return list(steps)

    async def run(self, id_: SourceId) -> None:
        """Look at a source once. An attempt that broke is taken up where it was: what was dealt with is unchanged.

        Raises:
            InvalidInput: the source cannot be looked at, today or tomorrow.
            Unavailable: it does not answer now.
        """
        entry = await self._sources.claim(id_)
        if entry is None:
            return
        check_metadata(entry.metadata, entry.metadata_schema, entry.collection_name)
        async with open_source(entry, self._settings, entry.tenant, resolve=self._resolve) as source:
            stored = await self._sources.versions(id_)
            steps = await self._plan(source, entry, stored)
            look = Look(entry, source)
            try:
                await self._carry_out(look, steps, stored)
            except Gone:
                return
        await self._sources.end(id_, look.counts)

    async def _plan(self, source: Source, wish: SourceWish, stored: Mapping[str, str | None]) -> list[Step]:
        items: list[Item] = []
        async for item in source.discover():
            items.append(item)
            if len(items) > self._settings.max_items:
                raise InvalidInput(
                    f"{wish.address!r} offers more than {self._settings.max_items:,} files. Name a part of it, or "
                    "raise SOURCES__MAX_ITEMS."
                )
        if wish.options.mirror and stored and not items:
            raise Conflict(
                f"{wish.address!r} is empty now, and {len(stored):,} files came from it. Nothing was removed: see "
                "whether it is mounted, or delete the source with its documents."
            )
        return plan_sync(items, stored, rules_of(wish, self._settings), mirror=wish.options.mirror)

    async def _carry_out(self, look: Look, steps: Sequence[Step], stored: Mapping[str, str | None]) -> None:
        todo = [step for step in steps if step.action in DONE]
        for step in steps:
            if step.action is Action.REMOVE:
                await self._remove(look, step)
            elif step.action not in DONE:
                look.counts["unchanged" if step.action is Action.UNCHANGED else "skipped"] += 1
        waiting = iter(todo)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._work(look, waiting, stored))
        except ExceptionGroup as errors:
            # The others were cancelled because of the first.
            raise errors.exceptions[0] from None

    async def _work(self, look: Look, waiting: Iterator[Step], stored: Mapping[str, str | None]) -> None:
        for step in waiting:
            await self._take(look, step, stored.get(step.id))

    async def _take(self, look: Look, step: Step, known: str | None) -> None:
        """Fetch an item and take it in; one that fails is recorded and does not stop the others."""
        assert step.item is not None  # noqa: S101 (steps that fetch come from an item)
        with tempfile.TemporaryFile() as body:
            fetched: Fetched | None = None
            try:
                fetched = await self._fetch(look, step.item, body, known)
                if fetched is None:
                    look.counts["unchanged"] += 1
                    return
                upload = await asyncio.to_thread(describe, fetched.name, body, look.entry.metadata, step.id)
                taken = await self._accept(look, step, upload, body)
            except SourceDown:
                raise
            except PlatformError as error:
                await self._refuse(look, step, fetched, error)
                return
        look.counts["unchanged" if taken.unchanged else DONE[step.action]] += 1
        await self._link(look, step, fetched.version, taken.document.id, made=not taken.unchanged)

    async def _accept(self, look: Look, step: Step, upload: Upload, body: BinaryIO) -> Taken:
        """Take the bytes in as the newest version of the item, or find the document that has them."""
        await self._leave_shared(look, step)
        try:
            [taken] = await self._intake.take(look.entry.tenant, look.entry.collection, [File(upload, body)])
        except Conflict:
            # Another document has the bytes: it stands for this item from now on.
            body.seek(0)
            found = replace(upload, source_id=None)
            [taken] = await self._intake.take(look.entry.tenant, look.entry.collection, [File(found, body)])
        return taken

    async def _leave_shared(self, look: Look, step: Step) -> None:
        """Leave a document that is known by this item to another item of the same bytes, whose bytes stay."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE documents d SET source_id = o.id FROM source_items i JOIN source_items o "
                "ON o.document_id = i.document_id AND o.id <> i.id WHERE i.source_id = %s AND i.id = %s "
                "AND d.id = i.document_id AND d.source_id = i.id AND NOT EXISTS (SELECT FROM documents x "
                "WHERE x.collection_id = d.collection_id AND x.source_id = o.id AND x.status <> 'deleting')",
                (look.entry.id, step.id),
            )

    async def _fetch(self, look: Look, item: Item, body: BinaryIO, known: str | None) -> Fetched | None:
        breaker = self._breaker(item.id)
        breaker.enter()
        try:
            fetched = await look.source.fetch(item, body, known=known)
        except Unavailable:
            breaker.failed()
            raise
        except PlatformError:
            breaker.succeeded()
            raise
        except BaseException:  # cancelled, or a mistake of ours: nothing against the host
            breaker.left()
            raise
        breaker.succeeded()
        return fetched

    def _breaker(self, address: str) -> Breaker:
        """The breaker of an address's host or bucket."""
        parts = urlsplit(address)
        name = f"{parts.scheme}://{parts.netloc}"
        if len(self._breakers) > BREAKERS:
            self._breakers.clear()
        return self._breakers.setdefault(name, Breaker(name))

    async def _refuse(self, look: Look, step: Step, fetched: Fetched | None, error: PlatformError) -> None:
        """Record why an item was not taken; what can pass keeps no version, so that the next look tries again."""
        if isinstance(error, NotFound) and look.entry.options.mirror:
            await self._remove(look, step)
            return
        look.counts["failed"] += 1
        final = fetched is not None and not isinstance(error, Unavailable)
        async with self._pool.connection() as connection, connection.transaction():
            await self._keep(connection, look, step, fetched.version if final and fetched else None, str(error))

    async def _keep(self, connection: Connection, look: Look, step: Step, version: str | None, error: str) -> None:
        """Record an error; the document that the item had stays."""
        cursor = await connection.execute(
            "INSERT INTO source_items (source_id, id, path, version, error) "
            "SELECT id, %(id)s, %(path)s, %(version)s, %(error)s FROM sources WHERE id = %(source)s "
            "ON CONFLICT (source_id, id) DO UPDATE SET error = EXCLUDED.error, checked_at = now(), "
            "version = coalesce(EXCLUDED.version, source_items.version)",
            {"id": step.id, "path": step.path, "version": version, "error": error, "source": look.entry.id},
        )
        if cursor.rowcount == 0:
            raise Gone

    async def _link(self, look: Look, step: Step, version: str | None, document: DocumentId, *, made: bool) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            there, before = await link(connection, look.entry.id, (step.id, step.path), version, document, made=made)
            if not there:
                raise Gone
            if before is not None:
                await self._release(connection, look.entry.tenant, before)

    async def _remove(self, look: Look, step: Step) -> None:
        look.counts["removed"] += 1
        async with self._pool.connection() as connection, connection.transaction():
            for document in await unlink(connection, look.entry.id, [step.id]):
                await self._release(connection, look.entry.tenant, document)

    async def _release(self, connection: Connection, tenant: TenantId, document: DocumentId) -> None:
        """Delete a document that was there because of a source, when no item needs it any more."""
        if await still_needed(connection, document):
            return
        try:
            await self._documents.start_deletion(connection, tenant, document)
        except NotFound:
            return  # A person was quicker.
        await self._documents.attach_job(connection, document, await self._jobs.erase(connection, document))
