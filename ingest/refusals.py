"""Documents that a change of their collection cannot make anew: told, and left out of search when people ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from core.domain import CollectionId, Document, EmbedderStamp
from core.errors import Conflict
from ingest.document import Connection
from ingest.rebuild import Wanted
from ingest.stamp import quoted

MOST_TOLD = 1000
"""Refused documents that a change names."""
LEAVE_OUT = (
    (
        "INSERT INTO point_removals (document_id, tenant_id, embedder, embedder_revision, dimension, chunk_id) "
        "SELECT d.id, d.tenant_id, %(embedder)s, %(revision)s, %(dimension)s, c.id "
        "FROM chunks c JOIN documents d ON d.id = c.document_id WHERE d.id = %(id)s ON CONFLICT DO NOTHING"
    ),
    "DELETE FROM chunks WHERE document_id = %(id)s",
    "DELETE FROM document_texts WHERE document_id = %(id)s",
    (
        "INSERT INTO blob_removals (key, document_id) SELECT live_blob, id FROM documents "
        "WHERE id = %(id)s AND live_blob <> blob ON CONFLICT DO NOTHING"
    ),
    (
        # A newer version that is on its way goes on.
        "UPDATE documents SET live_generation = NULL, live_version = NULL, live_blob = NULL, live_media_type = NULL, "
        "live_name = NULL, live_size = NULL, live_metadata = NULL, chunks = 0, pages = NULL, warnings = '{}', "
        "error = CASE WHEN status IN ('indexed', 'failed') THEN %(reason)s ELSE error END, "
        "done = CASE WHEN status = 'indexed' THEN 0 ELSE done END, "
        "total = CASE WHEN status = 'indexed' THEN 0 ELSE total END, "
        "status = CASE WHEN status = 'indexed' THEN 'failed' ELSE status END, updated_at = clock_timestamp() "
        "WHERE id = %(id)s"
    ),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document whose live version cannot be made anew, and why."""

    document: Document
    reason: str

    @property
    def generation(self) -> int | None:
        """That of the live version; a later one may be better."""
        return self.document.live_generation

    @property
    def name(self) -> str:
        """The name under which search shows it."""
        return self.document.live_name or self.document.name

    def is_among(self, wanted: Wanted) -> bool:
        """Whether people asked for the document to be left out."""
        return self.document.id in wanted.leave_out


async def tell(connection: Connection, collection: CollectionId, refusals: Sequence[Refusal]) -> None:
    """Write down, for people to see, which documents a change has refused."""
    told = [
        {"document_id": str(refusal.document.id), "name": refusal.name, "error": refusal.reason}
        for refusal in refusals[:MOST_TOLD]
    ]
    await connection.execute("UPDATE rebuilds SET refused = %s WHERE collection_id = %s", (Jsonb(told), collection))


async def leave_out(connection: Connection, refusals: Sequence[Refusal], old: EmbedderStamp) -> None:
    """Take documents out of search; in the transaction that changes their collection over, with their rows held."""
    for refusal in refusals:
        values = {
            "id": refusal.document.id,
            "embedder": old.name,
            "revision": old.revision,
            "dimension": old.dimension,
            "reason": f"{refusal.reason} It was left out when its collection was made anew: search does not find it. "
            "Upload it again, or retry it when what is wrong has been put right.",
        }
        for statement in LEAVE_OUT:
            await connection.execute(statement, values)


def conflict(refusals: Sequence[Refusal], wanted: Wanted) -> Conflict:
    """Why the collection stays as it was, with the command that does without these documents."""
    first = refusals[0]
    return Conflict(
        f"{len(refusals)} of the documents cannot be made anew, the first of them {first.name!r} "
        f"({first.document.id}): {first.reason} Search goes on as before. Replace or delete them, then ask again. "
        f"Or do without them: `{command(first.document.collection_name, wanted)}` leaves those that "
        "`rebuild.refused` of the collection names out of search, failed with their reasons."
    )


def command(name: str, wanted: Wanted) -> str:
    """The command that asks for the same without the documents that were refused."""
    options = {"embedder": wanted.embedder, "revision": wanted.revision}
    parts = [f"--{option} {quoted(value)}" for option, value in options.items() if value is not None]
    if wanted.chunker is not None:
        parts.append(f"--chunker {quoted(wanted.chunker.model_dump_json())}")
    return " ".join(["python -m ingest reembed", quoted(name), *parts, "--leave-out-refused"])
