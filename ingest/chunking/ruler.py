"""How many tokens a stretch of a text has, from one pass of the tokenizer over the whole."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from ingest.chunking.passage import Passage
from models.embedder import Embedder

Stretch = tuple[int, int]


class Ruler:
    """Measures and cuts stretches ``(start, end)`` of a text by the places of its tokens."""

    def __init__(self, text: str, embedder: Embedder) -> None:
        self.text = text
        self._embedder = embedder
        self._starts = [start for start, _ in embedder.token_spans(text)]
        self._most = embedder.max_tokens

    def tokens(self, start: int, end: int) -> int:
        """The tokens that begin in the stretch."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def windows(self, start: int, end: int, *, tokens: int, overlap: int = 0) -> Iterator[Stretch]:
        """Stretches of ``tokens`` tokens, each but the first beginning with the last ``overlap`` of the one before.

        They end where a token begins, so that together they hold every character of the stretch.
        """
        first, last = bisect_left(self._starts, start), bisect_left(self._starts, end)
        place = first
        while place + tokens < last:
            yield (start if place == first else self._starts[place], self._starts[place + tokens])
            place += tokens - overlap
        yield (start if place == first else self._starts[place], end)

    def trimmed(self, start: int, end: int) -> Stretch | None:
        """The stretch without the blank space around it; none when it is blank."""
        piece = self.text[start:end]
        stripped = piece.strip()
        if not stripped:
            return None
        start += len(piece) - len(piece.lstrip())
        return start, start + len(stripped)

    def passages(self, stretches: Sequence[Stretch]) -> Iterator[Passage]:
        """The stretches as passages, without blank ones; one that the embedder cannot read whole is halved."""
        for stretch in stretches:
            for start, end in self._readable(*stretch):
                yield Passage(start=start, end=end)

    def _readable(self, start: int, end: int) -> Iterator[Stretch]:
        trimmed = self.trimmed(start, end)
        if trimmed is None:
            return
        start, end = trimmed
        if end - start == 1 or self._embedder.count_tokens(self.text[start:end]) <= self._most:
            yield start, end
            return
        middle = self._middle(start, end)
        yield from self._readable(start, middle)
        yield from self._readable(middle, end)

    def _middle(self, start: int, end: int) -> int:
        """Where a token begins near the middle, or the middle itself."""
        half = (start + end) // 2
        place = bisect_left(self._starts, half)
        if place < len(self._starts) and start < self._starts[place] < end:
            return self._starts[place]
        return half
