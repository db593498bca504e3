"""`python -m ingest reembed` and `reconcile`, as a person starts them, against the real API."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import uuid
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from app.services import Services
from core.domain import DocumentId, Scope
from core.settings import variables
from tests.conftest import Tenant
from tests.documents import LIGHTHOUSE

ROOT = Path(__file__).parents[2]


async def run(tenant: Tenant, *arguments: str, **env: str) -> tuple[int | None, str]:
    """The exit status, and what the command said; it knows nothing but the address and the key."""
    environment = {name: value for name, value in os.environ.items() if name not in variables()}
    environment |= {"RAGSTONE_API_URL": str(tenant.http.base_url), "RAGSTONE_API_KEY": tenant.key, **env}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ingest", *arguments, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE
    )
    said, wrong = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode, said.decode() + wrong.decode()


async def test_reembed_makes_a_collection_anew_and_says_what_it_is_made_with(tenant: Tenant) -> None:
    name = "old papers"
    assert (await tenant.http.post("/collections", json={"name": name})).status_code == 201
    document = await tenant.upload("k.md", LIGHTHOUSE.encode(), collection=name)
    status, said = await run(tenant, "reembed", name, "--chunker", '{"strategy": "structure", "tokens": 40}')
    assert status == 0, said
    assert "1 documents made anew" in said
    assert "structure-" in said
    collection = (await tenant.http.get(f"/collections/{name}")).json()
    assert (collection["rebuild"]["status"], collection["chunker"]["tokens"]) == ("done", 40)
    assert (await tenant.http.get(f"/documents/{document['id']}")).json()["status"] == "indexed"


async def test_the_command_that_a_refused_upload_names_is_one_that_works(tenant: Tenant, services: Services) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    async with services.pool.connection() as connection:
        await connection.execute(
            "UPDATE collections SET chunker = 'structure-1' WHERE tenant_id = %s", (tenant.principal.tenant,)
        )
    refused = await tenant.http.post("/documents", files={"files": ("n.md", b"# New\n\nSomething new.\n")})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/stamp-mismatch")
    assert "`python -m ingest reembed default`" in refused.json()["detail"]
    status, said = await run(tenant, "reembed", "default", "--quiet")
    assert status == 0, said
    assert (await tenant.upload("n.md", b"# New\n\nSomething new.\n"))["status"] == "indexed"


async def test_the_command_that_a_refused_change_names_does_without_what_cannot_be_made_anew(
    tenant: Tenant, services: Services
) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    lost = await tenant.upload("nets.md", b"# Nets\n\nJonas Ravn mends nets.\n")
    await services.blobs.delete(f"{tenant.principal.tenant}/{lost['id']}")
    body = {"chunker": {"strategy": "structure", "tokens": 40}}
    await tenant.http.post("/collections/default/reembed", json=body)
    async with asyncio.timeout(60):
        while (rebuild := (await tenant.http.get("/collections/default")).json()["rebuild"])["status"] != "failed":
            await asyncio.sleep(0.05)
    command = shlex.split(rebuild["error"].split("`")[1])
    assert command[:3] == ["python", "-m", "ingest"]
    status, said = await run(tenant, *command[3:], "--quiet")
    assert status == 0, said
    assert f"to be left out, if it still cannot be made anew: nets.md ({lost['id']}): The original file" in said
    assert "1 documents made anew" in said
    assert f"\nleft out: nets.md ({lost['id']})" in said
    collection = (await tenant.http.get("/collections/default")).json()
    assert collection["chunker"]["tokens"] == 40
    status, said = await run(tenant, "reembed", "default", "--leave-out-refused")
    assert (status, "Ask without --leave-out-refused" in said) == (1, True), said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reembed", "nothing"], "There is no collection 'nothing'"),
        (["reembed", "default", "--chunker", "{"], "--chunker takes a spec as JSON"),
        (["reembed", "default", "--embedder", "/no/such/model"], "/no/such/model"),
    ],
)
async def test_what_cannot_be_made_anew_is_refused_with_a_reason(
    tenant: Tenant, arguments: list[str], words: str
) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    status, said = await run(tenant, *arguments)
    assert status == 1
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", [["reembed", "default"], ["reconcile"]])
async def test_without_a_key_a_command_says_where_one_comes_from(tenant: Tenant, command: list[str]) -> None:
    status, said = await run(tenant, *command, RAGSTONE_API_KEY="")
    assert status == 1
    assert "RAGSTONE_API_KEY" in said


async def test_reconcile_reports_and_with_repair_puts_right_what_is_missing(
    tenant: Tenant, stranger: Tenant, services: Services
) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    id_, scope = DocumentId(uuid.UUID(str(document["id"]))), Scope(tenant=tenant.principal.tenant)
    keys = [key async for page in services.index.scan(scope, id_) for key in page]
    await services.index.delete(tenant.principal.tenant, id_, only=[keys[0].id])
    status, said = await run(tenant, "reconcile")
    assert status == 1
    assert "missing_points" in said
    assert str(id_) in said
    reports = (await stranger.http.get("/reconcile")).json()["reconciliations"]
    assert str(id_) not in json.dumps(reports), "the documents of others are nobody's business"
    await run(tenant, "reconcile", "--repair")
    assert {key.id async for page in services.index.scan(scope, id_) for key in page} == {key.id for key in keys}
    _, said = await run(tenant, "reconcile")
    assert str(id_) not in said


async def test_only_an_administrator_may_compare_everything(tenant: Tenant, colleague: Tenant) -> None:
    for request in (colleague.http.post("/reconcile"), colleague.http.get("/reconcile")):
        refused = await request
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
    status, said = await run(colleague, "reconcile")
    assert status == 1
    assert "administrator" in said
