"""The lexical encoder: BM25 term weights of texts in any language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.index import SparseVector

if TYPE_CHECKING:
    import qdrant_edge

K1 = 1.2
B = 0.75
# A passage of 160 word pieces holds about 72 terms in English and 62 in German.
AVERAGE_TERMS = 70.0
NUMBER = re.compile(r"(?:[A-Za-z]*\d+[A-Za-z]*)+")


class LexicalEncoder:
    """Turns texts into BM25 term weights; the index adds the inverse document frequency.

    Words are found in all scripts, also in those that put no spaces between them. Stopwords and stems are
    English, which leaves other scripts as they are. The tokenizer that does this leaves numbers out, so years, sums
    and part numbers are terms of their own.
    """

    def __init__(self, *, average_terms: float = AVERAGE_TERMS) -> None:
        import qdrant_edge as engine

        self._model: qdrant_edge.Bm25 = engine.Bm25(
            engine.Bm25Config(
                k=K1,
                b=B,
                avg_len=average_terms,
                tokenizer=engine.TokenizerType.Multilingual,
                stopwords=engine.Language.English,
                stemmer=engine.SnowballParams(engine.SnowballLanguage.English),
            )
        )
        # Their text holds nothing but the numbers, whose count says nothing of the passage's length.
        self._numbers: qdrant_edge.Bm25 = engine.Bm25(
            engine.Bm25Config(k=K1, b=0.0, tokenizer=engine.TokenizerType.Word)
        )

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Term weights of each text, saturated by frequency and normalised by length."""
        return [
            _merged(self._model.embed_document(text), self._numbers.embed_document(_numbers_of(text))) for text in texts
        ]

    def encode_query(self, text: str) -> SparseVector:
        """The distinct terms of a question, each with weight 1; empty when it has only stopwords."""
        return _merged(self._model.embed_query(text), self._numbers.embed_query(_numbers_of(text)))


def _numbers_of(text: str) -> str:
    return " ".join(NUMBER.findall(text))


def _merged(words: qdrant_edge.SparseVector, numbers: qdrant_edge.SparseVector) -> SparseVector:
    """Both vectors as one; a term that both have counts once."""
    weights = dict(zip(numbers.indices, numbers.values, strict=True))
    weights |= dict(zip(words.indices, words.values, strict=True))
    return SparseVector(list(weights), list(weights.values()))
