"""The requests of agent-chat-ui: what its browser sends from the first page to the answer of an interrupt."""

from __future__ import annotations

import uuid
from typing import Any

from tests.conftest import Tenant
from tests.sse import frames_of

ASKING: dict[str, Any] = {
    "assistant_id": "asks",
    "stream_mode": ["values", "updates", "messages-tuple", "custom"],
    "stream_subgraphs": True,
    "stream_resumable": True,
    "on_disconnect": "continue",
    "config": {},
}


async def test_a_conversation_with_an_interrupt_as_the_browser_has_it(tenant: Tenant) -> None:
    assert (await tenant.http.get("/info")).status_code == 200
    found = await tenant.http.post("/threads/search", json={"metadata": {"graph_id": "asks"}, "limit": 100})
    assert found.json() == []

    thread = (await tenant.http.post("/threads", json={})).json()["thread_id"]
    uuid.UUID(thread)
    question = {"id": str(uuid.uuid4()), "type": "human", "content": [{"type": "text", "text": "Do it."}]}
    body = {**ASKING, "input": {"messages": [question], "steps": [], "questions": ["Really?"]}}
    response = await tenant.http.post(f"/threads/{thread}/runs/stream", json=body)
    events = frames_of(response.text)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["content-location"].startswith(f"/threads/{thread}/runs/")
    asked = [data["__interrupt__"] for _, event, data in events if event == "values" and "__interrupt__" in data]
    assert [item["value"] for item in asked[-1]] == [{"question": "Really?"}]
    first = next(data for _, event, data in events if event == "values")
    assert first["messages"][0]["id"] == question["id"]

    state = (await tenant.http.get(f"/threads/{thread}/state")).json()
    assert [item["id"] for task in state["tasks"] for item in task["interrupts"]] == [asked[-1][0]["id"]]
    history = (await tenant.http.post(f"/threads/{thread}/history", json={"limit": 1000})).json()
    assert history[0]["checkpoint"] == state["checkpoint"]
    found = await tenant.http.post("/threads/search", json={"metadata": {"graph_id": "asks"}, "limit": 100})
    assert [item["thread_id"] for item in found.json()] == [thread]

    # It resumes with an empty input beside the command.
    body = {**ASKING, "input": {}, "command": {"resume": "Yes."}}
    events = frames_of((await tenant.http.post(f"/threads/{thread}/runs/stream", json=body)).text)
    values = [data for _, event, data in events if event == "values"]
    assert values[-1]["messages"][-1]["content"] == "told: Yes."
    assert events[-1][1:] == ("end", None)


async def test_an_interrupt_marked_as_resolved_is_over(tenant: Tenant) -> None:
    thread = (await tenant.http.post("/threads", json={})).json()["thread_id"]
    start = {**ASKING, "input": {"messages": [{"type": "human", "content": "Do it."}], "steps": []}}
    await tenant.http.post(f"/threads/{thread}/runs/stream", json=start)
    assert (await tenant.http.get(f"/threads/{thread}")).json()["status"] == "interrupted"
    body = {**ASKING, "input": {}, "command": {"goto": "__end__"}}
    events = frames_of((await tenant.http.post(f"/threads/{thread}/runs/stream", json=body)).text)
    assert "error" not in {event for _, event, _ in events}
    assert (await tenant.http.get(f"/threads/{thread}")).json()["status"] == "idle"


async def test_a_reloaded_page_takes_up_the_stream_where_it_was(tenant: Tenant) -> None:
    thread = (await tenant.http.post("/threads", json={})).json()["thread_id"]
    pace = {"context": {"tokens": 8, "pause_s": 0.02}, "assistant_id": "slow"}
    body = {**ASKING, **pace, "input": {"messages": [{"type": "human", "content": "Go."}], "steps": []}}
    seen = ""
    async with tenant.http.stream("POST", f"/threads/{thread}/runs/stream", json=body) as stream:
        place = stream.headers["location"]
        async for line in stream.aiter_lines():
            seen += f"{line}\n"
            if line == "" and "event: messages" in seen:
                break
    before = frames_of(seen)
    after = frames_of((await tenant.http.get(place, headers={"Last-Event-ID": before[-1][0]})).text)
    tokens = [data[0]["content"] for _, event, data in before + after if event == "messages"]
    assert "".join(tokens).split() == [f"w{number}" for number in range(8)]
