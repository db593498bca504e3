"""The words of the platform as values: tenants, scopes, documents, chunks, hits and citations."""

from __future__ import annotations

import re
import uuid
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, NewType, TypeAlias

TenantId = NewType("TenantId", uuid.UUID)
PrincipalId = NewType("PrincipalId", uuid.UUID)
CollectionId = NewType("CollectionId", uuid.UUID)
DocumentId = NewType("DocumentId", uuid.UUID)
ChunkId = NewType("ChunkId", uuid.UUID)

SECTION_SEPARATOR = " > "


class Role(StrEnum):
    """What a principal may do; each role may do what the ones after it may."""

    ADMINISTRATOR = "administrator"
    MEMBER = "member"
    SERVICE = "service"
    VIEWER = "viewer"

    @property
    def may_write(self) -> bool:
        """Whether documents and collections may be changed."""
        return self is not Role.VIEWER


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a read may see: one tenant, and of it the named collections (``None``: all of them)."""

    tenant: TenantId
    collections: frozenset[CollectionId] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls: identified by an API key, never by what the request says of itself."""

    id: PrincipalId
    tenant: TenantId
    name: str
    role: Role

    @property
    def scope(self) -> Scope:
        """All that the principal may read."""
        return Scope(tenant=self.tenant)


class FieldKind(StrEnum):
    """What a collection's schema says of a metadata field; tags are a list of texts, a date is a text."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TAGS = "tags"


Schema: TypeAlias = Mapping[str, FieldKind]
"""The metadata fields that a collection's documents may have."""


class NamedSchema(NamedTuple):
    """A collection's name and its schema; ``None``: its metadata is free."""

    collection: str
    schema: Schema | None


MOMENT = re.compile(
    r"(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"(T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)?)?",
    re.ASCII,
)


def moment_of(text: str) -> datetime | None:
    """The moment of an ISO 8601 date or date and time; ``None`` when the text is none.

    A date is its first moment, and a time without a zone is in UTC. ``moments_of`` of the database says the same.
    """
    if not MOMENT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class EmbedderStamp(NamedTuple):
    """Which model vectors were made by: vectors of two stamps are never compared."""

    name: str
    revision: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.name!r} ({self.revision}, {self.dimension} dimensions)"


class DocumentStatus(StrEnum):
    """Where a document is on the write path."""

    QUEUED = "queued"
    LOADING = "loading"
    CHUNKING = "chunking"
    EMBEDDING = "embedding"
    INDEXED = "indexed"
    FAILED = "failed"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document's row. Its identity is (tenant, collection, sha256 of the bytes).

    ``source_id`` names where the bytes come from: other bytes of the same source are a new ``version``. What search
    sees is ``live_version``, made in ``live_generation``; each ``live_…`` is ``None`` until there is something to find.
    ``blob`` is the key of the newest bytes, ``live_blob`` of those that search answers from.
    """

    id: DocumentId
    tenant: TenantId
    collection: CollectionId
    collection_name: str
    sha256: str
    name: str
    media_type: str
    size: int
    metadata: Mapping[str, Any]
    status: DocumentStatus
    done: int
    total: int
    error: str | None
    warnings: Sequence[str]
    pages: int | None
    chunks: int
    generation: int
    source_id: str | None
    version: int
    blob: str
    live_generation: int | None
    live_version: int | None
    live_blob: str | None
    live_media_type: str | None
    live_name: str | None
    live_metadata: Mapping[str, Any] | None
    job_id: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where a page of a document's text starts. ``number`` is 1-based, ``start`` a character offset."""

    number: int
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A heading, paragraph, list, table or code block: ``text[start:end]`` of the document's text.

    ``level`` is 1 to 6 for a heading and 0 for everything else. ``lines`` says that each line stands for itself, as
    in a table, a list or code; elsewhere a line break means no more than a space.
    """

    start: int
    end: int
    level: int = 0
    lines: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDocument:
    """What a loader makes of a document's bytes: its text, and where pages and blocks lie in it.

    ``pages`` is empty for formats without pages; ``blocks`` are in reading order, do not overlap and hold all that is
    worth finding: what lies between them is blank or markup. ``warnings`` are sentences about what could not be read.
    """

    text: str
    pages: Sequence[Page] = ()
    blocks: Sequence[Block] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A passage of a document: ``text == document_text[start:end]``.

    ``page`` is the page on which the chunk starts, ``page_starts`` are the offsets inside it at which the following
    pages start. ``parent_start:parent_end`` of the document's text is the section that the chunk stands in, where the
    chunker knows it. ``context`` is embedded before the passage without being part of it, such as the header of the
    table whose rows it holds. ``id`` follows from the document and the passage, so that the same passage keeps its id
    when the document is ingested again; ``digest`` is what decides whether it must be embedded again.
    """

    id: ChunkId
    document: DocumentId
    ordinal: int
    text: str
    digest: bytes
    start: int
    end: int
    page: int | None = None
    page_starts: Sequence[int] = ()
    section: Sequence[str] = ()
    context: str = ""
    parent_start: int | None = None
    parent_end: int | None = None

    def page_at(self, offset: int) -> int | None:
        """The page that holds a character of the chunk; ``offset`` counts in the document's text."""
        return None if self.page is None else self.page + bisect_right(self.page_starts, offset)

    @property
    def embedded_text(self) -> str:
        """What is embedded and indexed: the passage below its headings and its context."""
        return embedded_text(self.section, self.context, self.text)


def embedded_text(section: Sequence[str], context: str, text: str) -> str:
    """The headings on one line, the context and the passage, each below the other; what is empty is left out."""
    return "\n".join(part for part in (SECTION_SEPARATOR.join(section), context, text) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How a hit was found; ``None`` where that side did not find it."""

    fused: float
    dense: float | None = None
    lexical: float | None = None
    rerank: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What is read of a hit: ``text == document_text[start:end]``, in which ``chunks`` lie, in their order."""

    text: str
    start: int
    end: int
    chunks: Sequence[Chunk]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that was found, with the document that it comes from; ``passage`` when more than the chunk is read."""

    chunk: Chunk
    document_name: str
    collection: CollectionId
    scores: Scores
    passage: Passage | None = None

    @property
    def chunks(self) -> Sequence[Chunk]:
        """The chunks that are read: quotes are looked for in these."""
        return self.passage.chunks if self.passage else (self.chunk,)

    @property
    def read_text(self) -> str:
        """What a model reads: the passage below its headings."""
        if self.passage is None:
            return self.chunk.embedded_text
        return embedded_text(self.chunk.section, self.chunk.context, self.passage.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A mark ``[n]`` of an answer: the verbatim ``quote`` at ``start:end`` of the document's text."""

    n: int
    document_id: DocumentId
    document_name: str
    chunk_id: ChunkId
    page: int | None
    section: Sequence[str] = field(default=())
    quote: str
    start: int
    end: int
