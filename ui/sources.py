"""Sources: an address whose documents are taken again and again is added, looked at now, or removed."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.schemas import CollectionOut, SourceOut
from ui import session
from ui.action import draw_action
from ui.client import Api, ApiError, KeyRefusedError
from ui.markup import plain
from ui.wording import EVERY_WORDS, source_facts, source_state

TICK_SECONDS = 2.0
BUSY = ("queued", "syncing")


def draw_sources(api: Api, collections: Sequence[CollectionOut]) -> None:
    """The form for an address, and the sources that there are; looks again while one is being looked at."""
    shown = api.sources()
    title = f"Sources ({len(shown)})" if shown else "Add from the web"
    with st.expander(title, icon=":material/language:", key="sources"):
        _draw_form(api, collections)
        busy = any(source.status in BUSY for source in shown)
        page_run = True

        @st.fragment(run_every=TICK_SECONDS if busy else None)
        def rows() -> None:
            nonlocal page_run
            sources = shown if page_run else api.sources()
            page_run = False
            if busy and not any(source.status in BUSY for source in sources):
                st.rerun()
            for source in sources:
                _draw_source(api, source)

        rows()


def _draw_form(api: Api, collections: Sequence[CollectionOut]) -> None:
    names = [collection.name for collection in collections]
    with st.form("new-source", clear_on_submit=True, border=False):
        address = st.text_input(
            "Address of a page, a file or a sitemap", key="source-address", placeholder="https://example.org/guide.html"
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            collection = st.selectbox("To collection", names, key="source-collection", disabled=len(names) < 2)
            every = st.selectbox(
                "Look again",
                list(EVERY_WORDS),
                format_func=lambda seconds: EVERY_WORDS[seconds],
                key="source-every",
            )
        with st.container(horizontal=True, vertical_alignment="center"):
            whole = st.checkbox("It is a sitemap: take its pages", key="source-sitemap")
            mirror = st.checkbox("Delete what is gone there", key="source-mirror")
            sent = st.form_submit_button("Add", icon=":material/add:")
    if sent and address.strip():
        try:
            api.add_source(
                address.strip(),
                sitemap=whole,
                collection=collection or "default",
                mirror=mirror,
                interval_s=every or None,
            )
        except KeyRefusedError:
            raise
        except ApiError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
        st.toast("The address is being looked at.", icon=":material/language:")
        st.rerun()


def _draw_source(api: Api, source: SourceOut) -> None:
    with st.container(border=True, key=f"source-{source.id}", gap="xsmall"):
        with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small"):
            with st.container(gap=None):
                st.markdown(f"**{plain(source.address)}**")
                st.caption(f"{plain(source.collection)} · {source_facts(source)}")
            words, colour = source_state(source)
            st.badge(words, color=colour)
            draw_action(
                "Sync now",
                api.sync_source,
                source.id,
                key=f"sync-{source.id}",
                icon=":material/sync:",
                disabled=source.status in BUSY,
            )
            _draw_removal(api, source)
        if source.error:
            st.error(plain(source.error), icon=":material/error:")
        if source.counts.get("failed") and source.status == "idle":
            for failure in api.source(source.id).failures:
                st.caption(f":material/warning: {plain(failure.path)}: {plain(failure.error)}")


def _draw_removal(api: Api, source: SourceOut) -> None:
    with st.popover("", icon=":material/delete:", type="tertiary", help="Remove this source", key=f"drop-{source.id}"):
        st.markdown(f"Take nothing from **{plain(source.address)}** any more?")
        for label, key, documents in (
            ("Remove, keep its documents", "keep", False),
            (":red[Remove with its documents]", "with", True),
        ):
            st.button(
                label,
                key=f"{key}-{source.id}",
                on_click=session.press,
                args=(api.delete_source, source.id, documents),
            )
