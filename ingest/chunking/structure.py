"""The strategy ``structure``: along headings, paragraphs, tables and code, bounded in tokens."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from core.domain import Block, Chunk, DocumentId, LoadedDocument, embedded_text
from ingest.chunking.passage import Passage, chunks_of
from ingest.chunking.section import Section, sections
from ingest.chunking.spec import StructureSpec
from ingest.sentence import sentences
from models.embedder import Embedder

CHARS_PER_TOKEN = 8  # a word that the tokenizer does not know is one token however long; a passage must not be
WHOLE_CHARS_PER_TOKEN = 6  # a block that is longer than this is taken apart without being counted first
PATH_SHARE = 4  # the headings take at most a quarter of a chunk, and so does the header of a table
TINY_SHARE = 0.15
WORD_CHARS = 200  # how far back a cut looks for a space

LINE = re.compile(r"[^\n]*\S[^\n]*")


class Span(NamedTuple):
    """A stretch of the text that is kept whole where possible, its tokens, and the table's header that it is below."""

    start: int
    end: int
    tokens: int
    header: str = ""
    header_tokens: int = 0


class Run(NamedTuple):
    """Units that make a chunk: its stretch of the text, about its tokens, and the header of its table."""

    start: int
    end: int
    tokens: int
    header: str


class StructureChunker:
    """Cuts along the structure that the loader found.

    A chunk holds no text of two sections, and chunks do not overlap. A chunk that starts within a table is embedded
    with the table's first row. Each knows its parent: its section, or of a long one the stretch of whole chunks
    around it that has at most ``parent_tokens``.
    """

    def __init__(self, spec: StructureSpec, embedder: Embedder) -> None:
        self._spec = spec
        self._count = embedder.count_tokens
        self._max = min(spec.tokens, embedder.max_tokens)

    async def chunk(self, loaded: LoadedDocument, document: DocumentId) -> list[Chunk]:
        """The chunks in reading order, each at most ``tokens`` of its `Chunk.embedded_text`.

        Text is counted at most three times.
        """
        return await asyncio.to_thread(lambda: chunks_of(loaded, document, self._passages(loaded)))

    def _passages(self, loaded: LoadedDocument) -> Iterator[Passage]:
        packer = Packer(loaded.text, self._count, self._max, table_header=self._spec.table_header)
        blocks = loaded.blocks or [Block(start=0, end=len(loaded.text))]
        for section, body in sections(loaded.text, blocks, count=packer.size, max_tokens=self._max // PATH_SHARE):
            heading = section.heading if section.body[:1] == body[:1] else None
            for family in _families(packer.pack(section, body), self._spec.parent_tokens):
                parent = (heading.start if heading else family[0].start, family[-1].end)
                heading = None
                for run in family:
                    yield Passage(start=run.start, end=run.end, section=section.path, context=run.header, parent=parent)


def _families(runs: Iterable[Run], most: int) -> Iterator[list[Run]]:
    """Neighbouring runs of a section, as many together as have at most ``most`` tokens."""
    family: list[Run] = []
    tokens = 0
    for run in runs:
        if family and tokens + run.tokens > most:
            yield family
            family, tokens = [], 0
        family.append(run)
        tokens += run.tokens
    if family:
        yield family


class Packer:
    """Packs the blocks of a section into chunks."""

    def __init__(self, text: str, count: Callable[[str], int], max_tokens: int, *, table_header: bool = False) -> None:
        self._text = text
        self._count = count
        self._max = max_tokens
        self._table_header = table_header
        self._special = count("")

    def size(self, text: str) -> int:
        """The tokens of a text that stands alone, never less than its length allows."""
        return max(self._count(text), -(-len(text) // CHARS_PER_TOKEN))

    def pack(self, section: Section, body: Sequence[Block]) -> list[Run]:
        """The chunks of a section."""
        budget = max(1, self._max - (section.tokens or self._special))
        packed: list[Run] = []
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
        tokens = _tokens(current) + unit.tokens
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
        if block.lines:
            yield from self._rows(start, end, budget)
            return
        for part_start, part_end in self._sentences(start, end):
            yield from self._units_of_part(part_start, part_end, budget, whole_line=False)

    def _rows(self, start: int, end: int, budget: int) -> Iterator[Span]:
        """The lines of a table, a list or code; those of a table know its header."""
        header, header_tokens = "", 0
        for part_start, part_end in self._lines(start, end):
            for unit in self._units_of_part(part_start, part_end, budget - header_tokens, whole_line=True):
                yield unit._replace(header=header, header_tokens=header_tokens)
            if part_start == start:
                header, header_tokens = self._header(part_start, part_end, budget)

    def _header(self, start: int, end: int, budget: int) -> tuple[str, int]:
        """The first row of a table and its tokens; nothing when it is too long, or no table's."""
        if not self._table_header or self._text[start] != "|" or end - start > self._max * CHARS_PER_TOKEN:
            return "", 0
        tokens = self._tokens(start, end) + 1
        return (self._text[start:end], tokens) if tokens <= min(self._max // PATH_SHARE, budget // 2) else ("", 0)

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

    def _checked(self, section: Section, units: Sequence[Span], budget: int) -> Iterator[Run]:
        """The units as one chunk, or as several where their tokens together are more than their sum."""
        run = Run(units[0].start, units[-1].end, _tokens(units), units[0].header)
        if self._surely_fits(units, budget) or self._fits(section, run) or run.end - run.start == 1:
            yield run
            return
        if len(units) == 1:
            yield from self._smaller(section, units[0], budget)
            return
        half = len(units) // 2
        yield from self._checked(section, units[:half], budget)
        yield from self._checked(section, units[half:], budget)

    def _smaller(self, section: Section, unit: Span, budget: int) -> Iterator[Run]:
        """A unit that is too long with its header: without it, and then in pieces."""
        if unit.header:
            yield from self._checked(section, [unit._replace(header="", header_tokens=0)], budget)
            return
        budget = max(1, min(budget, unit.tokens) * 3 // 4)
        for piece in self._cut(unit.start, unit.end, budget):
            yield from self._checked(section, [piece], budget)

    def _without_tiny_end(self, section: Section, packed: list[Run]) -> list[Run]:
        if len(packed) < 2 or self._tokens(packed[-1].start, packed[-1].end) >= TINY_SHARE * self._max:
            return packed
        before, last = packed[-2:]
        joined = Run(before.start, last.end, before.tokens + last.tokens, before.header)
        return [*packed[:-2], joined] if self._fits(section, joined) else packed

    def _surely_fits(self, units: Sequence[Span], budget: int) -> bool:
        """Whether the units fit even if the space at each joint takes as many tokens as it has characters, and more."""
        space = units[-1].end - units[0].start - sum(unit.end - unit.start for unit in units)
        return _tokens(units) + space + 2 * len(units) <= budget

    def _fits(self, section: Section, run: Run) -> bool:
        if run.end - run.start > self._max * CHARS_PER_TOKEN:
            return False
        return self._count(embedded_text(section.path, run.header, self._text[run.start : run.end])) <= self._max

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
        return trimmed(self._text, start, end)


def trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The stretch without the blank space around it; none when it is blank."""
    piece = text[start:end]
    stripped = piece.strip()
    if not stripped:
        return None
    start += len(piece) - len(piece.lstrip())
    return start, start + len(stripped)


def _tokens(units: Sequence[Span]) -> int:
    return sum(unit.tokens for unit in units) + units[0].header_tokens
