"""How runs come to be, wait for each other, stop and are taken over, through the stock client."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

from app.services import Services
from tests.conftest import Tenant

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
FOR_EVER: Any = {"tokens": 2000, "pause_s": 0.01}
NAP: Any = {"nap_s": 30.0}


async def until(condition: Any, *, within_s: float = 10) -> Any:
    async with asyncio.timeout(within_s):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
    return found


async def status_of(tenant: Tenant, thread: str, run: str) -> str:
    return (await tenant.sdk.runs.get(thread, run))["status"]


async def first_token(tenant: Tenant, thread: str, run: str) -> None:
    async for part in tenant.sdk.runs.join_stream(thread, run):
        if part.event == "messages":
            return


async def begin(tenant: Tenant, thread: str, graph: str = "slow", **more: Any) -> str:
    options: dict[str, Any] = {"input": HELLO, "context": FOR_EVER, "stream_mode": ["messages-tuple"], **more}
    return (await tenant.sdk.runs.create(thread, graph, **options))["run_id"]


async def new_thread(tenant: Tenant) -> str:
    return (await tenant.sdk.threads.create())["thread_id"]


async def test_runs_that_queue_up_are_executed_in_their_order(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    runs = [
        await begin(tenant, thread, context={"tokens": 3, "pause_s": 0.02}, multitask_strategy="enqueue")
        for _ in range(3)
    ]
    assert [await status_of(tenant, thread, run) for run in runs[1:]] == ["pending", "pending"]
    assert (await tenant.sdk.threads.get(thread))["status"] == "busy"
    states: list[Any] = [await tenant.sdk.runs.join(thread, run) for run in runs]
    assert [len(state["messages"]) for state in states] == [2, 4, 6]
    assert (await tenant.sdk.threads.get(thread))["status"] == "idle"


async def test_joining_an_older_run_gives_its_own_values(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    first = await begin(tenant, thread, "echo", context=None)
    await tenant.sdk.runs.join(thread, first)
    await tenant.sdk.runs.wait(thread, "echo", input=HELLO)
    state: Any = await tenant.sdk.runs.join(thread, first)
    assert len(state["messages"]) == 2


async def test_a_run_that_interrupts_takes_the_place_of_the_one_before_and_keeps_its_words(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    first = await begin(tenant, thread)
    await first_token(tenant, thread, first)
    state: Any = await tenant.sdk.runs.wait(thread, "echo", input=HELLO, multitask_strategy="interrupt")
    assert await status_of(tenant, thread, first) == "interrupted"
    kept = state["messages"][1]
    assert (kept["content"].split()[0], kept["additional_kwargs"]["stopped"]) == ("w0", True)
    assert state["messages"][-1]["content"] == "echo: Hello"


async def test_a_run_that_rolls_back_leaves_nothing_of_the_one_before(tenant: Tenant, services: Services) -> None:
    thread = await new_thread(tenant)
    await tenant.sdk.runs.wait(thread, "echo", input=HELLO)
    before = await tenant.sdk.threads.get_state(thread)
    first = await begin(tenant, thread)
    await first_token(tenant, thread, first)
    waiting = await begin(tenant, thread, multitask_strategy="enqueue")
    second = await begin(tenant, thread, "echo", context=None, multitask_strategy="rollback")
    state: Any = await tenant.sdk.runs.join(thread, second)
    assert [message["content"] for message in state["messages"]] == ["Hello", "echo: Hello"] * 2
    for gone in (first, waiting):
        with pytest.raises(NotFoundError):
            await tenant.sdk.runs.get(thread, gone)
    history = await tenant.sdk.threads.get_history(thread, limit=50)
    assert first not in {(entry["metadata"] or {}).get("run_id") for entry in history}
    assert before["checkpoint"]["checkpoint_id"] in {entry["checkpoint"]["checkpoint_id"] for entry in history}


async def test_a_resumed_run_that_is_rolled_back_leaves_the_question_open(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    questions: Any = {**HELLO, "questions": ["One?"], "then_s": 30.0}
    await tenant.sdk.runs.wait(thread, "asks", input=questions)
    run = (await tenant.sdk.runs.create(thread, "asks", command={"resume": "yes"}))["run_id"]
    await asyncio.sleep(0.1)
    await tenant.sdk.runs.cancel(thread, run, wait=True, action="rollback")
    now = await tenant.sdk.threads.get(thread)
    assert now["status"] == "interrupted"
    state: Any = await tenant.sdk.threads.get_state(thread)
    assert [item["value"] for item in state["interrupts"]] == [{"question": "One?"}]
    update: Any = {"then_s": 0.0}
    again: Any = await tenant.sdk.runs.wait(thread, "asks", command={"resume": "no", "update": update})
    assert again["messages"][-1]["content"] == "told: no"


async def test_a_tool_call_that_is_cut_off_gets_a_result_and_the_thread_goes_on(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    run = await begin(tenant, thread, "caller", context=NAP, stream_mode=["updates"])

    async def calls() -> bool:
        return (await tenant.sdk.threads.get_state(thread))["next"] == ["tools"]

    await until(calls)
    await tenant.sdk.runs.cancel(thread, run, wait=True)
    state: Any = await tenant.sdk.threads.get_state(thread)
    kinds = [(message["type"], message.get("status")) for message in state["values"]["messages"]]
    assert kinds == [("human", None), ("ai", None), ("tool", "error")]
    assert (state["next"], (await tenant.sdk.threads.get(thread))["status"]) == ([], "idle")
    again: Any = await tenant.sdk.runs.wait(thread, "echo", input=HELLO)
    assert again["messages"][-1]["content"] == "echo: Hello"


async def test_a_waiting_run_that_is_cancelled_never_starts(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    first = await begin(tenant, thread)
    second = await begin(tenant, thread, multitask_strategy="enqueue")
    await tenant.sdk.runs.cancel(thread, second, wait=True)
    assert await status_of(tenant, thread, second) == "interrupted"
    assert await status_of(tenant, thread, first) == "running"
    await tenant.sdk.runs.cancel(thread, first, wait=True, action="rollback")
    with pytest.raises(NotFoundError):
        await tenant.sdk.runs.get(thread, first)
    thread_now = await tenant.sdk.threads.get(thread)
    assert (thread_now["status"], thread_now["values"]) == ("idle", None)


async def test_many_runs_are_cancelled_at_once(tenant: Tenant) -> None:
    threads = [await new_thread(tenant) for _ in range(3)]
    runs = [await begin(tenant, thread) for thread in threads]
    await tenant.sdk.runs.cancel_many(thread_id=threads[0], run_ids=[runs[0]])
    await tenant.sdk.runs.cancel_many(status="all")
    for thread, run in zip(threads, runs, strict=True):
        await tenant.sdk.runs.join(thread, run)
        assert await status_of(tenant, thread, run) == "interrupted"


async def test_a_run_starts_when_it_is_due_and_leaves_its_thread_alone_until_then(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    later = await begin(tenant, thread, "echo", context=None, after_seconds=1)
    assert (await tenant.sdk.threads.get(thread))["status"] == "idle"
    await tenant.sdk.runs.wait(thread, "echo", input=HELLO)
    assert await status_of(tenant, thread, later) == "pending"
    state: Any = await tenant.sdk.runs.join(thread, later)
    assert len(state["messages"]) == 4


async def test_an_answer_is_taken_once(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    await tenant.sdk.runs.wait(thread, "asks", input=HELLO)
    assert (await tenant.sdk.threads.get(thread))["status"] == "interrupted"
    body = {"assistant_id": "asks", "input": {}, "command": {"resume": "because"}}
    answers: list[httpx.Response] = await asyncio.gather(
        *(tenant.http.post(f"/threads/{thread}/runs/wait", json=body) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    state: Any = await tenant.sdk.threads.get_state(thread)
    assert [message["content"] for message in state["values"]["messages"]] == ["Hello", "told: because"]
    with pytest.raises(ConflictError):
        await tenant.sdk.runs.create(thread, "asks", command={"resume": "again"})


async def test_a_command_updates_the_state_and_goes_where_it_says(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    await tenant.sdk.runs.wait(thread, "asks", input=HELLO)
    command: Any = {"update": {"steps": ["by hand"]}, "goto": "__end__"}
    await tenant.sdk.runs.wait(thread, "asks", command=command)
    state: Any = await tenant.sdk.threads.get_state(thread)
    assert (state["next"], state["values"]["steps"]) == ([], ["by hand"])
    assert (await tenant.sdk.threads.get(thread))["status"] == "idle"


async def test_a_run_stops_before_and_after_nodes_and_goes_on_without_an_input(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    steps: list[Any] = []
    for options in ({"input": HELLO, "interrupt_before": ["inner"]}, {"interrupt_after": ["inner"]}, {}):
        given: Any = options
        state: Any = await tenant.sdk.runs.wait(thread, "nested", **given)
        steps.append((state["steps"], (await tenant.sdk.threads.get(thread))["status"]))
    whole = ["before", "first", "second", "after"]
    assert steps == [(whole[:1], "interrupted"), (whole[:3], "interrupted"), (whole, "idle")]
    with pytest.raises(UnprocessableEntityError, match="no node 'nowhere'"):
        await tenant.sdk.runs.create(thread, "nested", input=HELLO, interrupt_before=["nowhere"])


async def test_a_run_forks_from_a_checkpoint(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    await tenant.sdk.runs.wait(thread, "echo", input=HELLO)
    first = await tenant.sdk.threads.get_state(thread)
    await tenant.sdk.runs.wait(thread, "echo", input=HELLO)
    other: Any = {"messages": [{"role": "user", "content": "Otherwise"}]}
    place: Any = first["checkpoint"]
    state: Any = await tenant.sdk.runs.wait(thread, "echo", input=other, checkpoint=place)
    assert [message["content"] for message in state["messages"]] == [
        "Hello",
        "echo: Hello",
        "Otherwise",
        "echo: Otherwise",
    ]


async def test_a_run_whose_process_died_is_taken_over(tenant: Tenant, services: Services) -> None:
    """A run's row without a live process, as `kill -9` leaves it: the keeper executes it."""
    thread = await new_thread(tenant)
    run = await begin(tenant, thread, "echo", context=None, after_seconds=3600)
    async with services.pool.connection() as connection:
        await connection.execute(
            "UPDATE runs SET status = 'running', worker = %s, due_at = now(), started_at = now(), lease_until = now() "
            "WHERE id = %s",
            (uuid.uuid4(), run),
        )
    state: Any = await tenant.sdk.runs.join(thread, run)
    assert state["messages"][-1]["content"] == "echo: Hello"
    async with services.pool.connection() as connection:
        row = await (await connection.execute("SELECT attempt FROM runs WHERE id = %s", (run,))).fetchone()
    assert row == {"attempt": 1}


async def test_a_run_that_was_cancelled_while_its_process_was_dead_ends(tenant: Tenant, services: Services) -> None:
    thread = await new_thread(tenant)
    run = await begin(tenant, thread, "echo", context=None, after_seconds=3600)
    async with services.pool.connection() as connection:
        await connection.execute(
            "UPDATE runs SET status = 'running', worker = %s, started_at = now(), "
            "lease_until = now() + interval '1 second' WHERE id = %s",
            (uuid.uuid4(), run),
        )
        await connection.execute("UPDATE threads SET status = 'busy' WHERE id = %s", (thread,))
    await tenant.sdk.runs.cancel(thread, run, wait=True)
    assert await status_of(tenant, thread, run) == "interrupted"
    assert (await tenant.sdk.threads.get(thread))["status"] == "idle"


async def test_stateless_runs_are_started_in_batches(tenant: Tenant) -> None:
    wishes: Any = [{"assistant_id": "echo", "input": HELLO}] * 3
    runs = await tenant.sdk.runs.create_batch(wishes)
    assert len({run["thread_id"] for run in runs}) == 3
    for run in runs:
        state: Any = await tenant.sdk.runs.join(run["thread_id"], run["run_id"])
        assert state["messages"][-1]["content"] == "echo: Hello"


async def test_runs_are_listed_by_status_in_pages_and_with_chosen_fields_and_deleted(tenant: Tenant) -> None:
    thread = await new_thread(tenant)
    for _ in range(2):
        await tenant.sdk.runs.wait(thread, "echo", input=HELLO)
    running = await begin(tenant, thread)
    with pytest.raises(ConflictError):
        await tenant.sdk.runs.delete(thread, running)
    await tenant.sdk.runs.cancel(thread, running, wait=True)
    good = await tenant.sdk.runs.list(thread, status="success", select=["run_id", "status"])
    assert [set(run) for run in good] == [{"run_id", "status"}] * 2
    assert (await tenant.sdk.runs.list(thread, limit=1, offset=2))[0]["run_id"] == good[1]["run_id"]
    await tenant.sdk.runs.delete(thread, good[0]["run_id"])
    assert [run["run_id"] for run in await tenant.sdk.runs.list(thread)] == [running, good[1]["run_id"]]
