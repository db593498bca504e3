from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_core import Url

from app.premises import free_port
from core.database import open_pool
from core.domain import Scope
from core.engines.chroma import open_chroma_index
from core.errors import Unavailable
from core.settings import ChromaSettings, DatabaseSettings
from tests.contract.conftest import DIMENSION, Opener, open_chroma
from tests.contract.test_index import ACME, point, question


async def test_a_server_that_does_not_answer_is_unavailable_and_the_key_is_not_told(
    postgres: str, tmp_path: Path
) -> None:
    settings = ChromaSettings(url=Url(f"http://127.0.0.1:{free_port()}"), api_key=SecretStr("very-secret"))
    with pytest.raises(Unavailable, match="CHROMA__URL") as refused:
        async with (
            open_pool(DatabaseSettings.model_validate({"url": postgres, "pool_min": 1})) as pool,
            open_chroma_index(settings, tmp_path, pool, embedder="a", revision=None, dimension=DIMENSION),
        ):
            pass
    assert "very-secret" not in str(refused.value)


async def test_a_folder_has_one_process(open_index: Opener, tmp_path: Path) -> None:
    async with open_index("chroma", tmp_path):
        with pytest.raises(Unavailable, match="Another process"):
            async with open_index("chroma", tmp_path):
                pass


async def test_two_clients_of_a_server_see_each_others_points(
    postgres: str, chroma_server: str, tmp_path: Path
) -> None:
    scope = Scope(tenant=ACME)
    async with (
        open_chroma(tmp_path, postgres, chroma_server) as one,
        open_chroma(tmp_path, postgres, chroma_server) as other,
    ):
        assert await other.count(scope) == 0
        await one.upsert([point(n) for n in range(3)])
        assert await other.count(scope) == 3
        await other.delete(ACME, point(0).document, only=[point(0).id])
        found = await one.query(question(), scope=scope)
        assert (
            {match.id for match in found.dense} == {match.id for match in found.lexical} == {point(1).id, point(2).id}
        )
