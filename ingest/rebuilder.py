"""Makes a collection anew beside what search sees, changes over in one transaction, and removes what was before."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from core.database import Pool
from core.domain import CollectionId, Document, DocumentId, DocumentStatus
from core.errors import Conflict
from ingest.builder import Builder
from ingest.chunking.spec import check_spec, read_spec
from ingest.document import SELECT, document_of
from ingest.drafts import Claim, Connection, StampChanged, Superseded, discard, publish
from ingest.rebuild import Wanted
from ingest.refusals import Refusal, conflict, leave_out, tell
from ingest.retry import is_transient, reason
from ingest.stamp import COLUMNS, Making, Stamp, embedder_of, stamp_of
from models.embedders import stamp_of as embedder_stamp

logger = logging.getLogger(__name__)

PAGE = 20
"""Documents that are looked up at once."""
COUNT_S = 1.0
"""Time between two looks at how many are done."""

Ingest: TypeAlias = Callable[[Connection, DocumentId], Awaitable[int]]
"""Defers the ingestion of a document and gives the job's id: `ingest.jobs.Jobs.ingest`."""

READY = (
    "EXISTS (SELECT FROM document_drafts h WHERE h.document_id = d.id AND h.rebuild "
    "AND h.generation = d.live_generation "
    "AND (h.embedder, h.embedder_revision, h.dimension, h.chunker, h.lexical) = (%(embedder)s, %(revision)s, "
    "%(dimension)s, %(chunker)s, %(lexical)s) AND NOT EXISTS "
    "(SELECT FROM chunk_drafts f WHERE f.document_id = d.id AND f.rebuild AND NOT f.stored))"
)
"""Whether what search sees of a document ``d`` is made anew, to the last point."""
VISIBLE = "d.collection_id = %(collection)s AND d.live_generation IS NOT NULL AND d.status <> 'deleting'"


@dataclass(frozen=True, slots=True)
class Rebuilder:
    """Carries out the rows of ``rebuilds``; a killed attempt is continued by the next one."""

    pool: Pool
    builder: Builder
    ingest: Ingest

    async def run(self, collection: CollectionId) -> None:
        """Bring a change to its end; nothing happens when there is none under way.

        Raises:
            PlatformError: it cannot be brought to its end; search goes on as before. `Unavailable` when it may later.
        """
        row = await self._row(collection)
        if row is not None and row["status"] == "running":
            wanted = Wanted.model_validate(row["wanted"])
            target = await self._resolve(collection, wanted)
            left: Sequence[Refusal] = ()
            while not await self._change_over(collection, target, left):
                left = await self._build_all(collection, target, wanted)
            row = await self._row(collection)
        if row is not None and row["status"] == "clearing":
            await self._clear(collection, row)

    async def fail(self, collection: CollectionId, reason: str) -> None:
        """Record why the change ended; search goes on with what the collection was made with."""
        async with self.pool.connection() as connection:
            await connection.execute(
                "UPDATE rebuilds SET status = 'failed', error = %s, updated_at = clock_timestamp() "
                "WHERE collection_id = %s AND status = 'running'",
                (reason, collection),
            )

    async def _row(self, collection: CollectionId) -> DictRow | None:
        async with self.pool.connection() as connection:
            cursor = await connection.execute("SELECT * FROM rebuilds WHERE collection_id = %s", (collection,))
            return await cursor.fetchone()

    async def _resolve(self, collection: CollectionId, wanted: Wanted) -> Making:
        """What the collection is to be made with, by what this process runs."""
        known = self.builder.embedders
        embedder = await known.open(wanted.embedder, wanted.revision)
        async with self.pool.connection() as connection:
            cursor = await connection.execute("SELECT chunker_options FROM collections WHERE id = %s", (collection,))
            options = await cursor.fetchone()
            if options is None:
                raise Conflict("The collection is gone.")
            chunker = wanted.chunker or read_spec(options["chunker_options"])
            check_spec(chunker, embedder)
            making = Making(Stamp(embedder_stamp(embedder), chunker.stamp), chunker)
            await connection.execute(
                f"UPDATE rebuilds SET ({COLUMNS}) = (%s, %s, %s, %s, %s), "  # noqa: S608 (constants)
                "updated_at = clock_timestamp() WHERE collection_id = %s",
                (*making.stamp.values, collection),
            )
        return making

    async def _build_all(self, collection: CollectionId, target: Making, wanted: Wanted) -> list[Refusal]:
        """Make all documents anew; gives those that cannot be, if all of them may be left out."""
        refused: list[Refusal] = []
        last: DocumentId | None = None
        await self._count(collection, target)
        counted = time.monotonic()
        while page := await self._unbuilt(collection, target, after=last):
            for document in page:
                try:
                    await self._build(document, target)
                except StampChanged as error:
                    raise Conflict("The change of the collection was replaced by another one.") from error
                except Exception as error:  # `is_transient` sorts whatever comes
                    if is_transient(error):
                        raise
                    refused.append(Refusal(document, reason(error)))
                if time.monotonic() - counted >= COUNT_S:
                    await self._count(collection, target)
                    counted = time.monotonic()
            last = page[-1].id
        await self._count(collection, target)
        blocking = [refusal for refusal in refused if not refusal.is_among(wanted)]
        async with self.pool.connection() as connection:
            # What holds the change up comes first: not all may be told.
            await tell(connection, collection, sorted(refused, key=lambda refusal: refusal.is_among(wanted)))
        if blocking:
            raise conflict(blocking, wanted)
        return refused

    async def _build(self, document: Document, target: Making) -> None:
        generation = document.live_generation
        if generation is None:
            return
        claim = Claim(document, generation, target, rebuild=True)
        await self._note(document)

        async def report(_status: DocumentStatus, _done: int, _total: int) -> None:
            await asyncio.sleep(0)

        try:
            await self.builder.build(claim, report)
        except Superseded:
            logger.info("document %s changed while its collection is made anew", document.id)
        await self.builder.removals.try_sweep(document.id)

    async def _note(self, document: Document) -> None:
        """Write down which document is at work, in case that it is what the worker dies of."""
        async with self.pool.connection() as connection:
            await connection.execute(
                "UPDATE rebuilds SET at_document = %s WHERE collection_id = %s", (document.id, document.collection)
            )

    async def _unbuilt(self, collection: CollectionId, target: Making, *, after: DocumentId | None) -> list[Document]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(
                f"{SELECT} WHERE {VISIBLE} AND NOT {READY} "
                "AND (%(after)s::uuid IS NULL OR d.id > %(after)s) ORDER BY d.id LIMIT %(page)s",
                _values(collection, target) | {"after": after, "page": PAGE},
            )
            return [document_of(row) for row in await cursor.fetchall()]

    async def _count(self, collection: CollectionId, target: Making) -> None:
        async with self.pool.connection() as connection:
            await connection.execute(
                f"UPDATE rebuilds SET (done, total) = (SELECT count(*) FILTER (WHERE {READY}), count(*) "  # noqa: S608
                f"FROM documents d WHERE {VISIBLE}), updated_at = clock_timestamp() "
                "WHERE collection_id = %(collection)s",
                _values(collection, target),
            )

    async def _change_over(self, collection: CollectionId, target: Making, left: Sequence[Refusal]) -> bool:
        """Change the collection when all but what is left out is made anew; whether it was."""
        async with self.pool.connection() as connection, connection.transaction():
            # No attempt can begin or end, and none can say that a point is there, until this is decided.
            cursor = await connection.execute(
                f"SELECT {COLUMNS} FROM collections WHERE id = %s FOR NO KEY UPDATE",  # noqa: S608 (constants)
                (collection,),
            )
            row = await cursor.fetchone()
            if row is None:
                raise Conflict("The collection is gone.")
            old = stamp_of(row)
            if old != target.stamp:
                unready = await self._unready(connection, collection, target, most=len(left) + 1)
                leaving = [refusal for refusal in left if (refusal.document.id, refusal.generation) in unready]
                if len(leaving) < len(unready):
                    return False
                await leave_out(connection, leaving, old.embedder)
                await self._switch(connection, collection, target)
                await tell(connection, collection, leaving)
                await connection.execute(
                    "UPDATE rebuilds SET total = greatest(total - %s, 0) WHERE collection_id = %s",
                    (len(leaving), collection),
                )
            await self._take_up(connection, collection)
            await connection.execute(
                "UPDATE rebuilds SET status = 'clearing', done = total, at_document = NULL, deaths = 0, "
                "old_embedder = %s, old_embedder_revision = %s, old_dimension = %s, updated_at = clock_timestamp() "
                "WHERE collection_id = %s AND status = 'running'",
                (*old.embedder, collection),
            )
        return True

    async def _unready(
        self, connection: Connection, collection: CollectionId, target: Making, *, most: int
    ) -> set[tuple[DocumentId, int]]:
        """Documents that are not made anew, and the generations of them that search sees; they stay as they are."""
        cursor = await connection.execute(
            f"SELECT d.id, d.live_generation FROM documents d WHERE {VISIBLE} AND NOT {READY} "  # noqa: S608 (constants)
            "LIMIT %(most)s FOR UPDATE",
            _values(collection, target) | {"most": most},
        )
        return {(DocumentId(row["id"]), row["live_generation"]) for row in await cursor.fetchall()}

    async def _switch(self, connection: Connection, collection: CollectionId, target: Making) -> None:
        cursor = await connection.execute(
            "SELECT d.id, h.rebuild, "
            "h.rebuild AND d.status <> 'deleting' AND d.live_generation IS NOT DISTINCT FROM h.generation AS ready "
            "FROM documents d JOIN document_drafts h ON h.document_id = d.id WHERE d.collection_id = %s",
            (collection,),
        )
        rows = await cursor.fetchall()
        # What is being made under the old stamp begins anew, and what is left of documents that have changed goes.
        for rebuild in (False, True):
            stale = [row["id"] for row in rows if row["rebuild"] is rebuild and not row["ready"]]
            await discard(connection, stale, rebuild=rebuild)
        await publish(connection, [row["id"] for row in rows if row["ready"]], rebuild=True)
        await connection.execute(
            f"UPDATE collections SET ({COLUMNS}, chunker_options) = "  # noqa: S608 (constants)
            "(%s, %s, %s, %s, %s, %s) WHERE id = %s",
            (*target.stamp.values, Jsonb(target.chunker.model_dump(mode="json")), collection),
        )

    async def _take_up(self, connection: Connection, collection: CollectionId) -> None:
        """Give a job to the documents that were refused because of the old stamp."""
        cursor = await connection.execute(
            "UPDATE documents SET status = 'queued', error = NULL, awaits_reembedding = false, "
            "updated_at = clock_timestamp() WHERE collection_id = %s AND awaits_reembedding AND status = 'failed' "
            "RETURNING id",
            (collection,),
        )
        for row in await cursor.fetchall():
            job = await self.ingest(connection, DocumentId(row["id"]))
            await connection.execute("UPDATE documents SET job_id = %s WHERE id = %s", (job, row["id"]))

    async def _clear(self, collection: CollectionId, row: DictRow) -> None:
        """Remove the points of the old embedder: with the whole index when no collection uses it any more."""
        old, new = embedder_of(row, "old_"), embedder_of(row)
        running = self.builder.embedders.running
        if old not in (new, running) and not await self._in_use(row):
            await self.builder.indexes.drop(old)
            async with self.pool.connection() as connection:
                await connection.execute(
                    "DELETE FROM point_removals WHERE (embedder, embedder_revision, dimension) = (%s, %s, %s)", old
                )
        await self.builder.removals.sweep_all()
        async with self.pool.connection() as connection:
            await connection.execute(
                "UPDATE rebuilds SET status = 'done', updated_at = clock_timestamp() WHERE collection_id = %s",
                (collection,),
            )

    async def _in_use(self, row: DictRow) -> bool:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT FROM collections WHERE (embedder, embedder_revision, dimension) = (%(e)s, %(r)s, %(d)s) "
                "UNION ALL SELECT FROM rebuilds WHERE status = 'running' "
                "AND (embedder, embedder_revision, dimension) = (%(e)s, %(r)s, %(d)s) LIMIT 1",
                {"e": row["old_embedder"], "r": row["old_embedder_revision"], "d": row["old_dimension"]},
            )
            return cursor.rowcount > 0


def _values(collection: CollectionId, target: Making) -> dict[str, object]:
    embedder = target.stamp.embedder
    return {
        "collection": collection,
        "embedder": embedder.name,
        "revision": embedder.revision,
        "dimension": embedder.dimension,
        "chunker": target.stamp.chunker,
        "lexical": target.stamp.lexical,
    }
