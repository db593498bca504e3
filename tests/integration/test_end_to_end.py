"""From an empty folder to a cited answer, through a `kill -9`, as a person would live it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from langgraph_sdk import get_sync_client

from tests.documents import make_pdf
from tests.program import run_program
from tests.trace_receiver import TraceReceiver, run_trace_receiver

PAGES = [
    "Kerzenfels is a small island in the north.\nThe ferry lands at the eastern pier.",
    "The lighthouse of Kerzenfels was built in 1821 by the engineer Marta Olsund.\nIt stands on a rock of red granite.",
    "The keeper is paid by the harbour office in Tornby.\nHe has a boat and two goats.",
]


def ask(sdk: Any, thread: str, question: str) -> dict[str, Any]:
    state: dict[str, Any] = sdk.runs.wait(thread, "rag", input={"messages": [{"role": "user", "content": question}]})
    return state


def indexed(http: httpx.Client, document: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while (found := http.get(f"/documents/{document}").json())["status"] not in ("indexed", "failed"):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return dict(found)


SECRET = "lsv2_secret_of_the_tracing_service"


@pytest.fixture
def receiver() -> Iterator[TraceReceiver]:
    with run_trace_receiver() as receiver:
        yield receiver


def test_a_person_uploads_asks_loses_the_power_and_goes_on(tmp_path: Path, receiver: TraceReceiver) -> None:
    tracing = {"LANGSMITH_TRACING": "true", "LANGSMITH_ENDPOINT": receiver.url, "LANGSMITH_API_KEY": SECRET}
    with ExitStack() as stack:
        program = stack.enter_context(run_program(tmp_path / "data", **tracing))
        key = program.key
        assert key
        http = stack.enter_context(httpx.Client(base_url=program.api_url, headers={"x-api-key": key}, timeout=120))
        sdk = stack.enter_context(get_sync_client(url=program.api_url, api_key=key))
        assert httpx.get(program.ui_url).status_code == 200

        content = make_pdf(PAGES)
        response = http.post("/documents", files={"files": ("island.pdf", content)})
        document = response.json()["documents"][0]["id"]
        assert indexed(http, document)["status"] == "indexed"

        thread = sdk.threads.create()["thread_id"]
        state = ask(sdk, thread, "When was the lighthouse of Kerzenfels built?")
        assert "1821" in state["messages"][-1]["content"]
        citation = state["citations"][0]
        assert (citation["document_id"], citation["page"]) == (document, 2)
        assert "1821" in citation["quote"]
        text = http.get(f"/documents/{document}/text").json()["text"]
        assert text[citation["start"] : citation["end"]] == citation["quote"]

        # Acknowledged, and then the power goes: nothing of it may be lost.
        long = "\n\n".join(f"Ship {number} carries {number * 7} barrels of herring to Tornby." for number in range(300))
        accepted = http.post("/documents", files={"files": ("ships.txt", long.encode())})
        assert accepted.status_code == 202
        ships = accepted.json()["documents"][0]["id"]
        below = program.kill()
        program.start()
        _, alive = psutil.wait_procs(below, timeout=20)
        assert alive == []
        assert http.get(f"/documents/{document}/content").content == content
        found = indexed(http, ships)
        assert (found["status"], found["done"]) == ("indexed", found["total"])
        search = {"query": "How many barrels does ship 123 carry?", "mode": "lexical", "limit": 1}
        hits = http.post("/search", json=search).json()["hits"]
        assert any("Ship 123 carries 861 barrels" in hit["chunk"]["text"] for hit in hits)

        values: Any = sdk.threads.get_state(thread)["values"]
        history = values["messages"]
        assert "1821" in history[-1]["content"]
        state = ask(sdk, thread, "Who was the engineer of the lighthouse of Kerzenfels?")
        assert len(state["messages"]) == 4
        assert "Olsund" in state["messages"][-1]["content"]
        assert [citation["page"] for citation in state["citations"]][:1] == [2]

        assert program.stop() == 0
    assert program.text().count(key) == 1
    check_traces(receiver)
    for log in (tmp_path / "data" / "logs").rglob("*"):
        if log.is_file():
            for secret in (key, SECRET, "Olsund", "herring", "engineer of the lighthouse"):
                assert secret not in log.read_text("utf-8", errors="replace"), (log, secret)


def check_traces(receiver: TraceReceiver) -> None:
    """Each question is one trace: the graph's steps, the search with its hits, the model calls with their tokens."""
    runs = receiver.runs()
    assert receiver.keys == {SECRET}
    roots = [run for run in runs if not run.get("parent_run_id")]
    assert [run["name"] for run in roots] == ["rag", "rag"]
    trace = [run for run in runs if run["trace_id"] == roots[-1]["id"]]
    assert {"contextualise", "retrieve", "generate", "verify"} <= {run["name"] for run in trace}
    (search,) = [run for run in trace if run["run_type"] == "retriever"]
    assert any("Olsund" in hit["page_content"] for hit in search["outputs"]["output"])
    calls = [run for run in trace if run["run_type"] == "llm"]
    tokens = [run["outputs"]["generations"][0][0]["message"]["kwargs"]["usage_metadata"] for run in calls]
    assert len(calls) == 2
    assert all(usage["input_tokens"] > 0 and usage["output_tokens"] > 0 for usage in tokens)
