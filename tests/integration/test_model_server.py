from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from openai.types.shared_params.response_format_json_schema import JSONSchema

from models.catalog import read_catalog
from tests.model_server import ROOT, TINY, models_dir, start_model_server, wait_until_ready

COLOURS: JSONSchema = {
    "name": "colour",
    "schema": {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
    },
}
PARENT = """
import sys, time
from pathlib import Path
from tests.model_server import TINY, models_dir, start_model_server, wait_until_ready
process = start_model_server(TINY, models_dir(), Path(sys.argv[1]))
wait_until_ready(process, Path(sys.argv[1]))
print(process.pid, flush=True)
time.sleep(600)
"""
# A story that does not end by itself, so that a request is still worked on when the test looks.
ENDLESS: dict[str, Any] = {"max_tokens": 3000, "extra_body": {"ignore_eos": True}}


@pytest.fixture
async def client(model_server: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=model_server, api_key="none", timeout=120) as client:
        yield client


async def busy_slots(base_url: str) -> int:
    async with httpx.AsyncClient() as client:
        slots = (await client.get(base_url.removesuffix("/v1") + "/slots")).json()
    return sum(slot["is_processing"] for slot in slots)


async def until_busy(base_url: str, wanted: int) -> None:
    async with asyncio.timeout(60):
        while await busy_slots(base_url) != wanted:  # another process's state
            await asyncio.sleep(0.05)


async def test_health_and_the_catalog_name_are_served(model_server: str, client: AsyncOpenAI) -> None:
    async with httpx.AsyncClient() as http:
        health = await http.get(model_server.removesuffix("/v1") + "/health")
    assert health.json() == {"status": "ok"}
    assert [model.id async for model in client.models.list()] == [TINY]


async def test_other_origins_and_the_servers_own_page_are_closed(model_server: str) -> None:
    async with httpx.AsyncClient(base_url=model_server.removesuffix("/v1")) as http:
        answer = await http.get("/health", headers={"Origin": "http://elsewhere.example"})
        page = await http.get("/")
    assert answer.headers.get("Access-Control-Allow-Origin", "") == ""
    assert page.status_code == 404


async def test_a_streamed_answer_ends_with_its_usage(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=TINY,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        temperature=0,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    usage = chunks[-1].usage
    assert "Paris" in "".join(text)
    assert len(text) > 3
    assert usage is not None
    assert usage.prompt_tokens > 10
    assert 0 < usage.completion_tokens <= 24


async def test_a_json_schema_constrains_the_answer(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=TINY,
        messages=[{"role": "user", "content": "What is the colour of the sky?"}],
        temperature=0,
        max_tokens=32,
        response_format={"type": "json_schema", "json_schema": COLOURS},
    )
    assert json.loads(answer.choices[0].message.content or "")["colour"] in {"red", "blue"}


async def test_a_repeated_prefix_is_taken_from_the_prompt_cache(client: AsyncOpenAI) -> None:
    system = "Answer in one word. " * 30
    cached = []
    for question in ("One?", "Two?"):
        answer = await client.chat.completions.create(
            model=TINY,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": question}],
            max_tokens=2,
        )
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        cached.append(answer.usage.prompt_tokens_details.cached_tokens or 0)
    assert cached[1] > 100


async def test_two_requests_are_worked_on_at_once_and_a_client_that_leaves_frees_its_slot(
    model_server: str, client: AsyncOpenAI
) -> None:
    streams = [
        await client.chat.completions.create(
            model=TINY, messages=[{"role": "user", "content": f"Story {n}"}], stream=True, **ENDLESS
        )
        for n in range(2)
    ]
    for stream in streams:
        await anext(aiter(stream))
    await until_busy(model_server, 2)
    await streams[0].close()
    await until_busy(model_server, 1)
    await streams[1].close()
    await until_busy(model_server, 0)


async def test_a_signal_ends_it_in_the_middle_of_an_answer_with_status_0(tmp_path: Path) -> None:
    process = start_model_server(TINY, models_dir(), tmp_path / "status.json")
    try:
        url = wait_until_ready(process, tmp_path / "status.json")
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            stream = await client.chat.completions.create(
                model=TINY, messages=[{"role": "user", "content": "A story"}], stream=True, **ENDLESS
            )
            await anext(aiter(stream))
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 30) == 0
            await stream.close()
    finally:
        process.kill()
        process.wait()


def test_it_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    status_file = tmp_path / "status.json"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PARENT,
            str(status_file),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether the process lives; one that is dead and not yet waited for does not."""
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_process_whose_parent_is_gone_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.serving", "serve", "--model", TINY, "--models-dir", str(models_dir())]
    status_file = tmp_path / "status.json"
    command += ["--port", "0", "--status-file", str(status_file), "--parent", str(os.getpid() + 1)]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == 1
    assert not status_file.exists()


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start_model_server(TINY, models_dir(), tmp_path / "status.json", port=port)
        assert process.wait(60) == 1
    status = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert status["status"] == "failed"
    assert f"Port {port} of '127.0.0.1' is in use" in status["detail"]


def test_a_damaged_model_file_is_said_in_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / read_catalog().entry(TINY).served_file
    damaged.write_bytes(b"GGUF" + bytes(1000))
    process = start_model_server(TINY, tmp_path, tmp_path / "status.json")
    assert process.wait(60) == 1
    status = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert status["status"] == "failed"
    assert f"delete {str(damaged)!r}" in status["detail"]
