"""The vector indexes that the contract holds for: Qdrant Edge, the Qdrant client's local mode, Chroma and its server.

The local mode stands in for a Qdrant server, which is not a package that could be installed.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from pydantic_core import Url
from qdrant_client import AsyncQdrantClient

from core.database import open_pool
from core.engines.chroma import open_chroma_index
from core.engines.edge.index import open_edge_index
from core.engines.qdrant import prepare_index
from core.index import VectorIndex
from core.settings import ChromaSettings, DatabaseSettings, QdrantSettings

DIMENSION = 16
Opener = Callable[[str, Path], AbstractAsyncContextManager[VectorIndex]]


@asynccontextmanager
async def open_qdrant(path: Path) -> AsyncIterator[VectorIndex]:
    client = AsyncQdrantClient(path=str(path))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Payload indexes have no effect in the local Qdrant")
            warnings.filterwarnings("ignore", "Local mode performs exact")
            prepared = await prepare_index(
                client, QdrantSettings(), embedder="test", revision=None, dimension=DIMENSION
            )
            yield prepared
    finally:
        await client.close()


@asynccontextmanager
async def open_chroma(path: Path, postgres: str, url: str | None) -> AsyncIterator[VectorIndex]:
    settings = ChromaSettings(url=Url(url) if url else None, api_key=None)
    database = DatabaseSettings.model_validate({"url": postgres, "pool_min": 1})
    async with (
        open_pool(database) as pool,
        # All tests share one server: the path, as the embedder's name, gives each an index of its own.
        open_chroma_index(settings, path, pool, embedder=str(path), revision=None, dimension=DIMENSION) as index,
    ):
        yield index


@pytest.fixture(scope="session")
def open_index(postgres: str, chroma_server: str) -> Opener:
    """Opens an index that keeps its points under the folder or, where servers keep them, under its name."""

    def open_one(backend: str, path: Path) -> AbstractAsyncContextManager[VectorIndex]:
        if backend == "edge":
            return open_edge_index(path, dimension=DIMENSION)
        if backend == "qdrant":
            return open_qdrant(path)
        return open_chroma(path, postgres, chroma_server if backend == "chroma-server" else None)

    return open_one


@pytest.fixture(params=["edge", "qdrant", "chroma", "chroma-server"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def index(open_index: Opener, backend: str, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    async with open_index(backend, tmp_path / backend) as opened:
        yield opened
