"""What the server remembers of one browser tab: its key, the open conversation, and answers that come in."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.navigation.page import Page

from app.schemas import CitationOut
from ui.client import Api, ApiError
from ui.feed import AnswerFeed
from ui.stream import AnswerView, Step

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the last answer of a conversation ended, when this tab saw it."""

    view: AnswerView
    stopped: bool


@st.cache_resource(max_entries=64, show_spinner=False)
def _connect(url: str, key: str | None) -> Api:
    return Api(url, key)


def api() -> Api:
    """The API with this tab's key."""
    url = os.environ.get("RAGSTONE_API_URL") or DEFAULT_URL
    return _connect(url.rstrip("/"), key())


def key() -> str | None:
    """The key that was typed in, else the one that the page was started with."""
    typed: str | None = st.session_state.get("api_key")
    return typed or os.environ.get("RAGSTONE_API_KEY") or None


def use_key(value: str) -> None:
    """Use a key that was typed in, until the tab is closed."""
    st.session_state["api_key"] = value.strip()


def thread() -> str | None:
    """The conversation that is open; it is in the address, so that a reload finds it."""
    in_address: str | None = st.query_params.get("thread")
    if in_address is None and (last := st.session_state.get("thread")):
        # Coming back from another page, whose address has no conversation.
        st.query_params["thread"] = in_address = last
    st.session_state["thread"] = in_address
    return in_address


def open_thread(thread_id: str | None) -> None:
    """Open a conversation, or none for a new one."""
    st.session_state["thread"] = thread_id
    if thread_id:
        st.query_params["thread"] = thread_id
    else:
        st.query_params.pop("thread", None)


def feeds() -> dict[str, AnswerFeed]:
    """The answers that come in, by conversation."""
    found: dict[str, AnswerFeed] = st.session_state.setdefault("feeds", {})
    return found


def outcomes() -> dict[str, Outcome]:
    """How the last answers ended, by conversation."""
    found: dict[str, Outcome] = st.session_state.setdefault("outcomes", {})
    return found


def steps_of() -> dict[str, tuple[Step, ...]]:
    """The steps of the answers that this tab saw come in, by message."""
    found: dict[str, tuple[Step, ...]] = st.session_state.setdefault("steps", {})
    return found


@dataclass(frozen=True, slots=True)
class OpenPassage:
    """The passage that is shown beside a conversation."""

    thread_id: str
    citation: CitationOut


def show_passage(thread_id: str, citation: CitationOut) -> None:
    """Show a passage until it is dismissed; also when the page is drawn anew meanwhile."""
    st.session_state["passage"] = OpenPassage(thread_id, citation)


def hide_passage() -> None:
    """Show no passage any more."""
    st.session_state.pop("passage", None)


def passage(thread_id: str) -> CitationOut | None:
    """The passage to show beside a conversation."""
    found: OpenPassage | None = st.session_state.get("passage")
    if found and found.thread_id != thread_id:
        hide_passage()
        return None
    return found.citation if found else None


def documents_page() -> Page:
    """The page that documents are added on."""
    found: Page = st.session_state["documents_page"]
    return found


def attempt(action: Callable[..., Any], *args: Any) -> bool:
    """Do what a button asks for in its callback, where nothing can be drawn: `notice` keeps a refusal."""
    try:
        action(*args)
    except ApiError as error:
        st.session_state["notice"] = str(error)
        return False
    return True


def press(action: Callable[..., Any], *args: Any) -> None:
    """`attempt` as a callback."""
    attempt(action, *args)


def notice() -> str | None:
    """Why the last button did not do its work; told once."""
    told: str | None = st.session_state.pop("notice", None)
    return told
