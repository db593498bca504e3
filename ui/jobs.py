"""Work that did not end well, and collections that are paused: listed, retried, cleared, resumed."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.schemas import CollectionOut, JobOut
from ui import session
from ui.action import draw_action
from ui.client import Api
from ui.markup import plain
from ui.wording import count, job_facts

SHOWN = 20
KIND_WORDS = {"ingest": "Could not be read", "erase": "Could not be deleted"}


def draw_jobs(api: Api, collections: Sequence[CollectionOut]) -> None:
    """A closed panel when there is something to see, and nothing otherwise."""
    ended = api.ended_jobs(limit=SHOWN)
    _draw_pauses(api, collections)
    if not ended.jobs:
        return
    number = f"{len(ended.jobs)}+" if ended.next_cursor else str(len(ended.jobs))
    with st.expander(f"Failed and cancelled work ({number})", icon=":material/error:", key="jobs"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                "It waits until you retry it or clear it from this list. A cleared document stays below, failed."
            )
            st.button(
                "Retry all",
                key="retry-all-jobs",
                icon=":material/refresh:",
                type="tertiary",
                on_click=_retry_all,
                args=(api,),
            )
        for job in ended.jobs:
            _draw_job(api, job)


def _draw_job(api: Api, job: JobOut) -> None:
    with st.container(border=True, key=f"job-{job.id}", gap="xsmall"):
        with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small"):
            with st.container(gap=None):
                word = "Cancelled" if job.status == "cancelled" else KIND_WORDS[job.kind]
                st.markdown(f"**{plain(job.document_name)}**")
                st.caption(f"{word} · {plain(job.collection)} · {job_facts(job)}")
            draw_action("Retry", api.retry_job, job.id, key=f"retry-job-{job.id}", icon=":material/refresh:")
            if job.kind == "ingest":
                draw_action("Clear", api.clear_job, job.id, key=f"clear-job-{job.id}", icon=":material/close:")
        if job.error:
            st.caption(plain(job.error))


def _draw_pauses(api: Api, collections: Sequence[CollectionOut]) -> None:
    for collection in collections:
        if collection.paused_at is not None:
            with st.container(horizontal=True, vertical_alignment="center", key=f"paused-{collection.id}"):
                st.info(
                    f"**{plain(collection.name)}** is paused: new documents wait, and search goes on.",
                    icon=":material/pause_circle:",
                )
                st.button(
                    "Resume",
                    key=f"resume-{collection.id}",
                    icon=":material/play_arrow:",
                    on_click=session.press,
                    args=(api.resume_collection, collection.name),
                )


def draw_pause(api: Api, collection: CollectionOut) -> None:
    """The button that pauses a collection."""
    if collection.paused_at is None:
        st.button(
            "Pause",
            key=f"pause-{collection.id}",
            icon=":material/pause:",
            help="Let new documents of this collection wait",
            on_click=session.press,
            args=(api.pause_collection, collection.name),
        )


def _retry_all(api: Api) -> None:
    retried: list[int] = []
    if session.attempt(lambda: retried.append(api.retry_jobs())):
        st.toast(f"{count(retried[0], 'job')} tried again.", icon=":material/refresh:")
