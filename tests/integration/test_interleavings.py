"""Uploads, new versions, deletions, cancellations and retries at any moment of each other, with two workers.

Whatever the order: at the end PostgreSQL, the index and the files agree exactly, and search finds the newest version of
what is there and nothing of what was deleted. Real PostgreSQL, real Qdrant Edge, the real embedder.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.services import Services
from core.domain import CollectionId, DocumentId, DocumentStatus, Scope, TenantId
from core.errors import Conflict, UnreadableDocument
from core.settings import Settings
from ingest.document import Upload
from ingest.intake import File
from ingest.reconcile import Reconciler
from tests.apart import open_apart, run_workers
from tests.conftest import make_principal

SLOTS = 5
STEPS = 7
STAGES = ("loading", "chunking", "embedding", "indexed")
BROKEN = 0.05
"""The share of batches whose document fails for good, until somebody retries it."""


class Faults:
    """Delays every call by chance, so that any step of one document meets any step of another."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.on = True

    async def pause(self) -> None:
        if self.on:
            await asyncio.sleep(self._chance.random() * 0.06)

    def strike(self, services: Services, patch: pytest.MonkeyPatch) -> None:
        embed, upsert, delete = services.embedder.embed_documents, services.index.upsert, services.index.delete

        async def embedding(texts: Sequence[str]) -> NDArray[np.float32]:
            await self.pause()
            if self.on and self._chance.random() < BROKEN:
                raise UnreadableDocument("Chance has it that this cannot be read.")
            return await embed(texts)

        async def upserting(*arguments: Any, **options: Any) -> None:
            await self.pause()
            await upsert(*arguments, **options)
            await self.pause()

        async def deleting(*arguments: Any, **options: Any) -> None:
            await self.pause()
            await delete(*arguments, **options)
            await self.pause()

        patch.setattr(services.embedder, "embed_documents", embedding)
        patch.setattr(services.index, "upsert", upserting)
        patch.setattr(services.index, "delete", deleting)


@dataclass
class Slot:
    """A source whose document is changed, deleted and brought back; `text` is what it must hold at the end."""

    services: Services
    tenant: TenantId
    collection: CollectionId
    word: str
    chance: random.Random
    document: DocumentId | None = None
    text: str = ""
    deleted: set[DocumentId] = field(default_factory=set)

    async def live(self) -> None:
        await self.change()
        for _ in range(STEPS):
            await asyncio.sleep(self.chance.random() * 0.3)
            await self.chance.choice(ACTIONS)(self)

    async def delete_at_a_stage(self) -> None:
        await self.wait_for(self.chance.choice(STAGES))
        await self.delete()

    async def delete_and_upload(self) -> None:
        await self.delete()
        await self.upload()

    async def change(self) -> None:
        number = self.chance.randrange(10**6)
        log = "\n\n".join(f"## Day {day}\n\nOn day {day} of {number} it rained." for day in range(number % 4))
        self.text = f"# {self.word}\n\nThe {self.word} lies in the harbour.\n\n{log}\n"
        await self.upload()

    async def upload(self) -> None:
        content = self.text.encode()
        upload = Upload(
            name=f"{self.word}.md",
            media_type="text/markdown",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            metadata={},
            source_id=f"test:{self.word}",
        )
        (taken,) = await self.services.intake.take(self.tenant, self.collection, [File(upload, io.BytesIO(content))])
        self.document = taken.document.id
        assert self.document not in self.deleted, "a deleted document never comes back"

    async def delete(self) -> None:
        if self.document is None:
            return
        services, document = self.services, self.document
        async with services.pool.connection() as connection, connection.transaction():
            await services.documents.start_deletion(connection, self.tenant, document)
            await services.documents.attach_job(connection, document, await services.jobs.erase(connection, document))
        self.deleted.add(document)
        self.document = None
        await self.look()
        for bring_back in (self.requeue, self.stop):
            with pytest.raises(Conflict):
                await bring_back(document)

    async def cancel(self) -> None:
        if self.document is not None:
            with suppress(Conflict):
                await self.stop(self.document)

    async def retry(self) -> None:
        if self.document is not None:
            with suppress(Conflict):
                await self.requeue(self.document)

    async def stop(self, document: DocumentId) -> None:
        async with self.services.pool.connection() as connection, connection.transaction():
            await self.services.jobs.cancel(connection, self.tenant, document, by="chance")

    async def requeue(self, document: DocumentId) -> None:
        services = self.services
        async with services.pool.connection() as connection, connection.transaction():
            await services.documents.requeue(connection, self.tenant, document)
            await services.documents.attach_job(connection, document, await services.jobs.ingest(connection, document))

    async def look(self) -> set[DocumentId]:
        """The documents in which search finds the word: none that was deleted, and one that was live before."""
        live = await self.is_live()
        hits = (await self.services.search(f"the {self.word}", scope=Scope(tenant=self.tenant), limit=20)).hits
        found = {hit.chunk.document for hit in hits if self.word in hit.chunk.text}
        assert not found & self.deleted
        if live:
            assert found == {self.document}, "what is searchable stays so while it is made anew"
        return found

    async def is_live(self) -> bool:
        if self.document is None:
            return False
        return (await self.services.documents.get(self.tenant, self.document)).live_generation is not None

    async def wait_for(self, stage: str) -> None:
        """Wait until the document is where the name says, or has passed it."""
        if self.document is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while (await self.services.documents.get(self.tenant, self.document)).status != stage:
                    await asyncio.sleep(0.002)


ACTIONS = (
    Slot.change,
    Slot.change,
    Slot.upload,
    Slot.delete,
    Slot.delete_at_a_stage,
    Slot.delete_and_upload,
    Slot.cancel,
    Slot.retry,
    Slot.look,
)


async def settle(services: Services) -> None:
    """Wait until nothing is on its way, and no job is left."""
    async with asyncio.timeout(90):
        while True:
            async with services.pool.connection() as connection:
                cursor = await connection.execute(
                    "SELECT (SELECT count(*) FROM documents WHERE status NOT IN ('indexed', 'failed')) + "
                    "(SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND args ? 'document') "
                    "AS n"
                )
                row: Any = await cursor.fetchone()
            if not row["n"]:
                return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_done_to_documents_in_whatever_order_all_stores_agree_at_the_end(
    seed: int, settings: Settings, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    async with open_apart(settings, postgres, tmp_path) as services:
        faults = Faults(chance)
        faults.strike(services, monkeypatch)
        principal, _ = await make_principal(services.pool)
        tenant = principal.tenant
        collection = (await services.collections.get(tenant, "default")).id
        slots = [
            Slot(services, tenant, collection, f"vessel{number}q", random.Random(100 * seed + number))
            for number in range(SLOTS)
        ]
        async with run_workers(services, 2, concurrency=2) as work:
            await asyncio.gather(*(slot.live() for slot in slots))
            await settle(services)
            faults.on = False
            for slot in slots:
                await slot.retry()
            await settle(services)
            await work.builder.removals.sweep_all()
            findings = await Reconciler(services.pool, work.builder).run(repair=False, age=timedelta(0))
        assert findings.counts == dict.fromkeys(findings.counts, 0)
        documents = {each.id: each for each in await services.documents.select(tenant)}
        assert set(documents) == {slot.document for slot in slots} - {None}
        for slot in slots:
            found = await slot.look()
            assert found == ({slot.document} if slot.document else set())
            if slot.document is not None:
                document = documents[slot.document]
                assert document.status is DocumentStatus.INDEXED, document.error
                text, _ = await services.documents.text(tenant, slot.document, 0, 10_000)
                assert text.split() == slot.text.split()
                assert await services.index.count(Scope(tenant=tenant), slot.document) == document.chunks
        assert await services.index.count(Scope(tenant=tenant)) == sum(each.chunks for each in documents.values())
