"""The indexes of several embedders beside each other: found once they were made, gone once they are dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.services import prepare_database
from core.database import open_pool
from core.domain import EmbedderStamp, Scope
from core.errors import Unavailable
from core.settings import ChromaSettings, DatabaseSettings
from ingest.indexes import ChromaEngine, EdgeEngine, Engine, OpenIndexes
from tests.contract.conftest import DIMENSION
from tests.contract.test_index import ACME, point, question

NEW = EmbedderStamp("new/model", "1", DIMENSION)


@pytest.fixture(params=["edge", "chroma"])
async def indexes(request: pytest.FixtureRequest, postgres: str, tmp_path: Path) -> AsyncIterator[OpenIndexes]:
    async with open_pool(DatabaseSettings.model_validate({"url": postgres, "pool_min": 1})) as pool:
        await prepare_database(pool)
        engine: Engine = EdgeEngine(tmp_path)
        if request.param == "chroma":
            engine = ChromaEngine(ChromaSettings(url=None, api_key=None), tmp_path, pool)
        opened = OpenIndexes(engine)
        yield opened
        await opened.close()


async def test_a_dropped_index_is_gone_and_the_others_stay(indexes: OpenIndexes, tmp_path: Path) -> None:
    old = EmbedderStamp(f"old/{tmp_path.name}", "1", DIMENSION)
    scope = Scope(tenant=ACME)
    assert await indexes.find(old) is None
    before, after = await indexes.open(old), await indexes.open(NEW)
    await before.upsert([point(n) for n in range(3)])
    await after.upsert([point(7)])
    await indexes.drop(old)
    assert await indexes.find(old) is None
    assert not any(tmp_path.glob("old-*")), "the folder goes with it"
    with pytest.raises(Unavailable):
        await before.query(question(), scope=scope)
    assert await after.count(scope) == 1
    assert await (await indexes.open(old)).count(scope) == 0, "one that is made again begins empty"
