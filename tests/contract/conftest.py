"""The vector indexes that the contract holds for: Qdrant Edge, and the client's local mode for the server."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient

from core.engines.edge.index import open_edge_index
from core.engines.qdrant import prepare_index
from core.index import VectorIndex

DIMENSION = 16


@asynccontextmanager
async def open_index(backend: str, path: Path) -> AsyncIterator[VectorIndex]:
    """An index that keeps its points in the folder."""
    if backend == "edge":
        async with open_edge_index(path, dimension=DIMENSION) as edge:
            yield edge
        return
    client = AsyncQdrantClient(path=str(path))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Payload indexes have no effect in the local Qdrant")
            prepared = await prepare_index(client, embedder="test", revision=None, dimension=DIMENSION)
        yield prepared
    finally:
        await client.close()


@pytest.fixture(params=["edge", "qdrant"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def index(backend: str, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    async with open_index(backend, tmp_path / backend) as opened:
        yield opened
