"""A call of every method of the stock client, with what must come of it."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.contract.sdk_clients import Client

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "steps": []}
ANSWER = "echo: hello"
SLOW: dict[str, Any] = {"context": {"tokens": 500, "pause_s": 0.01}, "input": HELLO}
YEARLY = "0 0 1 1 *"


@dataclass(frozen=True, slots=True)
class Scene:
    """A thread on which `echo` has answered, by whom, and in which run."""

    thread: str
    run: str
    assistant: str


Call = Callable[[Client, Scene], Awaitable[None]]
CALLS: dict[str, Call] = {}


def calls(method: str) -> Callable[[Call], Call]:
    """The function is the call of the method."""

    def note(call: Call) -> Call:
        CALLS[method] = call
        return call

    return note


def last(values: Any) -> Any:
    return values["messages"][-1]["content"]


async def new_thread(client: Client, **fields: Any) -> str:
    return str((await client("threads.create", **fields))["thread_id"])


async def new_assistant(client: Client) -> str:
    return str((await client("assistants.create", "echo", name="Made"))["assistant_id"])


async def new_cron(client: Client) -> dict[str, Any]:
    made: dict[str, Any] = await client("crons.create", "echo", schedule=YEARLY, input=HELLO)
    return made


async def slow_run(client: Client) -> tuple[str, str]:
    thread = await new_thread(client)
    return thread, (await client("runs.create", thread, "slow", **SLOW))["run_id"]


@calls("assistants.get")
async def get_assistant(client: Client, scene: Scene) -> None:
    assert (await client("assistants.get", scene.assistant))["assistant_id"] == scene.assistant


@calls("assistants.get_graph")
async def get_graph(client: Client, scene: Scene) -> None:
    drawn = await client("assistants.get_graph", scene.assistant, xray=True)
    assert {node["id"] for node in drawn["nodes"]} >= {"__start__", "answer"}
    assert {"source": "__start__", "target": "answer"}.items() <= drawn["edges"][0].items()


@calls("assistants.get_schemas")
async def get_schemas(client: Client, scene: Scene) -> None:
    schemas = await client("assistants.get_schemas", scene.assistant)
    assert schemas["graph_id"] == "echo"
    for name in ("input_schema", "output_schema", "state_schema"):
        assert "messages" in schemas[name]["properties"]


@calls("assistants.get_subgraphs")
async def get_subgraphs(client: Client, scene: Scene) -> None:
    assert await client("assistants.get_subgraphs", scene.assistant) == {}
    assert set(await client("assistants.get_subgraphs", "calls", recurse=True)) == {"outer", "outer|inner"}


@calls("assistants.create")
async def create_assistant(client: Client, scene: Scene) -> None:
    made = await client("assistants.create", "echo", {"tags": ["t"]}, metadata={"a": 1}, name="Made", description="d")
    said = {"graph_id": "echo", "config": {"tags": ["t"]}, "metadata": {"a": 1}, "name": "Made", "description": "d"}
    assert said.items() <= made.items()


@calls("assistants.update")
async def update_assistant(client: Client, scene: Scene) -> None:
    changed = await client("assistants.update", await new_assistant(client), name="Changed")
    assert (changed["name"], changed["version"]) == ("Changed", 2)


@calls("assistants.delete")
async def delete_assistant(client: Client, scene: Scene) -> None:
    made = await new_assistant(client)
    assert await client("assistants.delete", made, delete_threads=True) is None
    assert made not in {one["assistant_id"] for one in await client("assistants.search", limit=1000)}


@calls("assistants.search")
async def search_assistants(client: Client, scene: Scene) -> None:
    found = await client("assistants.search", graph_id="echo", select=["assistant_id"], response_format="object")
    assert {"assistant_id": scene.assistant} in found["assistants"]


@calls("assistants.count")
async def count_assistants(client: Client, scene: Scene) -> None:
    assert await client("assistants.count", graph_id="slow", name="slow") == 1


@calls("assistants.get_versions")
async def get_versions(client: Client, scene: Scene) -> None:
    made = await new_assistant(client)
    await client("assistants.update", made, name="Changed")
    assert [one["version"] for one in await client("assistants.get_versions", made)] == [2, 1]


@calls("assistants.set_latest")
async def set_latest(client: Client, scene: Scene) -> None:
    made = await new_assistant(client)
    await client("assistants.update", made, name="Changed")
    assert (await client("assistants.set_latest", made, 1))["name"] == "Made"


@calls("threads.get")
async def get_thread(client: Client, scene: Scene) -> None:
    thread = await client("threads.get", scene.thread, include=["ttl"])
    assert (last(thread["values"]), thread["status"], thread["ttl"]) == (ANSWER, "idle", None)


@calls("threads.create")
async def create_thread(client: Client, scene: Scene) -> None:
    name = str(uuid.uuid4())
    made = await client("threads.create", thread_id=name, metadata={"a": 1}, graph_id="echo", ttl=10)
    assert (made["thread_id"], made["metadata"]) == (name, {"a": 1, "graph_id": "echo"})
    assert (await client("threads.create", thread_id=name, if_exists="do_nothing"))["metadata"] == made["metadata"]


@calls("threads.update")
async def update_thread(client: Client, scene: Scene) -> None:
    made = await new_thread(client, metadata={"a": 1})
    assert (await client("threads.update", made, metadata={"b": 2}, ttl=5))["metadata"] == {"a": 1, "b": 2}
    assert await client("threads.update", made, metadata={"b": 3}, return_minimal=True) is None


@calls("threads.delete")
async def delete_thread(client: Client, scene: Scene) -> None:
    made = await new_thread(client)
    assert await client("threads.delete", made) is None
    assert await client("threads.search", ids=[made]) == []


@calls("threads.search")
async def search_threads(client: Client, scene: Scene) -> None:
    wanted = {
        "ids": [scene.thread],
        "metadata": {"graph_id": "echo"},
        "values": {"steps": ["answer"]},
        "status": "idle",
    }
    (found,) = await client("threads.search", **wanted, select=["thread_id"], extract={"said": "values.messages[-1]"})
    assert (found["thread_id"], found["extracted"]["said"]["content"]) == (scene.thread, ANSWER)


@calls("threads.count")
async def count_threads(client: Client, scene: Scene) -> None:
    mark = {"mark": str(uuid.uuid4())}
    await new_thread(client, metadata=mark)
    assert await client("threads.count", metadata=mark, status="idle") == 1


@calls("threads.copy")
async def copy_thread(client: Client, scene: Scene) -> None:
    copied = await client("threads.copy", scene.thread)
    assert copied["thread_id"] != scene.thread
    assert last(copied["values"]) == ANSWER


@calls("threads.prune")
async def prune_threads(client: Client, scene: Scene) -> None:
    copied = (await client("threads.copy", scene.thread))["thread_id"]
    assert await client("threads.prune", [copied], strategy="keep_latest") == {"pruned_count": 1}
    assert len(await client("threads.get_history", copied)) == 1


@calls("threads.get_state")
async def get_state(client: Client, scene: Scene) -> None:
    state = await client("threads.get_state", scene.thread)
    assert (last(state["values"]), state["next"], state["tasks"]) == (ANSWER, [], [])
    place = state["parent_checkpoint"]
    by_checkpoint = await client("threads.get_state", scene.thread, checkpoint=place, select=["values.steps", "next"])
    by_id = await client("threads.get_state", scene.thread, checkpoint_id=place["checkpoint_id"], subgraphs=True)
    assert by_checkpoint == {"values": {"steps": []}, "next": ["answer"]}
    assert (by_id["next"], by_id["checkpoint"]) == (["answer"], place)


@calls("threads.update_state")
async def update_state(client: Client, scene: Scene) -> None:
    copied = (await client("threads.copy", scene.thread))["thread_id"]
    made = await client("threads.update_state", copied, {"steps": ["by hand"]}, as_node="answer")
    state = await client("threads.get_state", copied)
    assert (state["values"]["steps"], state["checkpoint"]) == (["answer", "by hand"], made["checkpoint"])


@calls("threads.get_history")
async def get_history(client: Client, scene: Scene) -> None:
    history = await client("threads.get_history", scene.thread, select=["next", "checkpoint"])
    assert [entry["next"] for entry in history] == [[], ["answer"], ["__start__"]]
    older = await client("threads.get_history", scene.thread, before=history[0]["checkpoint"], limit=1)
    assert older[0]["checkpoint"] == history[1]["checkpoint"]
    assert await client("threads.get_history", scene.thread, metadata={"run_id": "nobody's"}) == []


@calls("threads.stream")
async def stream_thread(client: Client, scene: Scene) -> None:
    values, tree = await client.converse("echo", HELLO)
    assert last(values) == ANSWER
    assert {node["id"] for node in tree["nodes"]} >= {"answer"}


@calls("threads.join_stream")
async def join_thread(client: Client, scene: Scene) -> None:
    thread, run = await slow_run(client)
    await client("runs.cancel", thread, run)
    parts = await client("threads.join_stream", thread, last_event_id="-1", stream_mode=["lifecycle", "run_modes"])
    assert {part.data["run_id"] for part in parts if part.event == "metadata"} == {run}


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
    made = await client("runs.create_batch", [{"assistant_id": "echo", "input": HELLO}] * 2)
    assert len({run["run_id"] for run in made}) == len({run["thread_id"] for run in made}) == 2


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
