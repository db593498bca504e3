"""Whatever a client sends, whether our OpenAPI document allows it or not: the answer is no failure of the server.

``SCHEMATHESIS_EXAMPLES=100 python -m pytest -n 0 tests/api/test_openapi.py`` asks every operation for longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections import Counter
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok

from tests.conftest import Tenant

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "2"))
"""Requests that the document allows for each operation, and as many that it forbids."""
PATIENCE_S = 5.0
HEAVY = {"/reconcile", "/collections/{name}/reembed"}
"""What begins work on the whole index, which other tests use at the same time."""
FOLLOWED = "text/event-stream"


class Asker:
    """Sends what was made up, some of it at a thread, a run and an assistant that are there."""

    def __init__(self, url: str, key: str, known: dict[str, str]) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}
        self._known = known
        self._session = requests.Session()
        self.statuses: Counter[int] = Counter()
        self.failures: dict[str, str] = {}

    def ask_all(self) -> None:
        """Every operation of the document."""
        schema = schemathesis.openapi.from_url(f"{self._url}/openapi.json")
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            if found.ok().path not in HEAVY:
                for mode in GenerationMode:
                    # An operation without parameters has nothing that could be wrong.
                    with contextlib.suppress(Unsatisfiable):
                        self.ask(found.ok().as_strategy(mode))

    def ask(self, cases: Any) -> None:
        """Some requests of one operation; the same ones each time."""

        @given(case=cases)
        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def send(case: Case[Any]) -> None:
            self.send(case)
            if self.aim(case):
                self.send(case)

        send()

    def aim(self, case: Case[Any]) -> bool:
        """Point the request at what is there; whether that changed it."""
        aimed = False
        for part in (case.path_parameters, case.body):
            if isinstance(part, dict):
                for name in self._known.keys() & part.keys():
                    part[name], aimed = self._known[name], True
        return aimed

    def send(self, case: Case[Any]) -> None:
        """Send it and note what came back; an answer that goes on is not waited for."""
        words: dict[str, Any] = case.as_transport_kwargs(base_url=self._url, headers=self._headers)
        try:
            response = self._session.request(**{**words, "stream": True, "timeout": PATIENCE_S})
        except requests.Timeout:
            self.statuses[0] += 1
            return
        except (requests.RequestException, ValueError):
            # What no HTTP client can send was not asked.
            return
        with response:
            self.statuses[response.status_code] += 1
            if response.status_code >= 500:
                self.failures[f"{case.method} {case.operation.path}"] = (
                    f"{case.as_curl_command()}\n{response.text[:500]}"
                )


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # The server does, in another thread.
async def test_no_request_makes_the_server_fail(tenant: Tenant, api: str) -> None:
    thread = str(uuid.uuid4())
    question: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
    await tenant.sdk.threads.create(thread_id=thread)
    await tenant.sdk.runs.wait(thread, "echo", input=question)
    run = (await tenant.sdk.runs.list(thread))[0]["run_id"]
    asker = Asker(api, tenant.key, {"thread_id": thread, "run_id": run, "assistant_id": "echo"})
    await asyncio.to_thread(asker.ask_all)
    assert asker.failures == {}, "\n\n".join(asker.failures.values())
    # The answers are told apart: what is allowed gets through to the handlers, what is not is refused.
    assert {200, 404, 422} <= asker.statuses.keys()
