"""Documents: list, read, retry, cancel, delete, and the stream of their progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.auth import Caller, Using, Writer
from app.cursor import read_moment, write_cursor
from app.schemas import (
    ChunkList,
    ChunkOut,
    DocumentList,
    DocumentOut,
    Status,
    TextOut,
)
from app.sse import event_stream, sse
from core.domain import Chunk, Document, DocumentId
from models.embedders import stamp_of

router = APIRouter(tags=["documents"])

MAX_TEXT = 20_000
WATCH_S = 0.5
OVERLAP = timedelta(seconds=2)
"""How far back each look for changes reaches: a transaction may become visible after a later one."""


@router.get("/documents")
async def list_documents(
    principal: Caller,
    services: Using,
    collection: str | None = None,
    status: Status | None = None,
    name: Annotated[str | None, Query(description="part of the name")] = None,
    source: Annotated[str | None, Query(description="the beginning of the source_id")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> DocumentList:
    """Documents, newest first."""
    moment, last = read_moment(cursor) if cursor else (None, None)
    after = None if moment is None or last is None else (moment, DocumentId(last))
    documents = await services.documents.select(
        principal.tenant,
        collection=collection,
        status=status,
        name=name,
        source=source,
        after=after,
        limit=limit + 1,
    )
    more = len(documents) > limit
    documents = documents[:limit]
    return DocumentList(
        documents=[wire(document) for document in documents],
        next_cursor=write_cursor(documents[-1].created_at, documents[-1].id) if more else None,
    )


@router.get("/documents/events", response_class=StreamingResponse)
async def watch_documents(request: Request, principal: Caller, services: Using) -> Response:
    """A stream of ``document`` events: every document that changes from now on, as it then is."""

    async def events() -> AsyncGenerator[bytes]:
        seen: dict[UUID, datetime] = {}
        moment = datetime.now(UTC)
        start = moment
        while True:
            for document in await services.documents.changed_since(principal.tenant, max(start, moment - OVERLAP)):
                if seen.get(document.id) != document.updated_at:
                    seen[document.id] = document.updated_at
                    moment = max(moment, document.updated_at)
                    yield sse("document", wire(document).model_dump_json())
            await asyncio.sleep(WATCH_S)

    return event_stream(request, events())


@router.get("/documents/{document_id}")
async def get_document(document_id: UUID, principal: Caller, services: Using) -> DocumentOut:
    """One document with its status and progress."""
    return wire(await services.documents.get(principal.tenant, DocumentId(document_id)))


@router.delete("/documents/{document_id}", status_code=204)
async def delete_document(document_id: UUID, principal: Writer, services: Using) -> Response:
    """Delete a document: no search finds it from now on, and a job erases what is left of it."""
    document = DocumentId(document_id)
    async with services.pool.connection() as connection, connection.transaction():
        await services.documents.start_deletion(connection, principal.tenant, document)
        await services.documents.attach_job(connection, document, await services.jobs.erase(connection, document))
    return Response(status_code=204)


@router.post("/documents/{document_id}/retry", status_code=202)
async def retry_document(document_id: UUID, principal: Writer, services: Using) -> DocumentOut:
    """Try a failed document again."""
    document = DocumentId(document_id)
    found = await services.documents.get(principal.tenant, document)
    collection = await services.collections.get(principal.tenant, found.collection_name)
    collection.check(stamp_of(services.embedder))
    async with services.pool.connection() as connection, connection.transaction():
        await services.documents.requeue(connection, principal.tenant, document)
        await services.documents.attach_job(connection, document, await services.jobs.ingest(connection, document))
    return wire(await services.documents.get(principal.tenant, document))


@router.post("/documents/{document_id}/cancel")
async def cancel_document(document_id: UUID, principal: Writer, services: Using) -> DocumentOut:
    """Stop the ingestion of a document that waits or is being read; it has failed then, and can be retried."""
    document = DocumentId(document_id)
    await services.documents.get(principal.tenant, document)
    async with services.pool.connection() as connection, connection.transaction():
        await services.jobs.cancel(connection, principal.tenant, document, by=principal.name)
    return wire(await services.documents.get(principal.tenant, document))


@router.get("/documents/{document_id}/chunks")
async def list_chunks(
    document_id: UUID,
    principal: Caller,
    services: Using,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[int, Query(ge=0, description="ordinal of the first chunk")] = 0,
) -> ChunkList:
    """The chunks of a document in reading order."""
    chunks = await services.documents.chunks(principal.tenant, DocumentId(document_id), first=cursor, limit=limit + 1)
    following = str(chunks[limit].ordinal) if len(chunks) > limit else None
    return ChunkList(chunks=[wire_chunk(chunk) for chunk in chunks[:limit]], next_cursor=following)


@router.get("/documents/{document_id}/text")
async def read_text(
    document_id: UUID,
    principal: Caller,
    services: Using,
    start: Annotated[int, Query(ge=0, le=1 << 30)] = 0,
    end: Annotated[int | None, Query(ge=0, le=1 << 30)] = None,
) -> TextOut:
    """A stretch of the document's text, at most 20,000 characters of it."""
    stop = start + MAX_TEXT if end is None else min(end, start + MAX_TEXT)
    text, length = await services.documents.text(principal.tenant, DocumentId(document_id), start, stop)
    return TextOut(text=text, start=start, end=start + len(text), length=length)


@router.get("/documents/{document_id}/content", response_class=StreamingResponse)
async def read_content(
    document_id: UUID,
    principal: Caller,
    services: Using,
    newest: Annotated[
        bool, Query(description="the bytes that were taken in last, whatever search answers from")
    ] = False,
) -> Response:
    """The original file, byte for byte: that which search answers from, so that a citation opens on its page."""
    document = await services.documents.get(principal.tenant, DocumentId(document_id))
    blob, media_type, name = document.blob, document.media_type, document.name
    if not newest and document.live_blob is not None and document.live_media_type is not None:
        blob, media_type, name = document.live_blob, document.live_media_type, document.live_name or name
    pieces = services.blobs.read(blob)
    # The first piece is read before the status is sent, so that a missing file is a 404 and not a broken stream.
    first = await anext(pieces, b"")

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    headers = {
        # Never shown inline: an HTML file that somebody uploaded would run in our origin.
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
        "X-Content-Type-Options": "nosniff",
    }
    if blob == document.blob:
        headers["Content-Length"] = str(document.size)
    return StreamingResponse(body(), media_type=media_type, headers=headers)


def wire(document: Document) -> DocumentOut:
    """A document as it goes over the wire."""
    names = DocumentOut.model_fields.keys() - {"collection"}
    return DocumentOut(collection=document.collection_name, **{name: getattr(document, name) for name in names})


def wire_chunk(chunk: Chunk) -> ChunkOut:
    """A chunk as it goes over the wire."""
    return ChunkOut(
        id=chunk.id,
        ordinal=chunk.ordinal,
        text=chunk.text,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        section=list(chunk.section),
    )
