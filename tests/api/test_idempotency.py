"""A request with an Idempotency-Key is carried out once, however often it is sent."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from app.idempotency.answer import Answers
from app.services import Services
from tests.conftest import Tenant

QUESTION = {"messages": [{"role": "user", "content": "hello"}]}


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


async def threads_of(tenant: Tenant) -> list[Any]:
    return list(await tenant.sdk.threads.search(limit=1000))


async def test_a_repetition_gets_the_first_answer(tenant: Tenant) -> None:
    headers = key()
    first = await tenant.http.post("/threads", json={"metadata": {"a": 1}}, headers=headers)
    again = await tenant.http.post("/threads", json={"metadata": {"a": 1}}, headers=headers)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (again.headers.get("idempotent-replayed"), first.headers.get("idempotent-replayed")) == ("true", None)
    assert len(await threads_of(tenant)) == 1


async def test_another_body_with_the_same_key_is_refused(tenant: Tenant) -> None:
    headers = key()
    await tenant.http.post("/threads", json={"metadata": {"a": 1}}, headers=headers)
    other = await tenant.http.post("/threads", json={"metadata": {"a": 2}}, headers=headers)
    assert (other.status_code, "another body" in other.json()["detail"]) == (422, True)
    assert len(await threads_of(tenant)) == 1


async def test_a_key_counts_for_one_principal_and_one_path(tenant: Tenant, colleague: Tenant) -> None:
    headers = key()
    made = [
        await tenant.http.post("/threads", json={}, headers=headers),
        await colleague.http.post("/threads", json={}, headers=headers),
    ]
    assert made[0].json()["thread_id"] != made[1].json()["thread_id"]
    collection = await tenant.http.post("/collections", json={"name": "new"}, headers=headers)
    assert collection.status_code == 201
    again = await tenant.http.post("/collections", json={"name": "new"}, headers=headers)
    assert (again.status_code, again.json()) == (201, collection.json())


async def test_of_many_at_once_one_is_carried_out(tenant: Tenant) -> None:
    headers = key()
    answers = await asyncio.gather(*(tenant.http.post("/threads", json={}, headers=headers) for _ in range(20)))
    made = {answer.json()["thread_id"] for answer in answers if answer.status_code == 200}
    assert len(made) == len(await threads_of(tenant)) == 1
    assert {answer.status_code for answer in answers} <= {200, 409}


async def test_a_run_that_is_waited_for_is_under_way_and_then_answered(tenant: Tenant) -> None:
    thread, headers = (await tenant.sdk.threads.create())["thread_id"], key()
    body = {"assistant_id": "slow", "input": QUESTION, "context": {"tokens": 20, "pause_s": 0.01}}
    first = asyncio.create_task(tenant.http.post(f"/threads/{thread}/runs/wait", json=body, headers=headers))
    while not await tenant.sdk.runs.list(thread):
        await asyncio.sleep(0.01)
    meanwhile = await tenant.http.post(f"/threads/{thread}/runs/wait", json=body, headers=headers)
    assert (meanwhile.status_code, "Idempotency-Key" in meanwhile.json()["detail"]) == (409, True)
    values = (await first).json()
    again = await tenant.http.post(f"/threads/{thread}/runs/wait", json=body, headers=headers)
    assert again.json() == values
    assert len(await tenant.sdk.runs.list(thread)) == 1


async def test_a_streamed_run_is_streamed_again_from_its_first_event(tenant: Tenant) -> None:
    thread, headers = (await tenant.sdk.threads.create())["thread_id"], key()
    body = {"assistant_id": "echo", "input": QUESTION, "stream_mode": ["values", "updates"]}
    first = await tenant.http.post(f"/threads/{thread}/runs/stream", json=body, headers=headers)
    again = await tenant.http.post(f"/threads/{thread}/runs/stream", json=body, headers=headers)
    assert "echo: hello" in first.text
    assert (again.status_code, again.text) == (200, first.text)
    assert again.headers["content-location"] == first.headers["content-location"]
    assert len(await tenant.sdk.runs.list(thread)) == 1


async def test_after_a_failure_the_key_is_free(tenant: Tenant) -> None:
    thread, headers = str(uuid.uuid4()), key()
    body = {"assistant_id": "echo", "input": QUESTION}
    assert (await tenant.http.post(f"/threads/{thread}/runs/wait", json=body, headers=headers)).status_code == 404
    await tenant.sdk.threads.create(thread_id=thread)
    answer = await tenant.http.post(f"/threads/{thread}/runs/wait", json=body, headers=headers)
    assert answer.json()["messages"][-1]["content"] == "echo: hello"


async def test_an_upload_is_known_again_by_what_it_holds(tenant: Tenant) -> None:
    headers = key()

    async def upload(content: bytes) -> httpx.Response:
        return await tenant.http.post("/documents", files={"files": ("a.txt", content)}, headers=headers)

    first, again, other = await upload(b"one"), await upload(b"one"), await upload(b"two")
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 422)
    assert again.json() == first.json()


async def test_an_answer_that_is_too_long_is_not_carried_out_again(tenant: Tenant) -> None:
    await tenant.sdk.store.put_item(["a"], "long", {"text": "x" * (1 << 20)}, index=False)
    headers = key()
    first = await tenant.http.post("/store/items/search", json={}, headers=headers)
    again = await tenant.http.post("/store/items/search", json={}, headers=headers)
    assert (first.status_code, again.status_code, "not kept" in again.json()["detail"]) == (200, 409, True)


async def test_answers_are_kept_for_a_time_and_not_longer_than_their_thread(tenant: Tenant, services: Services) -> None:
    headers = key()

    async def rows() -> int:
        async with services.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT FROM idempotency_keys WHERE principal_id = %s", (tenant.principal.id,)
            )
            return cursor.rowcount

    async def age() -> None:
        async with services.pool.connection() as connection:
            await connection.execute(
                "UPDATE idempotency_keys SET created_at = created_at - interval '25 hours' WHERE principal_id = %s",
                (tenant.principal.id,),
            )

    first = (await tenant.http.post("/threads", json={}, headers=headers)).json()["thread_id"]
    await age()
    second = (await tenant.http.post("/threads", json={}, headers=headers)).json()["thread_id"]
    assert first != second
    assert await rows() == 1
    await tenant.sdk.threads.delete(second)
    assert await rows() == 0
    await tenant.http.post("/collections", json={"name": "new"}, headers=headers)
    await age()
    assert await Answers(services.pool, 24).sweep() >= 1
    assert await rows() == 0


@pytest.mark.parametrize("bad", [b"", b"with space", "é".encode(), b"k" * 256])
async def test_a_key_that_cannot_be_is_refused(tenant: Tenant, bad: bytes) -> None:
    response = await tenant.http.post("/threads", json={}, headers={b"Idempotency-Key": bad})
    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")


async def test_who_is_not_known_gets_no_answer_of_others(tenant: Tenant, api: str) -> None:
    headers = key()
    await tenant.http.post("/threads", json={}, headers=headers)
    async with httpx.AsyncClient(base_url=api) as http:
        assert (await http.post("/threads", json={}, headers=headers)).status_code == 401


async def test_a_request_above_the_limit_is_refused_with_a_key_too(tenant: Tenant) -> None:
    response = await tenant.http.post("/threads", content=b"x" * (5 << 20), headers=key())
    assert (response.status_code, response.headers["content-type"]) == (413, "application/problem+json")
