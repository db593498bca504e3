from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from streamlit.testing.v1 import AppTest

from app.schemas import Health, PartHealth
from tests.conftest import Tenant
from tests.documents import LIGHTHOUSE
from tests.model_relay import Relay
from tests.ui.conftest import Run
from ui.feed import AnswerFeed

ANSWER = "The lighthouse was built in 1821 by the engineer Marta Olsund."
QUESTION = "Who built the lighthouse of Kerzenfels?"


def texts(page: AppTest) -> str:
    """All that the page says outside its sidebar."""
    elements = [*page.main.markdown, *page.main.caption, *page.main.title, *page.main.info, *page.main.error]
    return "\n".join(str(element.value) for element in elements)


def html(page: AppTest) -> str:
    return "\n".join(element.proto.body for element in page.get("html"))


def feed(page: AppTest) -> AnswerFeed:
    """The answer that is coming in."""
    (found,) = page.session_state["feeds"].values()
    assert isinstance(found, AnswerFeed)
    return found


def opened(page: AppTest) -> str:
    """The conversation in the page's address."""
    found = page.query_params["thread"]
    return found if isinstance(found, str) else str(found[0])


async def wait_for_end(page: AppTest) -> None:
    await asyncio.to_thread(lambda: list(feed(page).follow()))


async def ask(page: AppTest, run: Run, question: str = QUESTION) -> None:
    page.chat_input(key="question").set_value(question)
    await run(page)


async def test_without_a_key_the_page_asks_for_one(app: AppTest, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAGSTONE_API_KEY")
    await run(app)
    assert app.header[0].value == "Sign in with an API key"
    assert "make run" in texts(app)
    assert not app.error


async def test_a_key_that_is_typed_in_opens_the_page(
    app: AppTest, run: Run, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGSTONE_API_KEY", "rag_wrong")
    await run(app)
    assert "not known" in str(app.error[0].value)
    app.text_input(key="key-input").set_value(tenant.key)
    app.button(key="key-submit").click()
    await run(app)
    assert app.title[0].value == "What do your documents say?"


async def test_when_the_api_is_down_the_page_says_how_to_start_it(
    app: AppTest, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGSTONE_API_URL", "http://127.0.0.1:9")
    await run(app)
    assert "http://127.0.0.1:9" in texts(app)
    assert "`make run`" in texts(app)
    assert not app.chat_input


async def test_while_the_chat_model_loads_the_page_says_so_and_takes_no_question(
    app: AppTest, run: Run, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"chat_model": PartHealth(status="starting", detail="downloading 120 of 491 MB")}
    with serving(Health(status="starting", parts=parts).model_dump_json()) as url:
        monkeypatch.setenv("RAGSTONE_API_URL", url)
        await run(app)
    assert app.info[0].value == "The chat model is starting: downloading 120 of 491 MB."
    assert app.chat_input(key="question").disabled


async def test_an_empty_installation_suggests_adding_documents(app: AppTest, run: Run) -> None:
    await run(app)
    assert "There are no documents yet" in texts(app)
    assert app.button(key="go-documents").label == "Add documents"
    assert app.sidebar.caption[0].value == "Your conversations will be listed here."


async def test_an_answer_is_shown_with_its_steps_and_citations(
    app: AppTest, run: Run, tenant: Tenant, relay: Relay
) -> None:
    await tenant.upload("kerzenfels.md", LIGHTHOUSE.encode())
    await run(app)
    with relay.scripted(ANSWER):
        await ask(app, run)
        assert app.chat_input(key="question").disabled
        await wait_for_end(app)
    await run(app)
    shown = texts(app)
    assert ":primary-badge[1]" in shown
    assert "**kerzenfels\\.md**" in shown
    assert re.search(r"Searched the documents — \d passages?, \d", shown)
    assert "1821" in html(app)
    assert app.status[0].state == "complete"
    assert not app.chat_input(key="question").disabled


async def test_a_citation_opens_its_passage_with_the_quote_highlighted(
    app: AppTest, run: Run, tenant: Tenant, relay: Relay
) -> None:
    await tenant.upload("kerzenfels.md", LIGHTHOUSE.encode())
    await run(app)
    with relay.scripted(ANSWER):
        await ask(app, run)
        await wait_for_end(app)
    await run(app)
    assert "rs-mark" not in html(app).partition("</style>")[2]
    app.button(key="open-1-1").click()
    await run(app)
    before, _, after = html(app).partition('<mark class="rs-mark" id="quote">')
    assert after.startswith("The lighthouse of Kerzenfels was built in 1821 by the engineer Marta Olsund.</mark>")
    assert "Kerzenfels" in before.rpartition("rs-passage")[2]
    assert "The keeper is paid by the harbour office" in after


async def test_the_conversation_is_in_the_address_and_in_the_list(
    app: AppTest, run: Run, tenant: Tenant, relay: Relay
) -> None:
    await run(app)
    with relay.scripted(ANSWER):
        await ask(app, run, "What is this?")
        await wait_for_end(app)
    await run(app)
    thread_id = opened(app)
    assert app.sidebar.button(key=f"thread-{thread_id}").label == "What is this?"
    thread = await tenant.sdk.threads.get(thread_id)
    assert thread["metadata"] is not None
    assert thread["metadata"]["title"] == "What is this?"

    app.sidebar.button(key="new-thread").click()
    await run(app)
    assert "thread" not in app.query_params
    assert app.title[0].value == "What do your documents say?"

    app.sidebar.button(key=f"thread-{thread_id}").click()
    await run(app)
    assert "What is this?" in texts(app)


async def test_an_answer_without_a_source_says_so(app: AppTest, run: Run) -> None:
    await run(app)
    await ask(app, run)
    await wait_for_end(app)
    await run(app)
    assert "I found nothing about this in the documents" in texts(app).replace("\\", "")
    assert "No source in the documents is cited for this answer." in texts(app)


async def test_stop_ends_the_run_on_the_server_and_keeps_what_was_written(
    app: AppTest, run: Run, tenant: Tenant, relay: Relay
) -> None:
    await tenant.upload("kerzenfels.md", LIGHTHOUSE.encode())
    await run(app)
    with relay.scripted("The lighthouse " * 200, pause_s=0.05):
        await ask(app, run)
        thread_id = opened(app)
        async with asyncio.timeout(30):
            while not feed(app).view.draft:
                await asyncio.sleep(0.02)
        await run(app)
        coming_in = feed(app)
        app.button(key="stop").click()
        await run(app)
        await asyncio.to_thread(lambda: list(coming_in.follow()))
    await run(app)
    (latest,) = await tenant.sdk.runs.list(thread_id)
    assert latest["status"] == "interrupted"
    assert "Stopped. What was written by then has not been checked." in texts(app)
    assert "The lighthouse" in texts(app)


async def test_after_a_reload_the_page_takes_up_the_answer_that_is_coming_in(
    app: AppTest, run: Run, tenant: Tenant, relay: Relay
) -> None:
    await tenant.upload("kerzenfels.md", LIGHTHOUSE.encode())
    await run(app)
    reloaded = AppTest.from_file(app._script_path)
    with relay.scripted(ANSWER, pause_s=0.5):
        await ask(app, run)
        reloaded.query_params["thread"] = opened(app)
        await run(reloaded)
        assert feed(reloaded) is not feed(app)
        assert feed(reloaded).question == QUESTION
        await wait_for_end(reloaded)
        await wait_for_end(app)
    assert feed(reloaded).view.text == feed(app).view.text
    assert feed(reloaded).view.answer is not None


async def test_a_failed_answer_says_why_and_can_be_asked_again(
    app: AppTest, run: Run, tenant: Tenant, relay: Relay
) -> None:
    await tenant.upload("kerzenfels.md", LIGHTHOUSE.encode())
    await run(app)
    with relay.scripted("", status=404):
        await ask(app, run)
        await wait_for_end(app)
        await run(app)
    assert "The chat server does not know the model" in str(app.error[0].value)
    with relay.scripted(ANSWER):
        app.button(key="ask-again").click()
        await run(app)
        await wait_for_end(app)
    await run(app)
    assert ":primary-badge[1]" in texts(app)


async def test_a_conversation_is_deleted_on_the_server(app: AppTest, run: Run, tenant: Tenant) -> None:
    thread_id = (await tenant.sdk.threads.create(metadata={"title": "Old [things]"}))["thread_id"]
    app.query_params["thread"] = thread_id
    await run(app)
    assert app.sidebar.button(key=f"thread-{thread_id}").label == r"Old \[things\]"
    app.sidebar.button(key=f"delete-thread-{thread_id}").click()
    await run(app)
    assert await tenant.sdk.threads.search() == []
    assert "thread" not in app.query_params


@pytest.mark.parametrize("thread_id", ["00000000-0000-0000-0000-000000000000", "nonsense"])
async def test_a_conversation_that_is_not_there_is_said_so(app: AppTest, run: Run, thread_id: str) -> None:
    app.query_params["thread"] = thread_id
    await run(app)
    assert "does not exist any more" in str(app.warning[0].value)


async def test_the_search_is_limited_to_the_chosen_collections(
    app: AppTest, run: Run, tenant: Tenant, relay: Relay
) -> None:
    (await tenant.http.post("/collections", json={"name": "ships"})).raise_for_status()
    await tenant.upload("kerzenfels.md", LIGHTHOUSE.encode())
    await run(app)
    app.sidebar.multiselect(key="chosen-collections").select("ships")
    await run(app)
    with relay.scripted(ANSWER):
        await ask(app, run)
        await wait_for_end(app)
    await run(app)
    assert "No source in the documents is cited" in texts(app)


@contextmanager
def serving(health: str) -> Iterator[str]:
    """A server whose parts are as `health` says, and that has nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(health if self.path == "/health/ready" else '{"collections": [], "next_cursor": null}')

        def do_POST(self) -> None:
            self._answer("[]")

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self, body: str) -> None:
            self.send_response(503 if self.path == "/health/ready" else 200)
            self.end_headers()
            self.wfile.write(body.encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
