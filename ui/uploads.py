"""Adding documents: files dropped on the page are sent one by one, and each says what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.schemas import CollectionOut, Strategy
from ui.client import Api, ApiError, KeyRefusedError
from ui.markup import plain
from ui.wording import STRATEGY_WORDS, count


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one file: ``problem`` says why it was not taken."""

    name: str
    unchanged: bool = False
    problem: str | None = None


def draw_upload(api: Api, collections: Sequence[CollectionOut]) -> None:
    """The field that files are dropped on, and what became of the last ones."""
    with st.container(horizontal=True, vertical_alignment="top", key="upload"):
        with st.container(width=460):
            files = st.file_uploader(
                "Add documents: PDF, Office, HTML, Markdown, CSV, e-mail, pictures, text and more",
                accept_multiple_files=True,
                # A new key empties the field once its files are sent.
                key=f"files-{st.session_state.setdefault('upload_round', 0)}",
            )
        with st.container():
            collection = _choose_collection(collections)
            new = bool(collection) and collection not in {each.name for each in collections}
            strategy = _choose_strategy() if new else None
    if files:
        if collection and new and (problem := _made(api, collection, strategy)):
            st.session_state["sent"] = [problem]
        else:
            st.session_state["sent"] = _send(api, files, collection)
        st.session_state["upload_round"] += 1
        st.rerun()
    _draw_sent(st.session_state.get("sent", []))


def summary(sent: Sequence[Sent]) -> str | None:
    """How many files were taken and how many were there already, in a sentence; none when there were none."""
    new = sum(1 for one in sent if not one.problem and not one.unchanged)
    known = [one.name for one in sent if one.unchanged]
    parts = []
    if new:
        parts.append(f"{count(new, 'document')} taken in.")
    if known:
        names = ", ".join(f"“{name}”" for name in known[:3]) + (f" and {len(known) - 3} more" if len(known) > 3 else "")
        parts.append(f"Already there with the same content, so nothing to do: {names}.")
    return " ".join(parts) or None


def _choose_collection(collections: Sequence[CollectionOut]) -> str | None:
    names = [collection.name for collection in collections]
    chosen: str | None = st.selectbox(
        "To collection",
        names,
        index=0 if names else None,
        key="upload-collection",
        accept_new_options=True,
        placeholder="default",
        help="Choose a collection, or type the name of a new one.",
        persist_state="session",
    )
    return chosen


def _choose_strategy() -> Strategy | None:
    strategy: Strategy | None = st.selectbox(
        "Divide its documents",
        list(STRATEGY_WORDS),
        index=None,
        key="upload-strategy",
        format_func=lambda value: STRATEGY_WORDS[value],
        placeholder="As the server is set",
        help="How documents of the new collection are cut into passages. To change it later, the collection is made "
        "anew: `python -m ingest reembed`.",
    )
    return strategy


def _made(api: Api, collection: str, strategy: Strategy | None) -> Sent | None:
    """Make the new collection; what went wrong, if anything did."""
    try:
        api.create_collection(collection, strategy)
    except KeyRefusedError:
        raise
    except ApiError as error:
        return Sent(name=collection, problem=str(error))
    return None


def _send(api: Api, files: Sequence[Any], collection: str | None) -> list[Sent]:
    sent: list[Sent] = []
    bar = st.progress(0.0, text="Sending…")
    for position, file in enumerate(files):
        bar.progress(position / len(files), text=f"Sending {plain(file.name)} ({position + 1} of {len(files)})")
        sent.append(_send_one(api, file, collection))
    return sent


def _send_one(api: Api, file: Any, collection: str | None) -> Sent:
    try:
        document = api.upload(file.name, file, file.type, collection)
    except KeyRefusedError:
        raise
    except ApiError as error:
        return Sent(name=file.name, problem=str(error))
    return Sent(name=file.name, unchanged=document.unchanged)


def _draw_sent(sent: Sequence[Sent]) -> None:
    if not sent:
        return
    with st.container(key="sent", gap="small"):
        if text := summary(sent):
            st.success(plain(text), icon=":material/check_circle:")
        for one in sent:
            if one.problem:
                st.error(f"**{plain(one.name)}** was not taken. {plain(one.problem)}", icon=":material/error:")
