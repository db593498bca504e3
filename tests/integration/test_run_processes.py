"""Several processes over one database: who admits, who executes, who stops, and who takes over."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from app.runs.leftovers import sweep_leftovers
from app.runs.order import RunCreate
from app.runs.run import Run
from app.runs.webhook import SIGNATURE, sign
from core.domain import Principal
from core.errors import Forbidden, InvalidInput, LimitExceeded, NotFound
from tests.conftest import make_principal
from tests.processes import HELLO, Process, open_database, open_process

FOR_EVER = {"tokens": 2000, "pause_s": 0.01}


@pytest.fixture(scope="module")
async def address(postgres: str) -> AsyncIterator[str]:
    async with open_database(postgres, f"runs_{uuid.uuid4().hex}") as address:
        yield address


@pytest.fixture(scope="module")
async def front(address: str) -> AsyncIterator[Process]:
    """A process that admits runs and executes none."""
    async with open_process(address, works=False, tenant_queued=2) as process:
        yield process


@pytest.fixture
async def asker(front: Process) -> Principal:
    return (await make_principal(front.pool))[0]


async def now(process: Process, run: Run) -> Run:
    return await process.runs.get(run.principal, run.thread_id, run.id)


async def has_said(process: Process, run: Run, event: str) -> None:
    async for said in process.events.follow(run.id):
        if said.event == event:
            return


async def test_what_one_process_admits_another_one_executes(address: str, front: Process, asker: Principal) -> None:
    run = await front.start(asker, "slow", context={"tokens": 3})
    assert run.status == "pending"
    async with open_process(address):
        assert (await front.runner.wait(run)).status == "success"
        names = [event.event async for event in front.events.follow(run.id)]
    assert (names[0], names[-1]) == ("metadata", "values")


@pytest.mark.parametrize("action", ["interrupt", "rollback"])
async def test_a_run_is_stopped_from_any_process(address: str, front: Process, asker: Principal, action: Any) -> None:
    async with open_process(address):
        run = await front.start(asker, "slow", context=FOR_EVER, stream_mode="messages-tuple")
        await has_said(front, run, "messages")
        await front.runner.cancel(run, action)
        if action == "interrupt":
            assert (await front.runner.wait(run)).status == "interrupted"
        else:
            with pytest.raises(NotFound):
                await front.runner.wait(run)


WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_run_that_loses_the_database_goes_on_from_its_last_checkpoint(
    address: str, front: Process, asker: Principal
) -> None:
    async with open_process(address), await psycopg.AsyncConnection.connect(address) as other:
        run = await front.start(asker, "slow", context={"tokens": 10, "pause_s": 0.02}, stream_mode="messages-tuple")
        await has_said(front, run, "messages")
        await other.execute("LOCK TABLE checkpoints")
        while not (cut := await (await other.execute(WAITING)).fetchall()):
            await asyncio.sleep(0.05)
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", ([row[0] for row in cut],)
        )
        await other.commit()
        ended = await front.runner.wait(run)
    assert (ended.status, ended.attempt, ended.error) == ("success", 1, None)


async def test_a_run_that_is_stopped_at_any_instant_leaves_a_thread_that_can_be_talked_to(
    address: str, asker: Principal
) -> None:
    async with open_process(address) as process:
        for instant in range(12):
            run = await process.start(asker, "caller", context={"nap_s": 0.05}, on_completion="keep")
            await asyncio.sleep(instant * 0.012)
            await process.runner.cancel(run)
            assert (await process.runner.wait(run)).status in ("interrupted", "success")
            body = RunCreate.model_validate({"assistant_id": "echo", "input": HELLO})
            again = await process.runner.start(asker, await process.orders.read(asker, body, run.thread_id))
            assert (await process.runner.wait(again)).status == "success"
            (*_, last) = [said async for said in process.events.follow(again.id)]
            messages = json.loads(last.data)["messages"]
            called = {call["id"] for message in messages for call in message.get("tool_calls") or ()}
            answered = {message["tool_call_id"] for message in messages if message["type"] == "tool"}
            assert called == answered


async def test_a_process_that_stops_hands_its_runs_over(address: str, front: Process, asker: Principal) -> None:
    async with open_process(address, drain_s=0.0):
        run = await front.start(asker, "slow", context={"tokens": 40, "pause_s": 0.02}, stream_mode="messages-tuple")
        await has_said(front, run, "messages")
    waiting = await now(front, run)
    assert (waiting.status, waiting.attempt) == ("pending", 0)
    async with open_process(address):
        ended = await front.runner.wait(run)
    assert (ended.status, ended.attempt) == ("success", 1)
    attempts = [
        json.loads(event.data)["attempt"] async for event in front.events.follow(run.id) if event.event == "metadata"
    ]
    assert attempts == [1, 2]


async def test_a_process_that_stops_lets_short_runs_end(address: str, front: Process, asker: Principal) -> None:
    async with open_process(address, drain_s=10.0):
        run = await front.start(asker, "slow", context={"tokens": 10, "pause_s": 0.02}, stream_mode="messages-tuple")
        await has_said(front, run, "messages")
    assert (await now(front, run)).status == "success"


async def test_a_run_that_takes_too_long_ends_and_keeps_what_it_said(
    address: str, front: Process, asker: Principal
) -> None:
    async with open_process(address, timeout_s=0.3):
        run = await front.start(asker, "slow", context=FOR_EVER)
        ended = await front.runner.wait(run)
    assert (ended.status, (ended.error or {})["error"]) == ("timeout", "TimeoutError")


async def test_a_run_in_which_too_many_processes_died_is_given_up(
    address: str, front: Process, asker: Principal
) -> None:
    run = await front.start(asker, "echo")
    async with front.pool.connection() as connection:
        await connection.execute(
            "UPDATE runs SET status = 'running', attempt = 2, started_at = now(), lease_until = now() WHERE id = %s",
            (run.id,),
        )
    async with open_process(address, attempts=3):
        ended = await front.runner.wait(run)
    assert ended.status == "error"
    assert "given up" in (ended.error or {})["message"]


async def test_only_so_many_runs_of_a_tenant_wait(front: Process, asker: Principal) -> None:
    orders = [await front.order(asker) for _ in range(8)]
    results = await asyncio.gather(*(front.runner.start(asker, order) for order in orders), return_exceptions=True)
    refused = [result for result in results if isinstance(result, LimitExceeded)]
    assert len(refused) == 6
    assert refused[0].retry_after_s > 0
    other, _ = await make_principal(front.pool)
    assert (await front.start(other)).status == "pending"


async def test_only_so_many_runs_of_a_tenant_are_executed_at_once(
    address: str, front: Process, asker: Principal
) -> None:
    async with open_process(address, tenant_active=1) as process:
        first = await process.start(asker, "slow", context=FOR_EVER)
        second = await process.start(asker, "echo")
        assert (first.status, second.status) == ("running", "pending")
        await process.runner.cancel(first)
        assert (await process.runner.wait(second)).status == "success"


async def test_a_process_without_room_leaves_a_run_to_others(address: str, asker: Principal) -> None:
    async with open_process(address, concurrency=1) as full, open_process(address):
        first = await full.start(asker, "slow", context=FOR_EVER)
        second = await full.start(asker, "echo")
        assert second.status == "pending"
        assert (await full.runner.wait(second)).status == "success"
        assert (await now(full, first)).status == "running"
        await full.runner.cancel(first)
        await full.runner.wait(first)


async def test_threads_of_single_runs_are_swept_when_nobody_else_does(
    address: str, front: Process, asker: Principal
) -> None:
    async with open_process(address):
        gone = await front.start(asker, "echo")
        kept = await front.start(asker, "echo", on_completion="keep")
        for run in (gone, kept):
            await front.runner.wait(run)
    await sweep_leftovers(front.pool, stay_s=0)
    with pytest.raises(NotFound):
        await now(front, gone)
    assert (await now(front, kept)).status == "success"
    async with front.pool.connection() as connection:
        cursor = await connection.execute("SELECT FROM checkpoints WHERE thread_id = %s", (str(gone.thread_id),))
    assert cursor.rowcount == 0


async def test_a_webhook_is_told_how_the_run_ended_until_it_has_heard(
    address: str, front: Process, asker: Principal
) -> None:
    calls: list[tuple[str, bytes]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        calls.append((headers[SIGNATURE.lower()], await reader.readexactly(int(headers["content-length"]))))
        status = "503 Not Yet" if len(calls) == 1 else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    place = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/told"
    options: dict[str, Any] = {"webhook_secret": "s3cret", "webhook_hosts": "127.0.0.1"}
    async with server, open_process(address, **options) as process:
        run = await process.start(asker, "echo", webhook=place)
        async with asyncio.timeout(20):
            while len(calls) < 2:
                await asyncio.sleep(0.05)
    signature, body = calls[-1]
    seconds = int(signature.split(",")[0].removeprefix("t="))
    expected = hmac.new(b"s3cret", f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert signature == f"t={seconds},v1={expected}" == sign("s3cret", body, seconds)
    told = json.loads(body)
    assert (told["run_id"], told["status"]) == (str(run.id), "success")
    assert told["values"]["messages"][-1]["content"] == "echo: Hello"


async def test_a_webhook_must_be_signed_and_public(address: str, front: Process, asker: Principal) -> None:
    with pytest.raises(InvalidInput, match="RUNS__WEBHOOK_SECRET"):
        await front.order(asker, webhook="https://example.org/told")
    async with open_process(address, works=False, webhook_secret="s3cret") as process:
        for place in ("http://127.0.0.1/told", "http://169.254.169.254/latest", "http://[::1]:80/"):
            with pytest.raises(Forbidden, match="RUNS__WEBHOOK_HOSTS"):
                await process.order(asker, webhook=place)


async def test_a_run_of_too_many_steps_says_so(address: str, front: Process, asker: Principal) -> None:
    async with open_process(address):
        ended = await front.runner.wait(await front.start(asker, "caller", config={"recursion_limit": 1}))
    assert ended.status == "error"
    assert ended.error is not None
    assert "recursion_limit" in ended.error["message"]
