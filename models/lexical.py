"""The lexical encoder: BM25 term weights of texts in any language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.index import SparseVector

if TYPE_CHECKING:
    import qdrant_edge

K1 = 1.2
B = 0.75
# A passage of 160 word pieces holds about 72 terms in English and 62 in German.
AVERAGE_TERMS = 70.0


class LexicalEncoder:
    """Turns texts into BM25 term weights; the index adds the inverse document frequency.

    Words are found in all scripts, also in those that put no spaces between them. Stopwords and stems are
    English, which leaves other scripts as they are.
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

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Term weights of each text, saturated by frequency and normalised by length."""
        return [_vector(self._model.embed_document(text)) for text in texts]

    def encode_query(self, text: str) -> SparseVector:
        """The distinct terms of a question, each with weight 1; empty when it has only stopwords."""
        return _vector(self._model.embed_query(text))


def _vector(vector: qdrant_edge.SparseVector) -> SparseVector:
    return SparseVector(vector.indices, vector.values)
