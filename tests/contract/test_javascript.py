"""The stock JavaScript client against our API, in Node."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.conftest import Tenant

FOLDER = Path(__file__).parents[1] / "javascript"
NEEDED = "Node.js 20 or newer with npm is needed for the JavaScript client: apt-get install nodejs npm."


@pytest.fixture(scope="session")
def javascript() -> Path:
    """A folder with the test's program and the packages that it needs, installed once for each lock file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing(NEEDED)
    lock = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ragstone-tests" / f"javascript-{lock}"
    if not (cache / "installed").exists():
        cache.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(FOLDER / name, cache)
        command = ["npm", "ci", "--omit=peer", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            missing(f"npm cannot install the JavaScript client: {done.stderr[-500:]}")
        (cache / "installed").touch()
    shutil.copy(FOLDER / "client.mjs", cache)
    return cache


def missing(reason: str) -> NoReturn:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@pytest.fixture
async def outcome(javascript: Path, api: str, tenant: Tenant) -> Any:
    """What the program found."""
    process = await asyncio.create_subprocess_exec(
        "node", "client.mjs", api, tenant.key, cwd=javascript, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


async def test_the_javascript_client_creates_streams_interrupts_resumes_joins_and_cancels(outcome: Any) -> None:
    streamed, interrupted, joined = outcome["streamed"], outcome["interrupted"], outcome["joined"]
    events = streamed["events"]
    assert events[0] == "metadata"
    assert {event.partition("|")[0] for event in events} >= {"values", "updates", "custom", "messages"}
    assert [event for event in events if event.startswith("updates|inner:")]
    assert [int(place) for place in streamed["ids"]] == sorted({int(place) for place in streamed["ids"]})
    chosen = [event for event in events[3:] if event.partition("|")[0] in ("values", "updates", "end")]
    assert streamed["again"] == chosen
    assert streamed["steps"] == ["before", "first", "second", "after"]
    assert [item["value"] for item in interrupted["asked"]] == [{"question": "Why?"}] * 2
    assert (interrupted["status"], interrupted["answer"]) == ("interrupted", "told: Because.")
    assert [item["id"] for item in interrupted["interrupts"]] == [interrupted["asked"][0]["id"]]
    assert joined["text"].split() == joined["last"].split() == [f"w{number}" for number in range(8)]
    assert joined["found"]
    assert outcome["cancelled"] == "interrupted"
