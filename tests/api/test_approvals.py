"""Approvals over HTTP: by the stock client's resume, by the route, by the agent inbox, by fifty people at once."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from langgraph_sdk.errors import NotFoundError

from app.services import Services
from tests.conftest import Tenant
from tests.gated import TABLE, effects

APPROVE = {"type": "approve"}


def asking(*calls: tuple[str, Mapping[str, Any]]) -> Any:
    return {"messages": [{"role": "user", "content": json.dumps(calls)}]}


def charge(customer: str, amount: int = 1, tool: str = "charge") -> tuple[str, dict[str, Any]]:
    return tool, {"customer": customer, "amount": amount}


@pytest.fixture
async def customer(services: Services) -> str:
    async with services.pool.connection() as connection:
        await connection.execute(TABLE)
    return f"ann-{uuid.uuid4()}"


async def interrupted(tenant: Tenant, *calls: tuple[str, Mapping[str, Any]], agent: str = "gated") -> str:
    """A thread whose run waits for the decisions about these calls."""
    thread: str = (await tenant.sdk.threads.create())["thread_id"]
    await tenant.sdk.runs.wait(thread, agent, input=asking(*calls))
    assert (await tenant.sdk.threads.get(thread))["status"] == "interrupted"
    return thread


async def resume(tenant: Tenant, thread: str, answer: Any, agent: str = "gated") -> Any:
    return await tenant.sdk.runs.wait(thread, agent, command={"resume": answer})


@contextmanager
def refused(status: int) -> Iterator[None]:
    """The stock client is answered with this status."""
    with pytest.raises(httpx.HTTPStatusError) as caught:
        yield
    assert caught.value.response.status_code == status


async def requests(tenant: Tenant, thread: str) -> list[dict[str, Any]]:
    """What the thread asks, by all of its interrupts."""
    state: Any = await tenant.sdk.threads.get_state(thread)
    return [request for found in state["interrupts"] for request in found["value"]["action_requests"]]


async def pending(tenant: Tenant, thread: str) -> list[dict[str, Any]]:
    found = (await tenant.http.get("/approvals", params={"status": "pending"})).json()["approvals"]
    return [one for one in found if one["thread_id"] == thread]


async def decide(tenant: Tenant, approval: str, **decision: Any) -> httpx.Response:
    return await tenant.http.post(f"/approvals/{approval}", json=decision)


async def settled(tenant: Tenant, thread: str) -> dict[str, Any]:
    """The thread when nothing waits or runs on it."""
    while (found := await tenant.sdk.threads.get(thread))["status"] != "idle":
        await asyncio.sleep(0.02)
    return dict(found)


async def test_the_question_is_langchains_and_says_which_calls_it_is_about(tenant: Tenant, customer: str) -> None:
    thread = await interrupted(tenant, charge(customer, 1), charge(customer, 2, "confirm"))
    state: Any = await tenant.sdk.threads.get_state(thread)
    (found,) = state["interrupts"]
    first, second = found["value"]["action_requests"]
    assert (first["name"], first["args"], first["arguments"]) == (*charge(customer, 1), charge(customer, 1)[1])
    assert (first["tool_call_id"], second["tool_call_id"]) == ("call-0", "call-1")
    assert [config["allowed_decisions"] for config in found["value"]["review_configs"]] == [
        ["approve", "edit", "reject", "respond"],
        ["approve", "reject"],
    ]
    listed = await pending(tenant, thread)
    assert [one["id"] for one in reversed(listed)] == [first["approval_id"], second["approval_id"]]
    assert (listed[1]["args"], listed[1]["description"]) == (charge(customer, 1)[1], "Charge a customer.")


async def test_fifty_resumes_of_one_approval_are_one_run_and_one_effect(tenant: Tenant, customer: str) -> None:
    thread = await interrupted(tenant, charge(customer))
    body = {"assistant_id": "gated", "command": {"resume": {"decisions": [APPROVE]}}}
    answers = await asyncio.gather(*(tenant.http.post(f"/threads/{thread}/runs", json=body) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 49
    await settled(tenant, thread)
    assert await effects_of(tenant, thread, customer) == [f"{customer} 1"]
    assert len(await tenant.sdk.runs.list(thread, limit=100)) == 2


async def effects_of(tenant: Tenant, thread: str, customer: str) -> list[str]:
    """What the thread's results say was charged."""
    state: Any = await tenant.sdk.threads.get_state(thread)
    told = [message["content"] for message in state["values"]["messages"] if message["type"] == "tool"]
    return sorted(text.split("charged ")[1] for text in told if "charged" in text)


async def test_of_fifty_decisions_by_the_route_one_counts(tenant: Tenant, services: Services, customer: str) -> None:
    thread = await interrupted(tenant, charge(customer))
    (approval,) = await pending(tenant, thread)
    answers = await asyncio.gather(
        *(decide(tenant, approval["id"], decision="edit", args=charge(customer, 7 + n)[1]) for n in range(50))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 49
    await settled(tenant, thread)
    (charged,) = await effects(services.pool, customer)
    after = (await tenant.http.get(f"/approvals/{approval['id']}")).json()
    assert charged == f"{customer} {after['decided_args']['amount']}"
    assert (after["status"], after["decision"], after["args"]) == ("done", "edit", charge(customer)[1])
    assert (after["decider_name"], after["decider_id"]) == (tenant.principal.name, str(tenant.principal.id))
    assert after["decided_at"] > after["created_at"]


async def test_decisions_are_bound_to_calls_in_any_order(tenant: Tenant, services: Services, customer: str) -> None:
    thread = await interrupted(tenant, *(charge(customer, n) for n in range(3)))
    answer = {
        "decisions": [
            {
                "type": "edit",
                "edited_action": {"name": "charge", "args": charge(customer, 9)[1]},
                "tool_call_id": "call-2",
            },
            {"type": "reject", "message": "Not the first.", "tool_call_id": "call-0"},
            {**APPROVE, "tool_call_id": "call-1"},
        ]
    }
    state = await resume(tenant, thread, answer)
    assert sorted(await effects(services.pool, customer)) == [f"{customer} 1", f"{customer} 9"]
    assert "Not the first." in state["messages"][-1]["content"]


@pytest.mark.parametrize(
    "answer",
    [
        {"decisions": [APPROVE]},
        {"decisions": [{**APPROVE, "tool_call_id": "call-0"}]},
        {"decisions": [APPROVE, {"type": "respond", "message": "not allowed here"}]},
        [{"type": "accept", "args": None}],
    ],
)
async def test_an_answer_that_does_not_fit_leaves_the_question_open(
    tenant: Tenant, services: Services, customer: str, answer: Any
) -> None:
    thread = await interrupted(tenant, charge(customer), charge(customer, 2, "confirm"))
    with refused(422):
        await resume(tenant, thread, answer)
    assert (await tenant.sdk.threads.get(thread))["status"] == "interrupted"
    assert [one["status"] for one in await pending(tenant, thread)] == ["pending"] * 2
    await resume(tenant, thread, {"decisions": [APPROVE, {"type": "reject"}]})
    assert await effects(services.pool, customer) == [f"{customer} 1"]
    with refused(409):
        await resume(tenant, thread, {"decisions": [APPROVE, APPROVE]})


async def test_calls_are_decided_one_by_one_and_the_run_goes_on_with_the_last(
    tenant: Tenant, services: Services, customer: str
) -> None:
    thread = await interrupted(tenant, charge(customer, 1), charge(customer, 2))
    second, first = await pending(tenant, thread)
    early = (await decide(tenant, second["id"], decision="approve")).json()
    assert (early["runs"], (await tenant.sdk.threads.get(thread))["status"]) == ([], "interrupted")
    assert await effects(services.pool, customer) == []
    with refused(409):
        await resume(tenant, thread, {"decisions": [APPROVE, APPROVE]})
    last = (await decide(tenant, first["id"], decision="respond", message="Paid in cash.")).json()
    assert len(last["runs"]) == 1
    await tenant.sdk.runs.join(thread, last["runs"][0])
    assert await effects(services.pool, customer) == [f"{customer} 2"]
    assert "Paid in cash." in str((await settled(tenant, thread))["values"])


async def test_interrupts_of_parallel_branches_are_answered_together(
    tenant: Tenant, services: Services, customer: str
) -> None:
    calls = charge(customer, 1), charge(customer, 2)
    thread = await interrupted(tenant, *calls, agent="pair")
    waiting = await requests(tenant, thread)
    assert sorted(request["args"]["amount"] for request in waiting) == [1, 2]
    with refused(422):
        await resume(tenant, thread, {"decisions": [APPROVE, APPROVE]}, "pair")
    kinds = {1: {"type": "reject", "message": "No."}, 2: APPROVE}
    said = [{**kinds[request["args"]["amount"]], "approval_id": request["approval_id"]} for request in waiting]
    await resume(tenant, thread, {"decisions": said}, "pair")
    assert await effects(services.pool, customer) == [f"{customer} 2"]

    thread = await interrupted(tenant, *calls, agent="pair")
    state: Any = await tenant.sdk.threads.get_state(thread)
    await resume(tenant, thread, {found["id"]: {"decisions": [APPROVE]} for found in state["interrupts"]}, "pair")
    assert sorted(await effects(services.pool, customer)) == [f"{customer} 1", f"{customer} 2", f"{customer} 2"]


async def test_several_approvals_are_decided_at_once_or_not_at_all(
    tenant: Tenant, services: Services, customer: str
) -> None:
    thread = await interrupted(tenant, charge(customer, 1), charge(customer, 2, "confirm"))
    second, first = await pending(tenant, thread)
    wrong = [{"id": first["id"], "decision": "approve"}, {"id": second["id"], "decision": "respond", "message": "x"}]
    assert (await tenant.http.post("/approvals", json={"decisions": wrong})).status_code == 422
    assert len(await pending(tenant, thread)) == 2
    right = [{"id": first["id"], "decision": "approve"}, {"id": second["id"], "decision": "reject"}]
    answer = (await tenant.http.post("/approvals", json={"decisions": right})).json()
    await tenant.sdk.runs.join(thread, answer["runs"][0])
    assert await effects(services.pool, customer) == [f"{customer} 1"]


async def test_whose_decision_it_is(
    tenant: Tenant, colleague: Tenant, viewer: Tenant, stranger: Tenant, services: Services, customer: str
) -> None:
    thread = await interrupted(colleague, charge(customer, 1, "refund"))
    (request,) = await requests(colleague, thread)
    approval = request["approval_id"]
    for other in (viewer, stranger):
        assert await pending(other, thread) == []
        assert (await other.http.get(f"/approvals/{approval}")).status_code == 404
        assert (await decide(other, approval, decision="approve")).status_code == 404
    # Who started the thread sees that it waits, and for whom; the decision is an administrator's.
    assert (await colleague.http.get(f"/approvals/{approval}")).json()["decided_by"] == ["role:administrator"]
    assert await pending(colleague, thread) == []
    assert (await decide(colleague, approval, decision="approve")).status_code == 403
    forged = {"assistant_id": "gated", "command": {"resume": {"decisions": [APPROVE]}}}
    assert (await colleague.http.post(f"/threads/{thread}/runs", json=forged)).status_code == 403
    assert await effects(services.pool, customer) == []
    assert [one["id"] for one in await pending(tenant, thread)] == [approval]
    answer = (await decide(tenant, approval, decision="approve")).json()
    await colleague.sdk.runs.join(thread, answer["runs"][0])
    assert await effects(services.pool, customer) == [f"{customer} 1"]
    with pytest.raises(NotFoundError):
        await tenant.sdk.threads.get(thread)


async def test_nobody_decided_in_time(tenant: Tenant, services: Services, customer: str) -> None:
    thread = await interrupted(tenant, charge(customer, 1, "hurry"))
    (approval,) = await pending(tenant, thread)
    assert (await decide(tenant, approval["id"], decision="approve")).status_code == 409
    await services.approvals.sweep()
    assert "Nobody decided in time." in str((await settled(tenant, thread))["values"])
    after = (await tenant.http.get(f"/approvals/{approval['id']}")).json()
    assert (after["status"], after["decision"], after["decider_id"]) == ("rejected", "reject", None)
    assert await effects(services.pool, customer) == []


async def test_a_decision_whose_run_did_not_start_is_taken_up_by_the_sweep(
    tenant: Tenant, services: Services, customer: str
) -> None:
    """As after a crash between the decision and the run; a thread whose graph is gone does not hold up the others."""
    lost, thread = await interrupted(tenant, charge(customer, 2)), await interrupted(tenant, charge(customer))
    async with services.pool.connection() as connection:
        await connection.execute(
            """UPDATE runs SET metadata = metadata || '{"graph_id": "gone"}' WHERE thread_id = %s""", (lost,)
        )
        await connection.execute(
            "UPDATE tool_calls SET status = 'approved', decision = 'approve' WHERE thread_id = ANY(%s::uuid[])",
            ([lost, thread],),
        )
    await services.approvals.sweep()
    await settled(tenant, thread)
    await services.approvals.sweep()
    assert await effects(services.pool, customer) == [f"{customer} 1"]


async def test_the_agent_inbox_is_understood(tenant: Tenant, services: Services, customer: str) -> None:
    """Its requests as it sends them: threads that are interrupted, the legacy list, and its way to ignore."""
    accepted = await interrupted(tenant, charge(customer, 1))
    found: Any = await tenant.sdk.threads.search(status="interrupted", limit=10)
    (question,) = next(iter(found[0]["interrupts"].values()))
    assert question["value"]["action_requests"][0]["arguments"] == charge(customer, 1)[1]
    await resume(tenant, accepted, [{"type": "accept", "args": None}])
    edited = await interrupted(tenant, charge(customer, 2))
    await resume(tenant, edited, [{"type": "edit", "args": {"action": "charge", "args": charge(customer, 5)[1]}}])
    answered = await interrupted(tenant, charge(customer, 3))
    state = await resume(tenant, answered, [{"type": "response", "args": "Paid in cash."}])
    assert "Paid in cash." in state["messages"][-1]["content"]
    assert await effects(services.pool, customer) == [f"{customer} 1", f"{customer} 5"]

    ignored = await interrupted(tenant, charge(customer, 4))
    (approval,) = await pending(tenant, ignored)
    await tenant.sdk.threads.update_state(ignored, values=None, as_node="__end__")
    assert await pending(tenant, ignored) == []
    assert (await decide(tenant, approval["id"], decision="approve")).status_code == 409
    await talk_on(tenant, ignored)
    assert len(await effects(services.pool, customer)) == 2


async def talk_on(tenant: Tenant, thread: str) -> None:
    """The thread can be talked to, and no call in it is without a result."""
    question: Any = {"messages": [{"role": "user", "content": "Never mind."}]}
    state: Any = await tenant.sdk.runs.wait(thread, "gated", input=question)
    assert state["messages"][-1]["content"] == "echo: Never mind."


async def test_agent_chat_uis_way_to_resume_and_to_resolve(tenant: Tenant, services: Services, customer: str) -> None:
    thread = await interrupted(tenant, charge(customer))
    body: dict[str, Any] = {
        "assistant_id": "gated",
        "input": {},
        "stream_mode": ["values"],
        "on_disconnect": "continue",
    }
    command = {"resume": {"decisions": [APPROVE]}}
    answer = await tenant.http.post(f"/threads/{thread}/runs/stream", json={**body, "command": command})
    assert answer.status_code == 200
    assert await effects(services.pool, customer) == [f"{customer} 1"]

    thread = await interrupted(tenant, charge(customer))
    await tenant.http.post(f"/threads/{thread}/runs/stream", json={**body, "command": {"goto": "__end__"}})
    assert await pending(tenant, thread) == []
    await talk_on(tenant, thread)
    assert await effects(services.pool, customer) == [f"{customer} 1"]


async def test_a_new_question_gives_up_the_old_one(tenant: Tenant, services: Services, customer: str) -> None:
    thread = await interrupted(tenant, charge(customer, 1))
    (old,) = await pending(tenant, thread)
    await tenant.sdk.runs.wait(thread, "gated", input=asking(charge(customer, 2)))
    assert [one["args"]["amount"] for one in await pending(tenant, thread)] == [2]
    assert (await decide(tenant, old["id"], decision="approve")).status_code == 409
    await resume(tenant, thread, {"decisions": [APPROVE]})
    assert await effects(services.pool, customer) == [f"{customer} 2"]


async def test_approvals_come_in_pages_and_go_with_their_thread(tenant: Tenant, customer: str) -> None:
    thread = await interrupted(tenant, *(charge(customer, n) for n in range(5)))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params: dict[str, str] = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await tenant.http.get("/approvals", params=params)).json()
        seen += [one["tool_call_id"] for one in page["approvals"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"call-{n}" for n in reversed(range(5))]
    assert (await tenant.http.get("/approvals", params={"cursor": "x"})).status_code == 422
    await tenant.sdk.threads.delete(thread)
    assert (await tenant.http.get("/approvals")).json() == {"approvals": [], "next_cursor": None}
