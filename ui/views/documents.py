"""Documents: add them, watch them being read, cancel, retry or delete them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import streamlit as st

from app.schemas import CollectionOut, DocumentList, DocumentOut, Status
from ui import session
from ui.action import draw_action
from ui.client import Api
from ui.jobs import draw_jobs, draw_pause
from ui.markup import plain
from ui.panels import readiness, shown_errors
from ui.sources import draw_sources
from ui.uploads import draw_upload
from ui.wording import (
    READING,
    STATUS_WORDS,
    document_facts,
    failures,
    in_progress,
    progress_of,
    progress_text,
    status_colour,
    status_icon,
)

PAGE = 20
TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Filters:
    """Which documents to list."""

    collection: str | None = None
    status: str | None = None
    name: str | None = None

    @property
    def any(self) -> bool:
        """Whether anything is left out."""
        return bool(self.collection or self.status or self.name)


def page() -> None:
    """Draw the upload and the list."""
    api = session.api()
    st.title("Documents", anchor=False)
    readiness(api, READING)
    collections = api.collections()
    draw_upload(api, collections)
    draw_sources(api, collections)
    draw_jobs(api, collections)
    filters = _choose_filters(api, collections)
    _draw_list(api, filters, several=len(collections) > 1 and filters.collection is None)


def _choose_filters(api: Api, collections: Sequence[CollectionOut]) -> Filters:
    with st.container(horizontal=True, key="filters", vertical_alignment="bottom"):
        name = st.text_input(
            "Name contains",
            key="filter-name",
            placeholder="All names",
            icon=":material/search:",
            on_change=_first_page,
        )
        status = st.selectbox(
            "Status",
            get_args(Status),
            index=None,
            format_func=lambda value: STATUS_WORDS[value],
            placeholder="All",
            key="filter-status",
            on_change=_first_page,
        )
        collection = None
        if len(collections) > 1:
            collection = st.selectbox(
                "Collection",
                [collection.name for collection in collections],
                index=None,
                placeholder="All",
                key="filter-collection",
                on_change=_first_page,
            )
        chosen = next((one for one in collections if one.name == collection or len(collections) == 1), None)
        if chosen is not None:
            draw_pause(api, chosen)
    return Filters(collection=collection, status=status, name=(name or "").strip() or None)


def _draw_list(api: Api, filters: Filters, *, several: bool) -> None:
    """The list; looks again every second while something on it is in progress."""
    shown = _fetch(api, filters)
    busy, failed = in_progress(shown.documents), failures(shown.documents)
    page_run = True

    @st.fragment(run_every=TICK_SECONDS if busy else None)
    def rows() -> None:
        nonlocal page_run
        with shown_errors():
            listed = shown if page_run else _fetch(api, filters)
            page_run = False
            # The page and not only the list: what has failed is on the list of failed work as well.
            if busy and not (in_progress(listed.documents) and failures(listed.documents) == failed):
                st.rerun()
            if not listed.documents:
                _draw_empty(filters)
            with st.container(key="documents", gap="small"):
                for document in listed.documents:
                    _draw_document(api, document, several=several)
            _draw_pager(listed.next_cursor)

    rows()


def _fetch(api: Api, filters: Filters) -> DocumentList:
    cursors = _cursors()
    return api.documents(
        limit=PAGE,
        cursor=cursors[-1] if cursors else None,
        collection=filters.collection,
        status=filters.status,
        name=filters.name,
    )


def _draw_document(api: Api, document: DocumentOut, *, several: bool) -> None:
    with st.container(border=True, key=f"document-{document.id}", gap="xsmall"):
        with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small"):
            with st.container(gap=None):
                st.markdown(f"**{plain(document.name)}**")
                facts = document_facts(document)
                st.caption(f"{plain(document.collection)} · {facts}" if several else facts)
            icon, colour = status_icon(document.status), status_colour(document.status)
            st.badge(STATUS_WORDS[document.status], icon=icon, color=colour)
            _draw_actions(api, document)
        part = progress_of(document)
        if part is not None:
            st.progress(part, text=progress_text(document))
        for warning in document.warnings:
            st.caption(f":material/warning: {plain(warning)}")
        if document.error:
            st.error(plain(document.error), icon=":material/error:")


def _draw_actions(api: Api, document: DocumentOut) -> None:
    if document.status in ("queued", "loading", "chunking", "embedding"):
        key, icon = f"cancel-{document.id}", ":material/stop_circle:"
        draw_action("Cancel", api.cancel_document, document.id, key=key, icon=icon)
    if document.status == "failed":
        draw_action("Retry", api.retry_document, document.id, key=f"retry-{document.id}", icon=":material/refresh:")
    with st.popover(
        "",
        icon=":material/delete:",
        type="tertiary",
        help="Delete this document",
        disabled=document.status == "deleting",
        key=f"menu-{document.id}",
    ):
        st.markdown(f"Delete **{plain(document.name)}**? Search stops finding it at once; the original is deleted.")
        st.button(
            ":red[Delete document]",
            key=f"delete-{document.id}",
            icon=":material/delete:",
            on_click=_delete,
            args=(api, document),
        )


def _delete(api: Api, document: DocumentOut) -> None:
    if session.attempt(api.delete_document, document.id):
        st.toast(f"“{plain(document.name)}” is being deleted.", icon=":material/delete:")


def _draw_empty(filters: Filters) -> None:
    with st.container(border=True, key="no-documents"):
        if filters.any or _cursors():
            st.markdown(":material/filter_alt_off: **No document fits.** Change or clear the filters above.")
        else:
            st.markdown(
                ":material/upload_file: **No documents yet.** Drop files on the field above. "
                "As soon as one is ready, ask about it on the Chat page."
            )


def _draw_pager(next_cursor: str | None) -> None:
    cursors = _cursors()
    if not cursors and not next_cursor:
        return
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center", key="pager"):
        _pager_button("Newer", "newer", ":material/chevron_left:", enabled=bool(cursors), action=_back, args=())
        st.caption(f"Page {len(cursors) + 1}", width="content")
        _pager_button(
            "Older",
            "older",
            ":material/chevron_right:",
            enabled=bool(next_cursor),
            action=_forward,
            args=(next_cursor,),
        )


def _pager_button(label: str, key: str, icon: str, *, enabled: bool, action: Any, args: tuple[Any, ...]) -> None:
    pressed = st.button(label, key=key, icon=icon, type="tertiary", disabled=not enabled)
    if pressed:
        action(*args)
        # The page and not only the list, because whether it looks again by itself is decided there.
        st.rerun()


def _cursors() -> list[str]:
    """The cursors of the pages that were turned to, the shown one last; empty on the first page."""
    found: list[str] = st.session_state.setdefault("document_cursors", [])
    return found


def _first_page() -> None:
    _cursors().clear()


def _forward(cursor: str) -> None:
    _cursors().append(cursor)


def _back() -> None:
    _cursors().pop()
