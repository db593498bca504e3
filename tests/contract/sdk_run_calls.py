"""A call of every method for runs, crons and the store, with what must come of it."""

from __future__ import annotations

import uuid
from typing import Any

from tests.contract.sdk_clients import Client
from tests.contract.sdk_scene import ANSWER, HELLO, YEARLY, Scene, calls, last, new_cron, new_thread, slow_run


@calls("runs.stream")
async def stream_run(client: Client, scene: Scene) -> None:
    modes = ["values", "updates", "messages-tuple", "custom", "events", "tasks", "checkpoints", "debug"]
    thread = await new_thread(client)
    parts = await client("runs.stream", thread, "echo", input=HELLO, stream_mode=modes)
    assert (parts[0].event, last([part.data for part in parts if part.event == "values"][-1])) == ("metadata", ANSWER)
    alone = await client("runs.stream", None, "echo", input=HELLO, version="v2")
    assert last([part["data"] for part in alone if part["type"] == "values"][-1]) == ANSWER


@calls("runs.create")
async def create_run(client: Client, scene: Scene) -> None:
    thread = await new_thread(client)
    seen: list[Any] = []
    run = await client("runs.create", thread, "echo", input=HELLO, metadata={"a": 1}, on_run_created=seen.append)
    assert (run["thread_id"], run["metadata"]["a"]) == (thread, 1)
    assert seen == [{"run_id": run["run_id"], "thread_id": thread}]
    alone = await client("runs.create", None, "echo", input=HELLO, after_seconds=3600)
    assert alone["status"] == "pending"


@calls("runs.create_batch")
async def create_batch(client: Client, scene: Scene) -> None:
    wanted = {"assistant_id": "echo", "input": HELLO}
    thread = await new_thread(client)
    made = await client("runs.create_batch", [wanted, {**wanted, "thread_id": thread}])
    assert len({run["run_id"] for run in made}) == len({run["thread_id"] for run in made}) == 2
    assert made[1]["thread_id"] == thread


@calls("runs.wait")
async def wait_for_run(client: Client, scene: Scene) -> None:
    assert last(await client("runs.wait", await new_thread(client), scene.assistant, input=HELLO)) == ANSWER
    assert last(await client("runs.wait", None, "echo", input=HELLO)) == ANSWER


@calls("runs.list")
async def list_runs(client: Client, scene: Scene) -> None:
    runs = await client("runs.list", scene.thread, status="success", select=["run_id", "status"])
    assert runs == [{"run_id": scene.run, "status": "success"}]
    assert await client("runs.list", scene.thread, offset=1) == []


@calls("runs.get")
async def get_run(client: Client, scene: Scene) -> None:
    assert (await client("runs.get", scene.thread, scene.run))["status"] == "success"


@calls("runs.cancel")
async def cancel_run(client: Client, scene: Scene) -> None:
    thread, run = await slow_run(client)
    assert await client("runs.cancel", thread, run, wait=True) is None
    assert (await client("runs.get", thread, run))["status"] == "interrupted"
    thread, run = await slow_run(client)
    await client("runs.cancel", thread, run, wait=True, action="rollback")
    assert await client("runs.list", thread) == []


@calls("runs.cancel_many")
async def cancel_runs(client: Client, scene: Scene) -> None:
    thread, run = await slow_run(client)
    assert await client("runs.cancel_many", thread_id=thread, run_ids=[run]) is None
    await client("runs.join", thread, run)
    assert (await client("runs.get", thread, run))["status"] == "interrupted"


@calls("runs.join")
async def join_run(client: Client, scene: Scene) -> None:
    assert last(await client("runs.join", scene.thread, scene.run)) == ANSWER


@calls("runs.join_stream")
async def join_run_stream(client: Client, scene: Scene) -> None:
    whole = await client("runs.join_stream", scene.thread, scene.run, last_event_id="-1")
    rest = await client("runs.join_stream", scene.thread, scene.run, last_event_id=whole[1].id)
    assert (whole[0].event, rest) == ("metadata", whole[2:])
    assert {
        part.event for part in await client("runs.join_stream", scene.thread, scene.run, stream_mode="updates")
    } <= {
        "metadata",
        "end",
    }


@calls("runs.delete")
async def delete_run(client: Client, scene: Scene) -> None:
    thread = await new_thread(client)
    run = await client("runs.create", thread, "echo", input=HELLO)
    await client("runs.join", thread, run["run_id"])
    assert await client("runs.delete", thread, run["run_id"]) is None
    assert await client("runs.list", thread) == []


@calls("crons.create")
async def create_cron(client: Client, scene: Scene) -> None:
    made = await client("crons.create", "echo", schedule=YEARLY, input=HELLO, enabled=False, timezone="Europe/Paris")
    assert (made["schedule"], made["enabled"], made["timezone"]) == (YEARLY, False, "Europe/Paris")


@calls("crons.create_for_thread")
async def create_cron_for_thread(client: Client, scene: Scene) -> None:
    made = await client("crons.create_for_thread", scene.thread, "echo", schedule=YEARLY, input=HELLO)
    assert made["thread_id"] == scene.thread


@calls("crons.update")
async def update_cron(client: Client, scene: Scene) -> None:
    made = await new_cron(client)
    changed = await client("crons.update", made["cron_id"], schedule="0 1 1 1 *", enabled=False)
    assert (changed["schedule"], changed["enabled"]) == ("0 1 1 1 *", False)


@calls("crons.delete")
async def delete_cron(client: Client, scene: Scene) -> None:
    made = await new_cron(client)
    assert await client("crons.delete", made["cron_id"]) is None
    assert made["cron_id"] not in {one["cron_id"] for one in await client("crons.search", limit=1000)}


@calls("crons.search")
async def search_crons(client: Client, scene: Scene) -> None:
    made = await new_cron(client)
    found = await client("crons.search", enabled=True, sort_by="created_at", sort_order="desc", limit=1)
    assert [one["cron_id"] for one in found] == [made["cron_id"]]


@calls("crons.count")
async def count_crons(client: Client, scene: Scene) -> None:
    before = await client("crons.count")
    await new_cron(client)
    assert await client("crons.count") == before + 1


@calls("store.put_item")
async def put_item(client: Client, scene: Scene) -> None:
    name = str(uuid.uuid4())
    assert await client("store.put_item", [name], key="k", value={"a": 1}, index=False, ttl=10) is None
    assert (await client("store.get_item", [name], key="k"))["value"] == {"a": 1}


@calls("store.get_item")
async def get_item(client: Client, scene: Scene) -> None:
    name = str(uuid.uuid4())
    await client("store.put_item", ["people", name], key="k", value={"a": 1})
    item = await client("store.get_item", ["people", name], key="k", refresh_ttl=False)
    assert (item["namespace"], item["key"], item["value"]) == (["people", name], "k", {"a": 1})


@calls("store.delete_item")
async def delete_item(client: Client, scene: Scene) -> None:
    name = str(uuid.uuid4())
    await client("store.put_item", [name], key="k", value={"a": 1})
    assert await client("store.delete_item", [name], key="k") is None
    assert (await client("store.search_items", [name]))["items"] == []


@calls("store.search_items")
async def search_items(client: Client, scene: Scene) -> None:
    name = str(uuid.uuid4())
    for key in ("one", "two"):
        await client("store.put_item", [name], key=key, value={"key": key})
    found = await client("store.search_items", [name], filter={"key": "two"}, limit=5)
    assert [item["key"] for item in found["items"]] == ["two"]


@calls("store.list_namespaces")
async def list_namespaces(client: Client, scene: Scene) -> None:
    name = str(uuid.uuid4())
    await client("store.put_item", [name, "below"], key="k", value={"a": 1})
    assert await client("store.list_namespaces", prefix=[name], max_depth=1) == {"namespaces": [[name]]}
