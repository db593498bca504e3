"""Runs of graphs other than our own, through the stock client."""

from __future__ import annotations

from typing import Any

from tests.conftest import Tenant

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


async def test_a_graph_without_any_rules_of_ours_is_run(tenant: Tenant) -> None:
    state: Any = await tenant.sdk.runs.wait(None, "echo", input=HELLO)
    assert [message["content"] for message in state["messages"]] == ["Hello", "echo: Hello"]
    assert state["steps"] == ["answer"]


async def test_the_context_reaches_the_graph_in_the_form_of_its_schema(tenant: Tenant) -> None:
    context: Any = {"tokens": 3}
    state: Any = await tenant.sdk.runs.wait(None, "slow", input=HELLO, context=context)
    assert state["messages"][-1]["content"].split() == ["w0", "w1", "w2"]
