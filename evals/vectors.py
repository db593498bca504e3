"""The vectors of a set's passages and questions, kept on disk so that the next evaluation does not embed them again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.embedder import Embedder

BATCH = 256
Embed = Callable[[Sequence[str]], Awaitable[NDArray[np.float32]]]


class CachedVectors:
    """Embeds texts, or reads what the same model has made of the same texts before.

    Without a folder nothing is kept.
    """

    def __init__(self, embedder: Embedder, folder: Path | None) -> None:
        self._embedder = embedder
        self._folder = folder

    async def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (texts, dimension), in the order of the texts."""
        return await self._kept("passages", texts, self._embedder.embed_documents, BATCH)

    async def of_questions(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (texts, dimension), in the order of the texts; each is embedded alone, as in a search."""

        async def embed(batch: Sequence[str]) -> NDArray[np.float32]:
            return np.stack([await self._embedder.embed_query(text) for text in batch])

        return await self._kept("questions", texts, embed, 1)

    async def _kept(self, kind: str, texts: Sequence[str], embed: Embed, batch: int) -> NDArray[np.float32]:
        path = self._path(kind, texts)
        if path is not None and path.is_file():
            return await asyncio.to_thread(np.load, path)
        vectors = await _in_batches(kind, texts, embed, batch)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(np.save, path, vectors)
        return vectors

    def _path(self, kind: str, texts: Sequence[str]) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256(f"{kind}\n{self._embedder.name}\n{self._embedder.revision}\n".encode())
        for text in texts:
            digest.update(hashlib.sha256(text.encode()).digest())
        return self._folder / f"{digest.hexdigest()[:32]}.npy"


async def _in_batches(kind: str, texts: Sequence[str], embed: Embed, batch: int) -> NDArray[np.float32]:
    from tqdm import tqdm

    parts = []
    with tqdm(total=len(texts), unit="text", desc=f"embed {kind}", leave=False, disable=None) as bar:
        for start in range(0, len(texts), batch):
            parts.append(await embed(texts[start : start + batch]))
            bar.update(len(parts[-1]))
    return np.concatenate(parts)
