"""Files come in: bytes first, then rows and jobs in one transaction, so that nothing that was acknowledged is lost."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from core.database import Pool
from core.domain import CollectionId, Document, DocumentId, DocumentStatus, TenantId
from core.errors import PlatformError
from ingest.blobs import BlobStore
from ingest.document import Connection, Documents, Upload, blob_key
from ingest.jobs import Jobs


class File(NamedTuple):
    """A file that has been received: what is known of it, and its bytes from the start."""

    upload: Upload
    body: BinaryIO


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file; ``unchanged`` when a document with the same bytes was there and needs no work."""

    document: Document
    unchanged: bool


class Intake:
    """Takes files into a collection, all of them or none."""

    def __init__(self, pool: Pool, documents: Documents, blobs: BlobStore, jobs: Jobs) -> None:
        self._pool = pool
        self._documents = documents
        self._blobs = blobs
        self._jobs = jobs

    async def take(self, tenant: TenantId, collection: CollectionId, files: Sequence[File]) -> list[Taken]:
        """Store the files, and give each that is new, or failed before, a job; the answer is in their order.

        No connection is held while bytes are written. When the end of the transaction is not known, the bytes stay:
        they may have a row. Bytes without one are swept after an hour.

        Raises:
            Unavailable: the bytes cannot be stored; then none of the files is there.
        """
        stored = await self._store(tenant, collection, files)
        async with self._pool.connection() as connection, connection.transaction():
            # In one order for all, so that two requests with the same files do not wait for each other.
            order = sorted(range(len(files)), key=lambda place: files[place].upload.sha256)
            taken = {
                place: await self._accept(connection, tenant, collection, files[place].upload, stored.get(place))
                for place in order
            }
            for place in range(len(files)):
                if not taken[place].unchanged:
                    await self._defer(connection, taken[place].document)
        # Somebody else was first with the same bytes: the row is theirs, and so are the bytes that it names.
        for place, made in stored.items():
            if taken[place].document.blob != blob_key(tenant, made):
                with suppress(PlatformError):
                    await self._blobs.delete(blob_key(tenant, made))
        return [
            Taken(await self._documents.get(tenant, taken[place].document.id), taken[place].unchanged)
            for place in range(len(files))
        ]

    async def _store(self, tenant: TenantId, collection: CollectionId, files: Sequence[File]) -> dict[int, DocumentId]:
        """Write the bytes that are new, each under the id of the document to be, which a new version has not."""
        async with self._pool.connection() as connection:
            known = await self._documents.known(connection, tenant, collection, [file.upload.sha256 for file in files])
        stored: dict[int, DocumentId] = {}
        try:
            for place, file in enumerate(files):
                there = known.get(file.upload.sha256)
                if there is None:
                    stored[place] = DocumentId(uuid.uuid4())
                    known[file.upload.sha256] = (blob_key(tenant, stored[place]), DocumentStatus.QUEUED)
                elif there[1] is not DocumentStatus.FAILED:
                    continue
                # Those of a failed document are written again: they may be what was missing.
                await self._blobs.put(known[file.upload.sha256][0], file.body)
        except BaseException:  # whatever ends it, bytes without a row must not stay
            for document in stored.values():
                with suppress(PlatformError):
                    await self._blobs.delete(blob_key(tenant, document))
            raise
        return stored

    async def _accept(
        self,
        connection: Connection,
        tenant: TenantId,
        collection: CollectionId,
        upload: Upload,
        stored: DocumentId | None,
    ) -> Taken:
        document, created = await self._documents.accept(connection, tenant, collection, upload, stored)
        failed = document.status is DocumentStatus.FAILED
        if failed:
            await self._documents.requeue(connection, tenant, document.id)
        return Taken(document, unchanged=not (created or failed))

    async def _defer(self, connection: Connection, document: Document) -> None:
        job = await self._jobs.ingest(connection, document.id)
        await self._documents.attach_job(connection, document.id, job)
