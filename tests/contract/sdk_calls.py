"""A call of every method for assistants and threads, with what must come of it."""

from __future__ import annotations

import uuid
from typing import Any

from tests.contract.sdk_clients import Client
from tests.contract.sdk_scene import ANSWER, HELLO, Scene, calls, last, new_assistant, new_thread


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


def ends_run(part: Any) -> bool:
    return bool(part.event == "metadata" and part.data.get("status") == "run_done")


@calls("threads.join_stream")
async def join_thread(client: Client, scene: Scene) -> None:
    modes = ["run_modes", "lifecycle"]
    parts = await client.until(ends_run, "threads.join_stream", scene.thread, last_event_id="-1", stream_mode=modes)
    assert (parts[0].event, parts[0].data["run_id"]) == ("metadata", scene.run)
    assert last([part.data for part in parts if part.event == "values"][-1]) == ANSWER
    rest = await client.until(ends_run, "threads.join_stream", scene.thread, last_event_id=parts[0].id)
    assert rest == parts[1:]
