"""What the pages show when something is wrong or not ready: here errors of the API become words."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager

import streamlit as st

from ui import session
from ui.client import Api, ApiDownError, ApiError, KeyRefusedError
from ui.wording import has_failed, waiting_text

RETRY_SECONDS = 3
_WHERE = (
    "`make run` prints the first key once, at its first start. "
    "Whoever administers this installation makes another one with `python -m app keys create NAME`."
)


@contextmanager
def shown_errors() -> Iterator[None]:
    """Show an error of the API as its sentence, in the place where it happened."""
    try:
        yield
    except ApiError as error:
        st.error(str(error), icon=":material/error:")


@contextmanager
def whole_page(api: Api) -> Iterator[None]:
    """Show an error of the API in place of the page; when it is down, try again until it answers."""
    try:
        yield
    except KeyRefusedError as error:
        ask_for_key(str(error) if session.key() else None)
    except ApiDownError:
        api_down(api)
    except ApiError as error:
        st.error(str(error), icon=":material/error:")
        st.button("Try again", key="retry-page", icon=":material/refresh:")


def ask_for_key(refusal: str | None) -> None:
    """Ask for an API key and say where to find one."""
    st.header("Sign in with an API key", anchor=False)
    if refusal:
        st.error(refusal, icon=":material/key_off:")
    st.markdown(_WHERE)
    with st.form("key-form", border=False):
        typed = st.text_input("API key", type="password", key="key-input", autocomplete="off")
        sent = st.form_submit_button("Sign in", type="primary", key="key-submit")
    if sent and typed.strip():
        session.use_key(typed)
        st.rerun()


def api_down(api: Api) -> None:
    """Say that the API is down and how to start it, and go on by itself once it answers."""

    @st.fragment(run_every=RETRY_SECONDS)
    def panel() -> None:
        with st.container(border=True, key="api-down"):
            st.subheader(":material/cloud_off: The API does not answer", anchor=False)
            st.markdown(
                f"The API at `{api.url}` does not answer.\n\n"
                "- Start it with `make run`, or wait if it is just starting.\n"
                "- Is it running at another address? Set `RAGSTONE_API_URL` and start this page again."
            )
            st.caption(f"This page tries again every {RETRY_SECONDS} seconds.")
            pressed = st.button("Try again now", key="retry-api", icon=":material/refresh:")
        if pressed or _answers(api):
            st.rerun()

    panel()


def readiness(api: Api, needed: Set[str]) -> bool:
    """Whether the needed parts are ready; while they are not, a banner says why and looks again by itself."""
    state = api.health()
    if waiting_text(state, needed) is None:
        return True
    page_run = True

    @st.fragment(run_every=RETRY_SECONDS)
    def banner() -> None:
        nonlocal page_run
        with shown_errors():
            now = state if page_run else api.health()
            page_run = False
            text = waiting_text(now, needed)
            if text is None:
                st.rerun()
            elif has_failed(now, needed):
                st.warning(text, icon=":material/warning:")
            else:
                st.info(text, icon=":material/hourglass_top:")

    with st.container(key="readiness"):
        banner()
    return False


def _answers(api: Api) -> bool:
    try:
        api.health()
    except ApiDownError:
        return False
    return True
