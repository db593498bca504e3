"""The lexical encoder: BM25 term weights of texts, analysed in their language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from core.index import SparseVector
from models.language import FALLBACK, Languages

if TYPE_CHECKING:
    import qdrant_edge

LEXICAL = "languages-1"
"""The encoding's version: term ids and weights of two versions do not meet, so it is part of a collection's stamp."""

K1 = 1.2
B = 0.75
# A passage of 160 word pieces holds about 72 terms in English and 62 in German.
AVERAGE_TERMS = 70.0
NUMBER = re.compile(r"(?:[A-Za-z]*\d+[A-Za-z]*)+")
ANALYSED = {
    "ar": "Arabic",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "hu": "Hungarian",
    "it": "Italian",
    "nl": "Dutch",
    "no": "Norwegian",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "tr": "Turkish",
}
"""The languages with stop words and a Snowball stemmer of their own, as the engine calls them."""


class LexicalEncoder:
    """Turns texts into BM25 term weights; the index adds the inverse document frequency.

    Words are found in all scripts, also in those that put no spaces between them. Stop words and stems are those of the
    text's language: a passage has one, a question is encoded in each language that it may be in. What is in no language
    of `ANALYSED` is encoded as English, which leaves other scripts as they are. The tokenizer that does this leaves
    numbers out, so years, sums and part numbers are terms of their own.
    """

    def __init__(self, *, average_terms: float = AVERAGE_TERMS) -> None:
        import qdrant_edge as engine

        self._languages = Languages(ANALYSED)
        self._models: dict[str, qdrant_edge.Bm25] = {
            code: engine.Bm25(
                engine.Bm25Config(
                    k=K1,
                    b=B,
                    avg_len=average_terms,
                    tokenizer=engine.TokenizerType.Multilingual,
                    stopwords=getattr(engine.Language, name),
                    stemmer=engine.SnowballParams(getattr(engine.SnowballLanguage, name)),
                )
            )
            for code, name in ANALYSED.items()
        }
        # Their text holds nothing but the numbers, whose count says nothing of the passage's length.
        self._numbers: qdrant_edge.Bm25 = engine.Bm25(
            engine.Bm25Config(k=K1, b=0.0, tokenizer=engine.TokenizerType.Word)
        )

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Term weights of each text, saturated by frequency and normalised by length."""
        return [self._encode_document(text) for text in texts]

    def encode_query(self, text: str) -> SparseVector:
        """The distinct terms of a question, each with weight 1; empty when it has only stop words."""
        words = [self._model(code).embed_query(text) for code in self._languages.of_question(text)]
        return _merged([self._numbers.embed_query(_numbers_of(text)), *words])

    def _encode_document(self, text: str) -> SparseVector:
        words = self._model(self._languages.of_passage(text)).embed_document(text)
        return _merged([self._numbers.embed_document(_numbers_of(text)), words])

    def _model(self, code: str) -> qdrant_edge.Bm25:
        return self._models.get(code, self._models[FALLBACK])


def _numbers_of(text: str) -> str:
    return " ".join(NUMBER.findall(text))


def _merged(vectors: Iterable[qdrant_edge.SparseVector]) -> SparseVector:
    """All vectors as one; a term that several have counts once, with the last one's weight."""
    weights: dict[int, float] = {}
    for vector in vectors:
        weights |= dict(zip(vector.indices, vector.values, strict=True))
    return SparseVector(list(weights), list(weights.values()))
