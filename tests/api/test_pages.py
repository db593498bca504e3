"""What the pages tell people to type, typed."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from graphs.answer import NOT_ANSWERED, NOTHING_FOUND
from tests.conftest import Tenant
from tests.documents import make_pdf

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8000"


def blocks(page: str, language: str, holding: str) -> list[str]:
    """The page's code blocks that hold a text; there must be one."""
    found = [code for kind, code in BLOCK.findall((ROOT / page).read_text("utf-8")) if kind == language]
    chosen = [code for code in found if holding in code]
    assert chosen, f"{page} has no block of {language} with {holding!r}"
    return chosen


async def run(argv: list[str], tenant: Tenant, folder: Path) -> str:
    """Run a program as the pages' reader would; what it prints."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=folder,
        env={**os.environ, "RAGSTONE_KEY": tenant.key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return out.decode()


ANSWER = re.compile(rf"\[1\]|{NOT_ANSWERED}|{NOTHING_FOUND}")
HITS = re.compile(r"^indexed None$.*store\.md The cold store", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("page", "holding", "printed"),
    [
        ("README.md", "get_sync_client", ANSWER),
        ("docs/how-to/call-from-python.md", "runs.stream", ANSWER),
        ("docs/how-to/call-from-python.md", "chat.completions", ANSWER),
        ("docs/how-to/call-from-python.md", "httpx.Client", HITS),
    ],
)
async def test_python_on_the_pages_runs(
    tenant: Tenant, api: str, tmp_path: Path, page: str, holding: str, printed: re.Pattern[str]
) -> None:
    await tenant.upload("guide.md", b"The cold store is kept at 4 degrees. The notice period is three months.")
    for code in blocks(page, "python", holding):
        said = await run([sys.executable, "-W", "error", "-c", code.replace(ADDRESS, api)], tenant, tmp_path)
        assert printed.search(said)


async def test_curl_on_the_pages_runs(tenant: Tenant, api: str, tmp_path: Path) -> None:
    (tmp_path / "contract.pdf").write_bytes(make_pdf(["The notice period is three months."]))
    for code in blocks("README.md", "sh", "curl"):
        lines = code.replace("export RAGSTONE_KEY=rag_…\n", "").replace(ADDRESS, api).replace("curl ", "curl --fail ")
        said = await run(["sh", "-ec", lines], tenant, tmp_path)
        assert '"status":"queued"' in said
        assert '"hits":[' in said
        assert '"citations":[' in said
