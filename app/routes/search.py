"""Search over the documents."""

from __future__ import annotations

from fastapi import APIRouter

from app.auth import Caller, Using
from app.filters import read_filter
from app.limits import check_text
from app.routes.documents import wire_chunk
from app.schemas import HitOut, PassageOut, ScoresOut, SearchRequest, SearchResponse
from core.domain import Hit, Scope
from tools.search import SearchOptions

router = APIRouter(tags=["search"])


@router.post("/search")
async def search(body: SearchRequest, principal: Caller, services: Using) -> SearchResponse:
    """The best passages for a query, with every score and the time of each stage."""
    query = check_text(body.query, "The query", services.settings.api.max_question_chars)
    collections = None
    if body.collections is not None:
        collections = await services.collections.ids(principal.tenant, body.collections)
    scope = Scope(tenant=principal.tenant, collections=collections)
    options = SearchOptions(
        mode=body.mode,
        rerank=body.rerank,
        filter=None if body.filter is None else await read_filter(body.filter, scope, services.collections),
        threshold=body.threshold,
        distinct=body.distinct,
        diversity=body.diversity,
        expand=body.expand,
        expand_tokens=body.expand_tokens,
    )
    result = await services.search(query, scope=scope, limit=body.limit, options=options)
    return SearchResponse(hits=[wire(hit) for hit in result.hits], timings=dict(result.timings))


def wire(hit: Hit) -> HitOut:
    """A hit as it goes over the wire."""
    wider = hit.passage
    return HitOut(
        document_id=hit.chunk.document,
        document_name=hit.document_name,
        collection_id=hit.collection,
        chunk=wire_chunk(hit.chunk),
        scores=ScoresOut.model_validate(hit.scores, from_attributes=True),
        passage=wider
        and PassageOut(text=wider.text, start=wider.start, end=wider.end, chunks=[chunk.id for chunk in wider.chunks]),
    )
