"""Search over the documents."""

from __future__ import annotations

from fastapi import APIRouter

from app.auth import Caller, Using
from app.limits import check_text
from app.routes.documents import wire_chunk
from app.schemas import HitOut, ScoresOut, SearchRequest, SearchResponse
from core.domain import Scope
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
    options = SearchOptions(mode=body.mode)
    result = await services.search(query, scope=scope, limit=body.limit, options=options)
    hits = [
        HitOut(
            document_id=hit.chunk.document,
            document_name=hit.document_name,
            collection_id=hit.collection,
            chunk=wire_chunk(hit.chunk),
            scores=ScoresOut(fused=hit.scores.fused, dense=hit.scores.dense, lexical=hit.scores.lexical),
        )
        for hit in result.hits
    ]
    return SearchResponse(hits=hits, timings=dict(result.timings))
