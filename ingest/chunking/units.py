"""Small units of a document that strategies join: sentences, and lines where a line stands for itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.domain import Block, LoadedDocument
from ingest.chunking.ruler import Ruler, Stretch
from ingest.sentence import sentences


def units(loaded: LoadedDocument, ruler: Ruler, most: int) -> Iterator[Stretch]:
    """The sentences and lines of a document in order; one of more than ``most`` tokens in pieces of so many."""
    for block in loaded.blocks or [Block(start=0, end=len(loaded.text))]:
        for start, end in _parts(loaded.text, block):
            if ruler.tokens(start, end) <= most:
                yield start, end
            else:
                yield from ruler.windows(start, end, tokens=most)


def _parts(text: str, block: Block) -> Iterator[Stretch]:
    start = block.start
    lines = text[block.start : block.end].splitlines(keepends=True) if block.lines else [text[block.start : block.end]]
    for line in lines:
        found = [(0, len(line))] if block.lines else sentences(line)
        yield from ((start + first, start + last) for first, last in found if line[first:last].strip())
        start += len(line)


def joined(pieces: Sequence[Stretch], ruler: Ruler, most: int, *, overlap: int = 0) -> Iterator[Stretch]:
    """Neighbouring pieces, as many together as have at most ``most`` tokens.

    Each stretch but the first begins with as many of the last pieces of the one before as have at most ``overlap``
    tokens and leave room for a new one.
    """
    first = 0
    for place, (_, end) in enumerate(pieces):
        if place > first and ruler.tokens(pieces[first][0], end) > most:
            yield pieces[first][0], pieces[place - 1][1]
            first = place
            while first > 0 and _goes_on(pieces, ruler, first - 1, place, most, overlap):
                first -= 1
    if pieces:
        yield pieces[first][0], pieces[-1][1]


def _goes_on(pieces: Sequence[Stretch], ruler: Ruler, first: int, place: int, most: int, overlap: int) -> bool:
    start = pieces[first][0]
    repeated = ruler.tokens(start, pieces[place - 1][1])
    return repeated <= overlap and ruler.tokens(start, pieces[place][1]) <= most
