"""Compares PostgreSQL with the vector indexes and the files, and puts right what can be.

PostgreSQL decides what exists. What the indexes hold is written into a temporary table of their points; what differs is
looked at once more, document by document under the document's lock, because ingestions go on meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from core.database import Pool, chunk_of
from core.domain import Chunk, CollectionId, DocumentId, EmbedderStamp, Scope, TenantId
from core.index import Point, PointKey, VectorIndex
from ingest.builder import BATCH, Builder
from ingest.drafts import Connection
from ingest.stamp import embedder_of
from ingest.sweep import AGE, lost_blobs
from models.embedders import StampGone

logger = logging.getLogger(__name__)

STUCK = timedelta(hours=1)
"""A deletion that is older than this does not end by itself."""
SHOWN = 20
"""Documents that a report names."""

SUSPECT = (
    # Points that no chunk and no draft has, and those that say something else than the chunk.
    "SELECT s.tenant, s.document FROM seen s WHERE NOT EXISTS ("
    "  SELECT FROM chunks c JOIN documents d ON d.id = c.document_id JOIN collections co ON co.id = d.collection_id "
    "  WHERE c.id = s.id AND d.id = s.document AND d.tenant_id = s.tenant AND d.collection_id = s.collection "
    "  AND c.generation = s.generation AND (co.embedder, co.embedder_revision, co.dimension) = (%(e)s, %(r)s, %(d)s)"
    ") AND NOT EXISTS ("
    "  SELECT FROM chunk_drafts f JOIN document_drafts h USING (document_id, rebuild) "
    "  WHERE f.document_id = s.document AND f.id = s.id "
    "  AND (h.embedder, h.embedder_revision, h.dimension) = (%(e)s, %(r)s, %(d)s)"
    ") UNION "
    # Chunks that have no point.
    "SELECT d.tenant_id, d.id FROM chunks c JOIN documents d ON d.id = c.document_id "
    "JOIN collections co ON co.id = d.collection_id "
    "WHERE (co.embedder, co.embedder_revision, co.dimension) = (%(e)s, %(r)s, %(d)s) "
    "AND d.live_generation IS NOT NULL AND d.status <> 'deleting' "
    "AND NOT EXISTS (SELECT FROM seen s WHERE s.id = c.id AND s.document = d.id)"
)


@dataclass(kw_only=True)
class Findings:
    """What did not agree. Counts of points and files; ``documents`` are the first that were concerned: id, tenant.

    ``lost_embedders`` counts those that points were to be made with, and that cannot be loaded any more.
    """

    missing_points: int = 0
    orphan_points: int = 0
    wrong_points: int = 0
    stuck_deletions: int = 0
    pending_removals: int = 0
    lost_files: int = 0
    missing_files: int = 0
    lost_embedders: int = 0
    documents: dict[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether everything agrees."""
        return not any(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """All but the documents."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "documents"}

    def note(self, tenant: TenantId, document: DocumentId) -> None:
        """Name a document."""
        if len(self.documents) < SHOWN:
            self.documents[str(document)] = str(tenant)

    def values(self) -> dict[str, Any]:
        """As JSON has them."""
        return asdict(self)


class Difference(NamedTuple):
    """How the points of a document differ from its rows in one index."""

    orphan: list[PointKey]
    wrong: list[Chunk]
    missing: list[Chunk]


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Looks for what does not agree; with ``repair`` it is put right."""

    pool: Pool
    builder: Builder

    async def run(self, *, repair: bool, age: timedelta = AGE) -> Findings:
        """Compare everything once.

        Args:
            repair: whether to put right what is found; what has no file any more can only be told.
            age: how old bytes without a row must be.

        Raises:
            Unavailable: a part does not answer.
        """
        findings = Findings()
        findings.stuck_deletions, findings.pending_removals = await self._stuck()
        if repair:
            await self.builder.removals.sweep_all()
        for embedder in await self._embedders():
            try:
                await self._compare(embedder, findings, repair=repair)
            except StampGone as error:
                logger.warning("points cannot be put right: %s", error)
                findings.lost_embedders += 1
        await self._files(findings, repair=repair, age=age)
        return findings

    async def _embedders(self) -> list[EmbedderStamp]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT embedder, embedder_revision, dimension FROM collections UNION "
                "SELECT embedder, embedder_revision, dimension FROM document_drafts UNION "
                "SELECT embedder, embedder_revision, dimension FROM rebuilds WHERE status = 'running' "
                "AND embedder IS NOT NULL ORDER BY 1, 2, 3"
            )
            return [embedder_of(row) for row in await cursor.fetchall()]

    async def _stuck(self) -> tuple[int, int]:
        before = datetime.now(UTC) - STUCK
        async with self.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT (SELECT count(*) FROM documents "
                "  WHERE status = 'deleting' AND updated_at < %(before)s) AS stuck, "
                "(SELECT count(*) FROM point_removals WHERE created_at < %(before)s) "
                "+ (SELECT count(*) FROM blob_removals WHERE created_at < %(before)s) AS pending",
                {"before": before},
            )
            row = await cursor.fetchone()
        return (0, 0) if row is None else (int(row["stuck"]), int(row["pending"]))

    async def _compare(self, embedder: EmbedderStamp, findings: Findings, *, repair: bool) -> None:
        index = await self.builder.indexes.find(embedder)
        for tenant, document in await self._suspects(embedder, index):
            async with self.pool.connection() as connection, connection.transaction():
                difference = await self._differ(connection, tenant, document, embedder, index)
                if repair and index is not None and difference.orphan:
                    await index.delete(tenant, document, only=[key.id for key in difference.orphan])
            findings.orphan_points += len(difference.orphan)
            findings.wrong_points += len(difference.wrong)
            findings.missing_points += len(difference.missing)
            if any(difference):
                findings.note(tenant, document)
            if repair and (difference.wrong or difference.missing):
                await self._restore(document, embedder, [*difference.wrong, *difference.missing])

    async def _suspects(self, embedder: EmbedderStamp, index: VectorIndex | None) -> list[tuple[TenantId, DocumentId]]:
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute(
                "CREATE TEMP TABLE seen (id uuid, tenant uuid, collection uuid, document uuid, generation int) "
                "ON COMMIT DROP"
            )
            if index is not None:
                async with connection.cursor() as cursor, cursor.copy("COPY seen FROM STDIN") as copy:
                    async for page in index.scan(None):
                        for key in page:
                            await copy.write_row(key)
            await connection.execute("CREATE INDEX ON seen (id)")
            await connection.execute("ANALYZE seen")
            found = await connection.execute(
                SUSPECT, {"e": embedder.name, "r": embedder.revision, "d": embedder.dimension}
            )
            return [(TenantId(row["tenant"]), DocumentId(row["document"])) for row in await found.fetchall()]

    async def _differ(
        self,
        connection: Connection,
        tenant: TenantId,
        document: DocumentId,
        embedder: EmbedderStamp,
        index: VectorIndex | None,
    ) -> Difference:
        """Exactly, while nothing of the document can change; a document that is being deleted is left to its job."""
        cursor = await connection.execute(
            "SELECT d.status, d.tenant_id, d.collection_id, d.live_generation IS NOT NULL "
            "AND (co.embedder, co.embedder_revision, co.dimension) = (%s, %s, %s) AS here "
            "FROM documents d JOIN collections co ON co.id = d.collection_id WHERE d.id = %s FOR UPDATE OF d",
            (*embedder, document),
        )
        row = await cursor.fetchone()
        if row is not None and row["status"] == "deleting":
            return Difference([], [], [])
        points: dict[Any, PointKey] = {}
        if index is not None:
            async for page in index.scan(Scope(tenant=tenant), document):
                points |= {key.id: key for key in page}
        chunks, drafts = await self._rows(connection, document, embedder, here=row is not None and row["here"])
        if row is not None and row["tenant_id"] != tenant:
            chunks = {}
        orphan = [key for id_, key in points.items() if id_ not in chunks and id_ not in drafts]
        collection = None if row is None else row["collection_id"]
        wrong = [
            chunk
            for id_, (chunk, generation) in chunks.items()
            if id_ in points and (points[id_].collection, points[id_].generation) != (collection, generation)
        ]
        missing = [chunk for id_, (chunk, _) in chunks.items() if id_ not in points]
        return Difference(orphan, wrong, missing)

    async def _rows(
        self, connection: Connection, document: DocumentId, embedder: EmbedderStamp, *, here: bool
    ) -> tuple[dict[Any, tuple[Chunk, int]], set[Any]]:
        """The chunks that have to have a point in the index, and the drafts that may."""
        chunks: dict[Any, tuple[Chunk, int]] = {}
        if here:
            cursor = await connection.execute("SELECT * FROM chunks WHERE document_id = %s", (document,))
            chunks = {row["id"]: (chunk_of(row), row["generation"]) for row in await cursor.fetchall()}
        cursor = await connection.execute(
            "SELECT f.id FROM chunk_drafts f JOIN document_drafts h USING (document_id, rebuild) "
            "WHERE f.document_id = %s AND (h.embedder, h.embedder_revision, h.dimension) = (%s, %s, %s)",
            (document, *embedder),
        )
        return chunks, {row["id"] for row in await cursor.fetchall()}

    async def _restore(self, document: DocumentId, embedder: EmbedderStamp, chunks: Sequence[Chunk]) -> None:
        """Store the points of chunks anew, from the text that PostgreSQL has."""
        model = await self.builder.embedders.get(embedder)
        index = await self.builder.indexes.open(embedder)
        for start in range(0, len(chunks), BATCH):
            batch = chunks[start : start + BATCH]
            texts = [chunk.embedded_text for chunk in batch]
            vectors = dict(zip([chunk.id for chunk in batch], await model.embed_documents(texts), strict=True))
            lexical = dict(zip(vectors, self.builder.lexical.encode_documents(texts), strict=True))
            async with self.pool.connection() as connection, connection.transaction():
                cursor = await connection.execute(
                    "SELECT d.tenant_id, d.collection_id FROM documents d "
                    "JOIN collections co ON co.id = d.collection_id WHERE d.id = %s AND d.status <> 'deleting' "
                    "AND (co.embedder, co.embedder_revision, co.dimension) = (%s, %s, %s) FOR UPDATE OF d",
                    (document, *embedder),
                )
                owner = await cursor.fetchone()
                cursor = await connection.execute(
                    "SELECT id, generation FROM chunks WHERE id = ANY(%s)", (list(vectors),)
                )
                if owner is None:
                    return
                await index.upsert(
                    [
                        Point(
                            id=row["id"],
                            tenant=TenantId(owner["tenant_id"]),
                            collection=CollectionId(owner["collection_id"]),
                            document=document,
                            generation=row["generation"],
                            dense=vectors[row["id"]],
                            lexical=lexical[row["id"]],
                        )
                        for row in await cursor.fetchall()
                    ]
                )

    async def _files(self, findings: Findings, *, repair: bool, age: timedelta) -> None:
        blobs = self.builder.blobs
        lost = await lost_blobs(self.pool, blobs, age=age)
        findings.lost_files = len(lost)
        if repair:
            for key in lost:
                await blobs.delete(key)
        there = set(await blobs.keys(before=datetime.now(UTC) + STUCK))
        async with self.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, tenant_id, blob FROM documents WHERE status <> 'deleting' AND updated_at < %s",
                (datetime.now(UTC) - age,),
            )
            async for row in cursor:
                if row["blob"] not in there:
                    findings.missing_files += 1
                    findings.note(TenantId(row["tenant_id"]), DocumentId(row["id"]))
