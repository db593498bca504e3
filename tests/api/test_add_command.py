"""`python -m ingest add`, as a person starts it, against the real API."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Tenant
from tests.documents import FERRIES, LIGHTHOUSE
from tests.web_server import WebServer, respond, run_web_server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "lighthouse.md").write_text(LIGHTHOUSE)
    (folder / "deep" / "ferries.txt").write_text(FERRIES)
    return folder


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with run_web_server() as server:
        yield server


async def start(tenant: Tenant, *arguments: object, key: str | None = None) -> Process:
    environment = {
        **os.environ,
        "RAGSTONE_API_URL": str(tenant.http.base_url),
        "RAGSTONE_API_KEY": tenant.key if key is None else key,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "ingest", "add", *map(str, arguments)),
        cwd=ROOT,
        env=environment,
        stdout=PIPE,
        stderr=PIPE,
    )


async def add(tenant: Tenant, *arguments: object, key: str | None = None) -> tuple[int | None, str]:
    """The exit status, and what the command said."""
    process = await start(tenant, *arguments, key=key)
    said, wrong = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode, said.decode() + wrong.decode()


async def documents(tenant: Tenant) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in (await tenant.http.get("/documents")).json()["documents"]}


def numbers(text: str) -> dict[str, int]:
    """The summary's table."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


async def test_a_folder_is_added_and_the_next_time_only_what_changed(tenant: Tenant, folder: Path) -> None:
    status, said = await add(tenant, folder, "--metadata", "team=law", "--metadata", "year=2030")
    assert (status, numbers(said)) == (0, {"added": 2, "failed": 0}), said
    assert "files/s" in said
    assert "chunks/s" in said
    before = await documents(tenant)
    assert {name: (each["status"], each["metadata"]) for name, each in before.items()} == {
        "lighthouse.md": ("indexed", {"team": "law", "year": 2030}),
        "deep/ferries.txt": ("indexed", {"team": "law", "year": 2030}),
    }
    (folder / "lighthouse.md").write_text(LIGHTHOUSE.replace("1821", "1822"))
    (folder / "new.txt").write_text("A new one.")
    status, said = await add(tenant, folder)
    assert (status, numbers(said)) == (0, {"added": 1, "changed": 1, "unchanged": 1, "failed": 0}), said
    after = await documents(tenant)
    assert sorted(after) == ["deep/ferries.txt", "lighthouse.md", "new.txt"]
    assert after["lighthouse.md"]["id"] == before["lighthouse.md"]["id"]
    hits = (await tenant.http.post("/search", json={"query": "1822", "mode": "lexical"})).json()["hits"]
    assert [hit["document_name"] for hit in hits] == ["lighthouse.md"]


async def test_a_dry_run_shows_the_plan_and_does_nothing(tenant: Tenant, folder: Path) -> None:
    (folder / ".hidden").write_text("x")
    status, said = await add(tenant, folder, "--dry-run", "--exclude", "deep")
    assert status == 0
    assert said.splitlines() == [
        f"+ lighthouse.md ({len(LIGHTHOUSE)} B)",
        "! .hidden (1 B): hidden",
        f"! deep/ferries.txt ({len(FERRIES)} B): excluded",
        "Would be: 1 added, 2 skipped.",
    ]
    assert await documents(tenant) == {}


async def test_a_mirror_removes_what_is_gone_and_never_everything(tenant: Tenant, folder: Path) -> None:
    await add(tenant, folder)
    await tenant.upload("by hand.txt", b"Something else.")
    (folder / "lighthouse.md").unlink()
    status, said = await add(tenant, folder, "--mirror")
    assert (status, numbers(said)) == (0, {"removed": 1, "unchanged": 1, "failed": 0}), said
    assert sorted(await documents(tenant)) == ["by hand.txt", "deep/ferries.txt"]
    (folder / "deep" / "ferries.txt").unlink()
    status, said = await add(tenant, folder, "--mirror")
    assert (status, "is empty, and 1 documents came from it. Nothing was removed" in said) == (1, True), said
    assert sorted(await documents(tenant)) == ["by hand.txt", "deep/ferries.txt"]


async def test_what_fails_is_named_and_ends_with_status_1(tenant: Tenant, folder: Path) -> None:
    (folder / "broken.pdf").write_text("no PDF")
    (folder / "program.exe").write_bytes(b"MZ\x00\x00")
    status, said = await add(tenant, folder)
    assert (status, numbers(said)) == (1, {"added": 2, "failed": 2}), said
    assert "failed: broken.pdf: 'broken.pdf' is not a PDF" in said
    assert "failed: program.exe: " in said


async def test_files_of_the_same_bytes_are_one_document(tenant: Tenant, folder: Path) -> None:
    (folder / "copy.md").write_text(LIGHTHOUSE)
    status, said = await add(tenant, folder)
    assert (status, numbers(said)) == (0, {"added": 2, "unchanged": 1, "failed": 0}), said
    assert numbers((await add(tenant, folder, "--mirror"))[1]) == {"unchanged": 3, "failed": 0}
    # The document is known by the first of them; its bytes are still those of the other.
    (folder / "copy.md").unlink()
    await add(tenant, folder, "--mirror")
    assert len(await documents(tenant)) == 2
    (folder / "lighthouse.md").write_text("Other words.")
    (folder / "moved.md").write_text(LIGHTHOUSE)
    assert (await add(tenant, folder, "--mirror"))[0] == 0
    hits = (await tenant.http.post("/search", json={"query": "Olsund", "mode": "lexical"})).json()["hits"]
    assert len(hits) == 1


async def test_a_single_file_and_a_page_are_added_together(tenant: Tenant, folder: Path, web: WebServer) -> None:
    web.answers["/lamp"] = respond(b"<p>The lamp burns 14 litres of oil.</p>", content_type="text/html", etag='"1"')
    status, said = await add(tenant, folder / "lighthouse.md", web.url("/lamp"), "--quiet")
    assert (status, numbers(said)) == (0, {"added": 2, "failed": 0}), said
    assert sorted(await documents(tenant)) == ["127.0.0.1/lamp.html", "lighthouse.md"]
    status, said = await add(tenant, web.url("/lamp"), web.url("/gone"), "--quiet")
    assert (status, numbers(said)) == (1, {"unchanged": 1, "failed": 1}), said
    assert "failed: gone: The host '127.0.0.1' has nothing at this address (404)." in said
    status, said = await add(tenant, web.url("/lamp"), "--dry-run")
    assert (status, said) == (0, "? lamp\nWould be: 1 checked.\n")


async def test_a_watched_folder_is_followed(tenant: Tenant, folder: Path) -> None:
    process = await start(tenant, folder, "--watch", "--mirror", "--quiet")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(90):
            while "Watching" not in (await process.stdout.readline()).decode():
                pass
            (folder / "late.txt").write_text("It came later.")
            (folder / "lighthouse.md").unlink()
            while sorted(await documents(tenant)) != ["deep/ferries.txt", "late.txt"]:
                if not (folder / "late.txt").stat().st_size:
                    break
                await asyncio.sleep(0.1)
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 30)
    assert sorted(await documents(tenant)) == ["deep/ferries.txt", "late.txt"]


@pytest.mark.parametrize(
    ("arguments", "key", "words"),
    [
        (["missing.txt"], None, "There is no file or folder 'missing.txt'."),
        (["README.md"], "", "Set RAGSTONE_API_KEY to an API key"),
        (["README.md"], "rag_wrong", "not known or was revoked"),
        (["README.md", "--metadata", "team"], None, "--metadata wants KEY=VALUE"),
        (["https://example.org/", "--watch"], None, "give --every SECONDS"),
        (["s3://bucket/x", "--sitemap"], None, "--sitemap is for https:// addresses"),
        (["s3://bucket/x"], None, "SOURCES__PREFIXES"),
        (["README.md", "--url", "http://127.0.0.1:9"], None, "Ragstone does not answer at http://127.0.0.1:9"),
        (["README.md", "--collection", "nonesuch"], None, "There is no collection 'nonesuch'"),
    ],
)
async def test_what_cannot_be_done_is_said_without_a_traceback(
    tenant: Tenant, arguments: list[str], key: str | None, words: str
) -> None:
    status, said = await add(tenant, *arguments, key=key)
    assert (status, words in said, "Traceback" in said) == (1, True, False), said
    assert await documents(tenant) == {}
