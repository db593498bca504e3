"""Answers made of supported sentences only, sentence by sentence while the model still writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from core.domain import Citation, Hit
from graphs.citations import Citations, examine
from graphs.decisions import says_not_found
from ingest.sentence import sentences

NOTHING_FOUND = "I found nothing about this in the documents."
NOT_ANSWERED = "The documents that I found do not answer this question."


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified answer; without citations it is a refusal. ``dropped`` counts sentences without support."""

    text: str
    citations: Sequence[Citation] = ()
    dropped: int = 0


@dataclass(slots=True)
class Verifier:
    """Takes a draft in pieces and gives back its supported sentences, each with its mark.

    The pieces that `feed` and `finish` return, joined, are the text of `answer`.
    """

    question: str
    hits: Sequence[Hit]
    _buffer: str = ""
    _kept: list[str] = field(default_factory=list)
    _dropped: int = 0
    _refused: bool = False
    _citations: Citations = field(init=False)

    def __post_init__(self) -> None:
        self._citations = Citations(self.hits)

    def feed(self, piece: str) -> str:
        """Take a piece of the draft; return what it completes of the verified answer."""
        self._buffer += piece
        spans = sentences(self._buffer)
        # The last sentence may still grow, and a mark behind a full stop belongs to the sentence before it.
        return self._take(spans[:-2]) if len(spans) > 2 else ""

    def finish(self) -> str:
        """End the draft; return the rest of the verified answer, which is the refusal when nothing was supported."""
        rest = self._take(sentences(self._buffer))
        return rest if self._kept else self.answer.text

    @property
    def answer(self) -> Answer:
        """What has been verified so far."""
        if not self._kept:
            return Answer(NOT_ANSWERED, (), self._dropped)
        return Answer("".join(self._kept), self._citations.collected(), self._dropped)

    def _take(self, spans: Sequence[tuple[int, int]]) -> str:
        if not spans:
            return ""
        taken: list[str] = []
        passages = [chunk.text for hit in self.hits for chunk in hit.chunks]
        owners = [number for number, hit in enumerate(self.hits) for _ in hit.chunks]
        before = 0
        for start, end in spans:
            gap, sentence = self._buffer[before:start], self._buffer[start:end]
            before = end
            self._refused = self._refused or says_not_found(sentence)
            claim = examine(without_heading(sentence, self.hits), self.question, passages, owners)
            if not claim.text:
                continue
            if self._refused or claim.evidence is None:
                self._dropped += 1
                continue
            taken.append(f"{self._space(gap, bool(taken))}{claim.text} [{self._citations.mark(claim.evidence)}]")
        self._buffer = self._buffer[before:]
        self._kept.extend(taken)
        return "".join(taken)

    def _space(self, gap: str, more: bool) -> str:
        if not self._kept and not more:
            return ""
        return "\n" * gap.count("\n") or " "


def without_heading(sentence: str, hits: Sequence[Hit]) -> str:
    """The sentence without a passage's heading line, which small models like to repeat."""
    first, _, rest = sentence.partition("\n")
    headings = {" > ".join(hit.chunk.section) for hit in hits if hit.chunk.section}
    return rest.strip() if first.strip() in headings else sentence


def verify(draft: str, question: str, hits: Sequence[Hit]) -> Answer:
    """The whole draft as a verified answer."""
    verifier = Verifier(question, hits)
    verifier.feed(draft)
    verifier.finish()
    return verifier.answer
