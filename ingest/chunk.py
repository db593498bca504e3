"""Documents to passages: along their structure, bounded in tokens, every offset kept."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import uuid
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from core.domain import Block, Chunk, ChunkId, DocumentId, LoadedDocument, Page
from ingest.section import SEPARATOR, Section, sections
from ingest.sentence import sentences

CHUNKER = "structure-1"
"""Names what chunks are made by; it changes whenever the same document would give other chunks."""

CHARS_PER_TOKEN = 8  # a word that the tokenizer does not know is one token however long; a passage must not be
WHOLE_CHARS_PER_TOKEN = 6  # a block that is longer than this is taken apart without being counted first
PATH_SHARE = 4  # the headings take at most a quarter of a chunk
TINY_SHARE = 0.15
WORD_CHARS = 200  # how far back a cut looks for a space

LINE = re.compile(r"[^\n]*\S[^\n]*")


class Span(NamedTuple):
    """A stretch of the text that is kept whole where possible, and its tokens."""

    start: int
    end: int
    tokens: int


def chunk_document(
    loaded: LoadedDocument, *, document: DocumentId, count_tokens: Callable[[str], int], max_tokens: int
) -> list[Chunk]:
    """The passages of a document in reading order, each at most ``max_tokens`` of its `Chunk.embedded_text`.

    A chunk holds no text of two sections. Chunks do not overlap, and together they hold every character of the
    blocks that is not blank, save headings that stand whole in the section of a chunk below them. The same passage
    below the same headings has the same id wherever it stands; repetitions are numbered. ``count_tokens`` is called
    at most three times for the same text, and counts special tokens too.
    """
    packer = _Packer(loaded.text, count_tokens, max_tokens)
    blocks = loaded.blocks or [Block(start=0, end=len(loaded.text))]
    runs = sections(loaded.text, blocks, count=packer.size, max_tokens=max_tokens // PATH_SHARE)
    starts = [page.start for page in loaded.pages]
    seen: Counter[bytes] = Counter()
    chunks: list[Chunk] = []
    for section, body in runs:
        for start, end in packer.pack(section, body):
            text = loaded.text[start:end]
            digest = hashlib.sha256(embedded(section, text).encode()).digest()
            seen[digest] += 1
            chunks.append(
                Chunk(
                    id=ChunkId(uuid.uuid5(document, f"{digest.hex()}:{seen[digest]}")),
                    document=document,
                    ordinal=len(chunks),
                    text=text,
                    digest=digest,
                    start=start,
                    end=end,
                    page=_page(loaded.pages, starts, start),
                    page_starts=starts[bisect_right(starts, start) : bisect_left(starts, end)],
                    section=section.path,
                )
            )
    return chunks


def embedded(section: Section, text: str) -> str:
    """What `Chunk.embedded_text` of a chunk in the section will be."""
    return f"{SEPARATOR.join(section.path)}\n{text}" if section.path else text


def _page(pages: Sequence[Page], starts: Sequence[int], offset: int) -> int | None:
    return pages[max(0, bisect_right(starts, offset) - 1)].number if pages else None


class _Packer:
    """Packs the blocks of a section into chunks."""

    def __init__(self, text: str, count: Callable[[str], int], max_tokens: int) -> None:
        self._text = text
        self._count = count
        self._max = max_tokens
        self._special = count("")

    def size(self, text: str) -> int:
        """The tokens of a text that stands alone, never less than its length allows."""
        return max(self._count(text), -(-len(text) // CHARS_PER_TOKEN))

    def pack(self, section: Section, body: Sequence[Block]) -> list[tuple[int, int]]:
        """The chunks of a section as spans of the text."""
        budget = max(1, self._max - (section.tokens or self._special))
        packed: list[tuple[int, int]] = []
        current: list[Span] = []
        for unit in (unit for block in body for unit in self._units(block, budget)):
            if current and not self._together(current, unit, budget):
                packed += self._checked(section, current, budget)
                current = []
            current.append(unit)
        if current:
            packed += self._checked(section, current, budget)
        return self._without_tiny_end(section, packed)

    def _together(self, current: Sequence[Span], unit: Span, budget: int) -> bool:
        tokens = sum(span.tokens for span in current) + unit.tokens
        return tokens <= budget and unit.end - current[0].start <= budget * CHARS_PER_TOKEN

    def _units(self, block: Block, budget: int) -> Iterator[Span]:
        """The block, or where that is too long its lines, its sentences, its words."""
        whole = self._trimmed(block.start, block.end)
        if whole is None:
            return
        start, end = whole
        if end - start <= budget * WHOLE_CHARS_PER_TOKEN:
            tokens = self._tokens(start, end)
            if tokens <= budget:
                yield Span(start, end, tokens)
                return
        parts = self._lines(start, end) if block.lines else self._sentences(start, end)
        for part_start, part_end in parts:
            yield from self._units_of_part(part_start, part_end, budget, whole_line=block.lines)

    def _units_of_part(self, start: int, end: int, budget: int, *, whole_line: bool) -> Iterator[Span]:
        if end - start <= budget * CHARS_PER_TOKEN and (tokens := self._tokens(start, end)) <= budget:
            yield Span(start, end, tokens)
        elif whole_line:
            for part_start, part_end in self._sentences(start, end):
                yield from self._units_of_part(part_start, part_end, budget, whole_line=False)
        else:
            yield from self._cut(start, end, budget)

    def _cut(self, start: int, end: int, budget: int) -> Iterator[Span]:
        """Pieces of a long sentence, between words, and within a word where it must be."""
        chars = budget * CHARS_PER_TOKEN // 2  # what the last piece took says what the next one will take
        while start < end:
            stop = self._stop(start, min(start + max(1, chars), end), end)
            tokens = self._tokens(start, stop)
            while tokens > budget and stop > start + 1:
                stop = self._stop(start, start + max(1, int((stop - start) * 0.95 * budget / tokens)), end)
                tokens = self._tokens(start, stop)
            yield Span(start, start + len(self._text[start:stop].rstrip()), tokens)
            chars = min(int((stop - start) * 0.95 * budget / max(1, tokens)), budget * CHARS_PER_TOKEN)
            rest = self._trimmed(stop, end)
            start = rest[0] if rest else end

    def _stop(self, start: int, stop: int, end: int) -> int:
        """The last place at or before ``stop`` where a cut does least harm; always after ``start``."""
        if stop >= end:
            return end
        for place in range(stop, max(start, stop - WORD_CHARS), -1):
            if self._text[place].isspace():
                return place
        while stop > start + 1 and unicodedata.combining(self._text[stop]):
            stop -= 1
        return stop

    def _checked(self, section: Section, units: Sequence[Span], budget: int) -> Iterator[tuple[int, int]]:
        """The units as one chunk, or as several where their tokens together are more than their sum."""
        start, end = units[0].start, units[-1].end
        if self._surely_fits(units, budget) or self._fits(section, start, end) or end - start == 1:
            yield start, end
            return
        if len(units) == 1:
            budget = max(1, min(budget, units[0].tokens) * 3 // 4)
            for piece in self._cut(start, end, budget):
                yield from self._checked(section, [piece], budget)
            return
        half = len(units) // 2
        yield from self._checked(section, units[:half], budget)
        yield from self._checked(section, units[half:], budget)

    def _without_tiny_end(self, section: Section, packed: list[tuple[int, int]]) -> list[tuple[int, int]]:
        if len(packed) < 2 or self._tokens(*packed[-1]) >= TINY_SHARE * self._max:
            return packed
        start, end = packed[-2][0], packed[-1][1]
        return [*packed[:-2], (start, end)] if self._fits(section, start, end) else packed

    def _surely_fits(self, units: Sequence[Span], budget: int) -> bool:
        """Whether the units fit even if the space at each joint takes as many tokens as it has characters, and more."""
        space = units[-1].end - units[0].start - sum(unit.end - unit.start for unit in units)
        return sum(unit.tokens for unit in units) + space + 2 * len(units) <= budget

    def _fits(self, section: Section, start: int, end: int) -> bool:
        if end - start > self._max * CHARS_PER_TOKEN:
            return False
        return self._count(embedded(section, self._text[start:end])) <= self._max

    def _tokens(self, start: int, end: int) -> int:
        chars = end - start
        return max(self._count(self._text[start:end]) - self._special, -(-chars // CHARS_PER_TOKEN))

    def _sentences(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for first, last in sentences(self._text[start:end]):
            yield start + first, start + last

    def _lines(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for match in LINE.finditer(self._text, start, end):
            if span := self._trimmed(match.start(), match.end()):
                yield span

    def _trimmed(self, start: int, end: int) -> tuple[int, int] | None:
        piece = self._text[start:end]
        stripped = piece.strip()
        if not stripped:
            return None
        start += len(piece) - len(piece.lstrip())
        return start, start + len(stripped)
