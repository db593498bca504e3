"""The OpenAI-compatible surface through the stock client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.conftest import Tenant
from tests.documents import LIGHTHOUSE
from tests.model_relay import Relay

ASK: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "When was the lighthouse built?"},
]
GOOD = "The lighthouse of Kerzenfels was built in 1821 [1]. It sings. It stands on a rock of red granite."
VERIFIED = "The lighthouse of Kerzenfels was built in 1821. [1] It stands on a rock of red granite. [2]"


@pytest.fixture
async def client(tenant: Tenant, api: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{api}/v1", api_key=tenant.key, max_retries=0) as client:
        yield client


async def test_the_models_are_the_assistants(client: openai.AsyncOpenAI) -> None:
    assert "rag" in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve("rag")).owned_by == "ragstone"


async def test_an_answer_comes_whole_with_its_citations(
    tenant: Tenant, client: openai.AsyncOpenAI, relay: Relay
) -> None:
    document = await tenant.upload("k.md", LIGHTHOUSE.encode())
    with relay.scripted(GOOD):
        completion = await client.chat.completions.create(model="rag", messages=ASK)
    assert completion.choices[0].message.content == VERIFIED
    assert completion.usage is not None
    assert completion.usage.total_tokens == 18
    assert {citation["document_id"] for citation in completion.model_extra["citations"]} == {document["id"]}  # type: ignore[index]
    assert await tenant.sdk.threads.search() == []


async def test_an_answer_streams_only_verified_sentences(
    tenant: Tenant, client: openai.AsyncOpenAI, relay: Relay
) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    with relay.scripted(GOOD):
        stream = await client.chat.completions.create(
            model="rag", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(pieces) == VERIFIED
    assert len(pieces) > 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 7


async def test_a_failing_model_is_an_error_and_not_an_answer(
    tenant: Tenant, client: openai.AsyncOpenAI, relay: Relay
) -> None:
    await tenant.upload("k.md", LIGHTHOUSE.encode())
    with relay.scripted("", status=500):
        with pytest.raises(openai.InternalServerError, match="chat model"):
            await client.chat.completions.create(model="rag", messages=ASK)
        stream = await client.chat.completions.create(model="rag", messages=ASK, stream=True)
        with pytest.raises(openai.APIError, match="chat model"):
            _ = [chunk async for chunk in stream]


async def test_an_unknown_model_names_those_that_exist(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'rag'"):
        await client.chat.completions.create(model="gpt-9", messages=ASK)


async def test_a_wrong_key_is_refused(api: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{api}/v1", api_key="rag_wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_texts_are_embedded_as_unit_vectors(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="embedder", input=["a lighthouse", "a tower with a lamp", "soup"])
    lighthouse, tower, soup = [item.embedding for item in answer.data]
    near = sum(a * b for a, b in zip(lighthouse, tower, strict=True))
    far = sum(a * b for a, b in zip(lighthouse, soup, strict=True))
    assert sum(a * a for a in lighthouse) == pytest.approx(1, abs=1e-3)
    assert near > far
