"""Passages, which strategies find, and chunks, which documents are made of: the one way from these to those."""

from __future__ import annotations

import hashlib
import uuid
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.domain import Chunk, ChunkId, DocumentId, LoadedDocument, Page, embedded_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A stretch ``start:end`` of a document's text that will be a chunk; the rest is as in `Chunk`."""

    start: int
    end: int
    section: Sequence[str] = ()
    context: str = ""
    parent: tuple[int, int] | None = None


def chunks_of(loaded: LoadedDocument, document: DocumentId, passages: Iterable[Passage]) -> list[Chunk]:
    """The passages as chunks, in their order.

    The same passage below the same headings has the same id wherever it stands; repetitions are numbered.
    """
    starts = [page.start for page in loaded.pages]
    seen: Counter[bytes] = Counter()
    chunks: list[Chunk] = []
    for passage in passages:
        text = loaded.text[passage.start : passage.end]
        digest = hashlib.sha256(embedded_text(passage.section, passage.context, text).encode()).digest()
        seen[digest] += 1
        parent_start, parent_end = passage.parent or (None, None)
        chunks.append(
            Chunk(
                id=ChunkId(uuid.uuid5(document, f"{digest.hex()}:{seen[digest]}")),
                document=document,
                ordinal=len(chunks),
                text=text,
                digest=digest,
                start=passage.start,
                end=passage.end,
                page=_page(loaded.pages, starts, passage.start),
                page_starts=starts[max(1, bisect_right(starts, passage.start)) : bisect_left(starts, passage.end)],
                section=passage.section,
                context=passage.context,
                parent_start=parent_start,
                parent_end=parent_end,
            )
        )
    return chunks


def _page(pages: Sequence[Page], starts: Sequence[int], offset: int) -> int | None:
    return pages[max(0, bisect_right(starts, offset) - 1)].number if pages else None
