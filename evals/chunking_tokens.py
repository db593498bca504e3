"""An embedder that counts in cl100k tokens, as published rows do, while the product's own embeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.embedder import Embedder

UNBOUNDED = 1_000_000


class Cl100k:
    """The embedder with another ruler; what is too long for the model, the model cuts off, as theirs did."""

    max_tokens = UNBOUNDED

    def __init__(self, embedder: Embedder) -> None:
        try:
            from bpe_openai import get_encoding
        except ImportError as error:
            raise InvalidInput("Rows in cl100k tokens need bpe-openai: python -m pip install --group evals") from error
        self._encoding = get_encoding("cl100k_base")
        self._embedder = embedder
        self.name, self.revision, self.dimension = embedder.name, embedder.revision, embedder.dimension

    def count_tokens(self, text: str) -> int:
        """Tokens of the text."""
        return len(self._encoding.encode_ordinary(text))

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token stands in the text; a character that several tokens share belongs to all of them."""
        starts: list[int] = []
        seen = 0
        for token in self._encoding.encode_ordinary(text):
            word = self._encoding.decode_single_token_bytes(token)
            # A byte that goes on with a character that began before is 0b10xxxxxx.
            fresh = sum(byte & 0xC0 != 0x80 for byte in word)
            starts.append(seen if word[0] & 0xC0 != 0x80 else seen - 1)
            seen += fresh
        return list(zip(starts, [*starts[1:], len(text)], strict=True))

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of passages, in their order."""
        return await self._embedder.embed_documents(texts)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of a question."""
        return await self._embedder.embed_query(text)
