"""An embedder for tests of what needs one and not its quality: words are its tokens and the axes of its space."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Count = Callable[[str], int]

TOKEN = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> int:
    """Tokens as many tokenizers count them: words, marks, and two special ones."""
    return len(TOKEN.findall(text)) + 2


class Words:
    """Texts that share words are near each other; ``count`` may count otherwise than `token_spans` cuts."""

    name, revision, dimension = "words", "1", 64

    def __init__(self, max_tokens: int = 254, count: Count = words) -> None:
        self.max_tokens = max_tokens
        self._count = count

    def count_tokens(self, text: str) -> int:
        return self._count(text)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in TOKEN.finditer(text)]

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._vector(text) for text in texts]) if texts else np.zeros((0, 64), np.float32)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        return self._vector(text)

    def _vector(self, text: str) -> NDArray[np.float32]:
        vector = np.full(self.dimension, 1e-3, np.float32)
        for word in TOKEN.findall(text.lower()):
            vector[zlib.crc32(word.encode()) % self.dimension] += 1
        return vector / np.float32(np.linalg.norm(vector))
