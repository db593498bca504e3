"""What goes over the wire on Ragstone's own routes; the user interface imports this module and no other."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from core.domain import FieldKind
from core.settings import ChunkStrategy
from ingest.chunking.spec import ChunkerSpec
from tools.expansion import EXPAND_TOKENS

CollectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$")]
FieldName = Annotated[str, StringConstraints(pattern=r"^[^\x00$][^\x00]{0,62}$")]
MetadataSchema = dict[FieldName, FieldKind]
SCHEMA_FIELD = Field(
    None,
    max_length=100,
    description="the metadata fields that documents may have and their kinds; null: any metadata",
    examples=[{"author": "string", "year": "number", "published": "date", "topics": "tags"}],
)
Status = Literal["queued", "loading", "chunking", "embedding", "indexed", "failed", "deleting"]
Strategy = ChunkStrategy
SourceType = Literal["web", "sitemap", "folder", "prefix"]
PartStatus = Literal["ready", "starting", "failed"]
JobState = Literal["waiting", "running", "failed", "cancelled"]
JobKind = Literal["ingest", "erase"]


class Problem(BaseModel):
    """An error as ``application/problem+json`` (RFC 9457); ``message`` repeats ``detail`` for the SDKs."""

    type: str
    title: str
    status: int
    detail: str
    message: str
    instance: str


class DocumentOut(BaseModel):
    """A document and where it is on the write path: ``done`` of ``total`` chunks are embedded."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    collection: str
    name: str
    media_type: str
    size: int = Field(description="bytes")
    sha256: str
    metadata: dict[str, Any]
    status: Status
    done: int
    total: int
    error: str | None = Field(description="why it failed and what to do")
    warnings: list[str] = Field(default_factory=list, description="what could not be read of it, such as pages")
    pages: int | None
    chunks: int
    source_id: str | None = Field(None, description="where it comes from; other bytes of it are a new version")
    version: int = Field(1, description="of the bytes that were taken in last")
    live_version: int | None = Field(None, description="the version that search finds; null when there is none yet")
    live_name: str | None = Field(None, description="its name: `name` is that of the newest version, as `metadata` is")
    live_metadata: dict[str, Any] | None = Field(None, description="its metadata, by which search filters")
    created_at: datetime
    updated_at: datetime


class UploadedDocument(DocumentOut):
    """A document as the upload answers it; ``unchanged`` when the same bytes were there already."""

    job_id: int | None
    unchanged: bool


class DocumentsAccepted(BaseModel):
    """The answer to an upload, in the order of the files."""

    documents: list[UploadedDocument]


class DocumentList(BaseModel):
    """A page of documents, newest first; ``next_cursor`` fetches the next one."""

    documents: list[DocumentOut]
    next_cursor: str | None


class ChunkOut(BaseModel):
    """A passage: ``text`` is ``start:end`` (characters) of the document's text."""

    id: UUID
    ordinal: int
    text: str
    start: int
    end: int
    page: int | None
    section: list[str]


class ChunkList(BaseModel):
    """A page of a document's chunks in reading order."""

    chunks: list[ChunkOut]
    next_cursor: str | None


class TextOut(BaseModel):
    """A stretch ``start:end`` of a document's text, which is ``length`` characters long in all."""

    text: str
    start: int
    end: int
    length: int


class RefusedOut(BaseModel):
    """A document that could not be made anew, and why."""

    document_id: UUID
    name: str
    error: str


class RebuildOut(BaseModel):
    """A change of a collection's stamp: ``done`` of ``total`` documents are made anew; till then search has the old."""

    model_config = ConfigDict(from_attributes=True)

    status: Literal["running", "clearing", "done", "failed"] = Field(description="clearing: old points are removed")
    embedder: str | None
    chunker: str | None
    done: int
    total: int
    error: str | None
    refused: list[RefusedOut] = Field(
        description="the first 1,000 documents that could not be made anew: they keep the collection as it was, or "
        "were left out as `leave_out` asked for"
    )
    started_at: datetime
    updated_at: datetime


class CollectionOut(BaseModel):
    """A collection, stamped with what its chunks were made and embedded with."""

    id: UUID
    name: str
    embedder: str
    embedder_revision: str
    dimension: int
    chunker: ChunkerSpec
    chunker_stamp: str = Field(description="changes whenever equal text may give other chunks")
    lexical: str = Field(description="how the words of its passages were encoded for search")
    metadata_schema: MetadataSchema | None
    documents: int
    paused_at: datetime | None = Field(description="since when ingestions into it wait")
    rebuild: RebuildOut | None = Field(description="the newest change of what it is made with")
    created_at: datetime


class CollectionList(BaseModel):
    """A page of the collections that the key may read, by name; ``next_cursor`` fetches the next one."""

    collections: list[CollectionOut]
    next_cursor: str | None


class JobOut(BaseModel):
    """A job that has not succeeded, and the document that it is about; ``error`` is why its last attempt ended."""

    id: int
    kind: JobKind
    status: JobState
    paused: bool = Field(description="whether it waits because its collection is paused")
    attempts: int = Field(description="attempts that have ended")
    next_attempt_at: datetime | None = Field(description="a waiting job is not tried before")
    document_id: UUID
    document_name: str
    collection: str
    error: str | None
    created_at: datetime
    updated_at: datetime


class JobPage(BaseModel):
    """A page of jobs, newest first; ``next_cursor`` fetches the next one."""

    jobs: list[JobOut]
    next_cursor: str | None


class JobsRetried(BaseModel):
    """How many jobs are tried again."""

    retried: int


class SourceIn(BaseModel):
    """A place to take documents from; ``include`` and ``exclude`` are patterns such as ``guide/**`` or ``*.pdf``."""

    model_config = ConfigDict(extra="forbid")

    kind: SourceType
    address: str = Field(min_length=1, max_length=2000, description="https://…, s3://bucket/folder, /srv/folder")
    collection: str = "default"
    metadata: dict[str, Any] = Field(default_factory=dict, description="kept with each of its documents")
    include: list[str] = Field(default_factory=list, max_length=100)
    exclude: list[str] = Field(default_factory=list, max_length=100)
    mirror: bool = Field(False, description="delete the documents of what is gone")
    other_hosts: bool = Field(False, description="of a sitemap, also take pages of other hosts")
    interval_s: int | None = Field(None, ge=60, le=31_536_000, description="look again after so many seconds")


class SourceOut(BaseModel):
    """A source: ``counts`` is what its last look did, ``documents`` what came of it by status."""

    id: UUID
    kind: SourceType
    address: str
    collection: str
    metadata: dict[str, Any]
    include: list[str]
    exclude: list[str]
    mirror: bool
    other_hosts: bool
    interval_s: int | None
    status: Literal["idle", "queued", "syncing", "failed"]
    error: str | None = Field(description="why its last look ended, and what to do")
    counts: dict[str, int]
    documents: dict[str, int]
    synced_at: datetime | None = Field(description="when the last look succeeded")
    tried_at: datetime | None = Field(description="when the last look ended")
    created_at: datetime


class SourceList(BaseModel):
    """A page of the sources that the key may read, newest first; ``next_cursor`` fetches the next one."""

    sources: list[SourceOut]
    next_cursor: str | None


class FailureOut(BaseModel):
    """Something that a source offers and that could not be taken."""

    path: str
    error: str


class SourceDetail(SourceOut):
    """A source with what could not be taken of it, at most 100 of them."""

    failures: list[FailureOut]


class StepOut(BaseModel):
    """What would be done about one thing that a source offers."""

    action: Literal["add", "change", "check", "unchanged", "remove", "skip"]
    path: str
    size: int | None
    reason: str


class PlanOut(BaseModel):
    """What a look would do: how many steps of each kind, and the first 1,000 that change something or are skipped."""

    counts: dict[str, int]
    steps: list[StepOut]


class SearchRequest(BaseModel):
    """A search; without ``collections`` all that the key may read. What is left out is off."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"query": "When is the price due?"},
                {
                    "query": "When is the price due?",
                    "collections": ["contracts"],
                    "filter": {"year": {"$gte": 2020, "$lt": 2024}, "topics": {"$in": ["law", "sales"]}},
                    "limit": 5,
                    "distinct": True,
                    "expand": "parent",
                },
            ]
        },
    )

    query: str = Field(min_length=1)
    collections: list[CollectionName] | None = None
    filter: dict[str, Any] | None = Field(
        None,
        description="which documents may be found: metadata fields and operators ($eq $ne $gt $gte $lt $lte $in $nin "
        "$all $exists), joined with $and, $or, $not",
        examples=[{"$or": [{"author": "Ann"}, {"published": {"$gte": "2024-01-01"}}]}],
    )
    limit: int = Field(10, ge=1, le=100)
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    rerank: bool | None = Field(None, description="order the best hits anew by the reranker; null: as it is set")
    threshold: float | None = Field(
        None, ge=-1, le=1, description="least cosine to the query; has no effect in mode lexical"
    )
    distinct: bool = Field(False, description="leave out hits that a better one says already")
    diversity: float | None = Field(
        None, ge=0, le=1, description="maximal marginal relevance: 1 asks for relevance only, 0 for difference only"
    )
    expand: Literal["none", "neighbours", "parent"] = Field(
        "none", description="also give the text around each hit: its neighbours, or its section"
    )
    expand_tokens: int = Field(EXPAND_TOKENS, ge=1, le=4000, description="most tokens of a widened passage")


class ScoresOut(BaseModel):
    """Fused score, cosine, BM25 and the reranker's score; null where that side did not find or read the chunk."""

    fused: float
    dense: float | None
    lexical: float | None
    rerank: float | None


class PassageOut(BaseModel):
    """A chunk with what lies around it: ``text`` is ``start:end`` of the document's text, ``chunks`` lie in it."""

    text: str
    start: int
    end: int
    chunks: list[UUID]


class HitOut(BaseModel):
    """A chunk that was found; ``passage`` when more was asked for with ``expand``."""

    document_id: UUID
    document_name: str
    collection_id: UUID
    chunk: ChunkOut
    scores: ScoresOut
    passage: PassageOut | None = None


class SearchResponse(BaseModel):
    """The hits, best first, and the milliseconds that each stage took."""

    hits: list[HitOut]
    timings: dict[str, float] = Field(
        description="milliseconds of each stage that ran, and total: embed, filter, index, fuse, threshold, rerank, "
        "fetch, diversify, expand"
    )


class CitationOut(BaseModel):
    """What a mark ``[n]`` of an answer stands for: a verbatim quote and where it is."""

    n: int
    document_id: UUID
    document_name: str
    chunk_id: UUID
    page: int | None
    section: list[str]
    quote: str
    start: int
    end: int


class StepEvent(BaseModel):
    """What a graph's node did, as a ``custom`` stream event; ``seconds`` comes when it is finished."""

    type: Literal["step"] = "step"
    step: str
    status: Literal["started", "finished"]
    seconds: float | None = None
    detail: dict[str, Any] = Field(default_factory=dict)


class PartHealth(BaseModel):
    """The state of one part of the platform."""

    status: PartStatus
    detail: str = ""
    restarts: int = 0
    figures: dict[str, float] = Field(default_factory=dict, description="of the worker: its queue, over all tenants")


class Health(BaseModel):
    """The state of every part: database, index, embedder, worker, chat_model."""

    status: PartStatus
    parts: dict[str, PartHealth]
