"""What the assistant reads: held to a filter, in other wordings, and with what stands around a passage."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from langchain_core.messages import HumanMessage

from app.services import Services
from core.settings import RetrievalSettings, Settings
from graphs.rag import RunContext, rag_graph
from models.chat import open_chat
from tests.conftest import Tenant
from tests.model_relay import Relay

QUESTION: Any = {"messages": [{"role": "user", "content": "When was the lighthouse of Kerzenfels built?"}]}
GOOD = "The lighthouse of Kerzenfels was built in 1821."
TEXT = f"# Kerzenfels\n\n{GOOD}\n\n" + "The harbour of Tornby lies two miles to the south of it. " * 30


async def ask(
    services: Services, settings: Settings, tenant: Tenant, retrieval: RetrievalSettings
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The custom events and the final state of the graph with these settings."""
    events: list[dict[str, Any]] = []
    state: dict[str, Any] = {}
    async with open_chat(settings.chat) as chat:
        graph = rag_graph(services.search, chat, retrieval).compile()
        messages: Any = {"messages": [HumanMessage(QUESTION["messages"][0]["content"])]}
        context = RunContext(scope=tenant.principal.scope)
        stream: Any = graph.astream(messages, context=context, stream_mode=["custom", "values"])
        async for mode, payload in stream:
            if mode == "custom":
                events.append(payload)
            else:
                state = payload
    return events, state


def finished(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (event,) = [event for event in events if event.get("step") == name and event["status"] == "finished"]
    return dict(event["detail"])


async def test_a_run_reads_only_what_passes_its_filter(tenant: Tenant, relay: Relay) -> None:
    await tenant.upload("k.md", TEXT.encode(), metadata=json.dumps({"year": 2024}))
    with relay.scripted(GOOD):
        for year, citations in ((2024, 1), (2023, 0)):
            state: Any = await tenant.sdk.runs.wait(
                None, "rag", input=QUESTION, context={"filter": {"year": {"$eq": year}}}
            )
            assert len(state["citations"]) == citations
    with pytest.raises(httpx.HTTPStatusError) as refused:
        await tenant.sdk.runs.wait(None, "rag", input=QUESTION, context={"filter": {"year": {"eq": 1}}})
    assert refused.value.response.status_code == 422


async def test_other_wordings_show_in_the_stream_and_are_searched(
    services: Services, settings: Settings, tenant: Tenant, relay: Relay
) -> None:
    await tenant.upload("k.md", TEXT.encode())
    with relay.scripted("In what year was the light made?", GOOD) as script:
        events, state = await ask(services, settings, tenant, RetrievalSettings(queries=1))
    assert finished(events, "rewrite") == {"queries": ["In what year was the light made?"], "hyde": ""}
    assert len(script.requests) == 2
    assert state["citations"][0]["quote"] == GOOD


async def test_without_other_wordings_in_time_the_question_is_searched_as_it_is(
    services: Services, settings: Settings, tenant: Tenant, relay: Relay
) -> None:
    await tenant.upload("k.md", TEXT.encode())
    retrieval = RetrievalSettings(hyde=True, rewrite_budget_ms=100)
    with relay.scripted(GOOD, pause_s=0.4):
        events, state = await ask(services, settings, tenant, retrieval)
    assert "REWRITE_BUDGET_MS" in finished(events, "rewrite")["fallback"]["hyde"]
    assert finished(events, "retrieve")["passages"] > 0
    assert state["citations"][0]["quote"] == GOOD


@pytest.mark.parametrize("expand", ["neighbours", "parent"])
async def test_citations_of_a_widened_passage_name_the_chunk_that_holds_the_quote(
    services: Services, settings: Settings, tenant: Tenant, relay: Relay, expand: str
) -> None:
    document = await tenant.upload("k.md", TEXT.encode())
    retrieval = RetrievalSettings.model_validate({"expand": expand, "expand_tokens": 1000, "passages": 1})
    said = "The harbour of Tornby lies two miles to the south of it."
    with relay.scripted(f"{GOOD} {said}") as script:
        _, state = await ask(services, settings, tenant, retrieval)
    assert script.requests[0]["messages"][1]["content"].count("[1]") == 1
    assert script.requests[0]["messages"][1]["content"].count("\n[2]") == 0
    chunks = (await tenant.http.get(f"/documents/{document['id']}/chunks")).json()["chunks"]
    texts = {chunk["id"]: chunk["text"] for chunk in chunks}
    assert len(texts) > 1
    assert [citation["quote"] for citation in state["citations"]] == [GOOD, said]
    for citation in state["citations"]:
        assert citation["quote"] in texts[citation["chunk_id"]]
        whole = (await tenant.http.get(f"/documents/{document['id']}/text")).json()["text"]
        assert whole[citation["start"] : citation["end"]] == citation["quote"]
