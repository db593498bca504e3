"""The conversations, in the sidebar."""

from __future__ import annotations

import streamlit as st

from ui import session
from ui.client import Api, ThreadEntry
from ui.markup import plain
from ui.panels import shown_errors

PAGE = 30


def draw_threads(api: Api, current: str | None) -> None:
    """New conversation, and the ones that there are, newest first."""
    with st.sidebar:
        st.button(
            "New conversation",
            key="new-thread",
            icon=":material/add_comment:",
            width="stretch",
            on_click=session.open_thread,
            args=(None,),
        )
        with shown_errors():
            shown: int = st.session_state.setdefault("threads_shown", PAGE)
            entries = api.threads(shown + 1)
            if not entries:
                st.caption("Your conversations will be listed here.")
                return
            with st.container(key="threads", gap=None):
                for entry in entries[:shown]:
                    _draw_entry(api, entry, current)
            if len(entries) > shown:
                st.button("Show more", key="more-threads", type="tertiary", on_click=_show_more)


def _draw_entry(api: Api, entry: ThreadEntry, current: str | None) -> None:
    is_open = entry.thread_id == current
    with st.container(horizontal=True, gap=None, wrap=False, vertical_alignment="center"):
        st.button(
            plain(entry.title),
            key=f"thread-{entry.thread_id}",
            type="secondary" if is_open else "tertiary",
            icon="spinner" if entry.status == "busy" else None,
            width="stretch",
            on_click=session.open_thread,
            args=(entry.thread_id,),
        )
        with st.popover(
            "",
            icon=":material/more_horiz:",
            type="tertiary",
            help="Delete this conversation",
            key=f"menu-{entry.thread_id}",
        ):
            st.markdown(f"Delete **{plain(entry.title)}** with all its questions and answers?")
            st.button(
                ":red[Delete conversation]",
                key=f"delete-thread-{entry.thread_id}",
                icon=":material/delete:",
                on_click=_delete,
                args=(api, entry.thread_id),
            )


def _delete(api: Api, thread_id: str) -> None:
    if session.attempt(api.delete_thread, thread_id):
        session.feeds().pop(thread_id, None)
        if session.thread() == thread_id:
            session.open_thread(None)


def _show_more() -> None:
    st.session_state["threads_shown"] += PAGE
