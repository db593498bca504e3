"""Chat: ask the documents, watch the answer come in, open what it cites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import streamlit as st
from langgraph_sdk.schema import StreamPart

from app.schemas import CollectionOut
from ui import session
from ui.answer import draw_live, draw_messages, draw_outcome, settle
from ui.citations import draw_passage
from ui.client import Api, ApiError
from ui.feed import AnswerFeed
from ui.panels import readiness
from ui.stream import Message, read_messages, split_last_question, title_for
from ui.threads import draw_threads
from ui.wording import ANSWERING

LONGEST_QUESTION = 20_000


def page() -> None:
    """Draw the conversation that is open, or the start of a new one."""
    api = session.api()
    collections = api.collections()
    chosen = _choose_collections(collections)
    if asked := st.session_state.pop("asked", None):
        _ask(api, asked, chosen)
    thread_id = session.thread()
    draw_threads(api, thread_id)
    ready = readiness(api, ANSWERING)
    if thread_id:
        feed = _draw_conversation(api, thread_id)
        draw_passage(thread_id)
    else:
        feed = None
        _draw_start(collections)
    _draw_input(ready=ready, feed=feed)


def _draw_conversation(api: Api, thread_id: str) -> AnswerFeed | None:
    settle(thread_id)
    feed = session.feeds().get(thread_id)
    if feed is None:
        try:
            messages = read_messages(api.thread_values(thread_id))
        except ApiError as error:
            if error.status not in (404, 422):
                raise
            st.warning("This conversation does not exist any more. Choose another one, or start a new one below.")
            session.open_thread(None)
            return None
        feed = _rejoin(api, thread_id, messages)
        if feed is None:
            draw_messages(messages, thread_id)
            if again := draw_outcome(messages, thread_id):
                _keep(again)
                st.rerun()
            return None
    draw_messages(feed.history, thread_id)
    draw_live(feed)
    return feed


def _draw_start(collections: Sequence[CollectionOut]) -> None:
    with st.container(key="start"):
        st.title("What do your documents say?", anchor=False)
        if sum(collection.documents for collection in collections):
            st.markdown("Ask a question. The answer cites the passages that it rests on; each opens in its document.")
        else:
            st.markdown("There are no documents yet. Add some, and ask about them here.")
            if st.button("Add documents", key="go-documents", icon=":material/upload_file:", type="primary"):
                st.switch_page(session.documents_page())


def _draw_input(*, ready: bool, feed: AnswerFeed | None) -> None:
    if feed:
        with st.bottom, st.container(horizontal=True, horizontal_alignment="center"):
            st.button(
                "Stop",
                key="stop",
                icon=":material/stop_circle:",
                disabled=feed.stopped,
                on_click=session.press,
                args=(feed.stop,),
            )
    st.chat_input(
        _placeholder(ready=ready, busy=feed is not None),
        key="question",
        max_chars=LONGEST_QUESTION,
        disabled=feed is not None or not ready,
        on_submit=_take_question,
    )


def _placeholder(*, ready: bool, busy: bool) -> str:
    if busy:
        return "An answer is on its way. Stop it to ask something else."
    return "Ask your documents" if ready else "Questions are possible as soon as everything above is ready"


def _take_question() -> None:
    _keep(st.session_state["question"])


def _keep(question: str) -> None:
    # Asked in the next run of the page and not in the callback, where an error could not be shown.
    st.session_state["asked"] = question


def _ask(api: Api, question: str, collections: Sequence[str]) -> None:
    thread_id = session.thread()
    history: tuple[Message, ...] = ()
    if thread_id:
        history = read_messages(api.thread_values(thread_id))
    else:
        thread_id = api.create_thread(title_for(question))
        session.open_thread(thread_id)
    session.outcomes().pop(thread_id, None)
    session.feeds()[thread_id] = AnswerFeed(
        lambda on_run: api.ask(thread_id, question, collections, on_run),
        lambda run_id: api.cancel(thread_id, run_id),
        history=history,
        question=question,
    ).start()


def _rejoin(api: Api, thread_id: str, messages: Sequence[Message]) -> AnswerFeed | None:
    """Follow the run that works on the conversation, if there is one: after a reload, or from another tab."""
    run_id = api.active_run(thread_id)
    seen = session.outcomes().get(thread_id)
    if run_id is None or (seen and seen.view.error and seen.view.run_id == run_id):
        return None
    history, question = split_last_question(messages)
    if messages and messages[-1].role == "ai":
        # The run has only begun: its own question is not in the state yet, but will come with the stream.
        history, question = tuple(messages), None

    def join(on_run: Callable[[str], None]) -> Iterator[StreamPart]:
        on_run(run_id)
        return api.join(thread_id, run_id)

    feed = AnswerFeed(join, lambda run: api.cancel(thread_id, run), history=history, question=question)
    session.feeds()[thread_id] = feed.start()
    return feed


def _choose_collections(collections: Sequence[CollectionOut]) -> list[str]:
    """The collections to search, of the ones that there are; none stands for all of them."""
    if len(collections) < 2:
        return []
    with st.sidebar:
        return st.multiselect(
            "Search in",
            [collection.name for collection in collections],
            key="chosen-collections",
            placeholder="All collections",
            persist_state="session",
        )
