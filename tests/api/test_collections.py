from __future__ import annotations

from typing import Any

import pytest

from app.services import Services
from models.lexical import LEXICAL
from tests.conftest import Tenant
from tests.documents import LIGHTHOUSE


async def make(tenant: Tenant, **body: Any) -> Any:
    response = await tenant.http.post("/collections", json=body)
    return response.status_code, response.json()


async def test_a_collection_is_cut_as_the_settings_say_unless_it_was_chosen(tenant: Tenant, services: Services) -> None:
    status, made = await make(tenant, name="plain")
    assert status == 201
    assert made["chunker"]["tokens"] == services.settings.ingest.chunk_tokens
    assert made["lexical"] == LEXICAL
    assert made["chunker_stamp"].startswith(made["chunker"]["strategy"])


async def test_the_chunker_that_was_chosen_is_shown_and_cuts_the_documents(tenant: Tenant) -> None:
    chosen = {"strategy": "structure", "tokens": 32}
    status, made = await make(tenant, name="small", chunker=chosen)
    assert status == 201
    assert made["chunker"].items() >= chosen.items()
    listed = (await tenant.http.get("/collections")).json()["collections"]
    assert made in listed
    text = LIGHTHOUSE + "The keeper climbs the stairs each evening and lights the lamp. " * 20
    small = await tenant.upload("k.md", text.encode(), collection="small")
    large = await tenant.upload("k.md", text.encode())
    assert isinstance(small["chunks"], int)
    assert isinstance(large["chunks"], int)
    assert small["chunks"] > 2 * large["chunks"]


@pytest.mark.parametrize(
    ("chunker", "words"),
    [
        ({"strategy": "magic"}, "structure"),
        ({"strategy": "tokens", "tokens": 100, "overlap": 100}, "choose an overlap below 100"),
        ({"strategy": "semantic", "tokens": 300}, "choose at most 254"),
        ({"strategy": "structure", "tokens": 8}, "chunker"),
        ({"strategy": "structure", "tokens": 500}, "choose at most 254"),
        ({"strategy": "structure", "colour": "red"}, "colour"),
    ],
)
async def test_options_that_cannot_be_are_refused_with_what_to_do(
    tenant: Tenant, chunker: dict[str, Any], words: str
) -> None:
    status, problem = await make(tenant, name="x", chunker=chunker)
    assert status == 422
    assert words in problem["detail"]


async def test_a_collection_from_before_is_read_as_it_was_cut(tenant: Tenant, services: Services) -> None:
    """What the migration leaves of a row that knew only `structure-1`."""
    _, made = await make(tenant, name="old")
    async with services.pool.connection() as connection:
        await connection.execute(
            "UPDATE collections SET chunker = 'structure-2:tokens=160,table_header=false,parent_tokens=640', "
            "chunker_options = "
            '\'{"strategy": "structure", "tokens": 160, "table_header": false, "parent_tokens": 640}\' WHERE id = %s',
            (made["id"],),
        )
    collection = await services.collections.get(tenant.principal.tenant, "old")
    assert collection.chunker.stamp == "structure-2:tokens=160,table_header=false,parent_tokens=640"
    assert (await tenant.upload("k.md", LIGHTHOUSE.encode(), collection="old"))["status"] == "indexed"
