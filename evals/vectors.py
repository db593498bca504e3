"""The vectors of a set's passages, kept on disk so that the next evaluation does not embed them again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.embedder import Embedder

BATCH = 256


class CachedVectors:
    """Embeds passages, or reads what the same model has made of the same passages before.

    Without a folder nothing is kept.
    """

    def __init__(self, embedder: Embedder, folder: Path | None) -> None:
        self._embedder = embedder
        self._folder = folder

    async def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (texts, dimension), in the order of the texts."""
        path = self._path(texts)
        if path is not None and path.is_file():
            return await asyncio.to_thread(np.load, path)
        vectors = await self._embed(texts)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(np.save, path, vectors)
        return vectors

    async def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from tqdm import tqdm

        parts = []
        with tqdm(total=len(texts), unit="passage", desc="embed", leave=False, disable=None) as bar:
            for start in range(0, len(texts), BATCH):
                parts.append(await self._embedder.embed_documents(texts[start : start + BATCH]))
                bar.update(len(parts[-1]))
        return np.concatenate(parts)

    def _path(self, texts: Sequence[str]) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256(f"{self._embedder.name}\n{self._embedder.revision}\n".encode())
        for text in texts:
            digest.update(hashlib.sha256(text.encode()).digest())
        return self._folder / f"{digest.hexdigest()[:32]}.npy"
