"""Citations as cards, and the passage that a card opens in its document."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import streamlit as st

from app.schemas import CitationOut
from ui import session
from ui.client import Api
from ui.markup import passage_html, plain, quote_html
from ui.panels import shown_errors
from ui.passage import PageImage, draw_page, split_window, window
from ui.wording import place_text

DRAWER_PX = 780
# The only thing that is put into it is a number that we have calculated.
SCROLL_TO_QUOTE = """<script>
(function scroll(tries) {{
  const image = document.querySelector('[role="dialog"] img');
  let box = image;
  while (box && getComputedStyle(box).overflowY !== "auto") box = box.parentElement;
  if (box && image.height && box.scrollHeight > image.height) {{
    const top = image.getBoundingClientRect().top - box.getBoundingClientRect().top + box.scrollTop;
    box.scrollTo({{ top: top + {share:.4f} * image.height - box.clientHeight / 3 }});
  }} else if (tries) setTimeout(scroll, 100, tries - 1);
}})(30);
</script>"""
NO_CITATIONS = "No source in the documents is cited for this answer."


def draw_citations(citations: Sequence[CitationOut], thread_id: str, position: int) -> None:
    """The cards of the answer at ``position`` of a conversation, or a line that says that it has none."""
    if not citations:
        st.caption(f":material/info: {NO_CITATIONS}")
        return
    with st.container(key=f"citations-{position}", gap="small"):
        for citation in citations:
            _card(citation, thread_id, f"{position}-{citation.n}")


def draw_passage(thread_id: str) -> None:
    """The passage that was opened last, in a drawer beside the conversation, until it is dismissed."""
    citation = session.passage(thread_id)
    if citation:
        drawer = st.dialog(
            plain(citation.document_name),
            width=DRAWER_PX,
            position="right",
            icon=":material/description:",
            on_dismiss=session.hide_passage,
        )
        drawer(_draw_drawer)(citation)


def _card(citation: CitationOut, thread_id: str, identity: str) -> None:
    with st.container(border=True, key=f"card-{identity}", gap="xsmall"):
        with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small"):
            with st.container(gap=None):
                st.markdown(f":primary-badge[{citation.n}] **{plain(citation.document_name)}**")
                if place := place_text(citation):
                    st.caption(plain(place))
            st.button(
                "Open passage",
                key=f"open-{identity}",
                icon=":material/find_in_page:",
                type="tertiary",
                on_click=session.show_passage,
                args=(thread_id, citation),
            )
        st.html(quote_html(citation.quote))


def _draw_drawer(citation: CitationOut) -> None:
    api = session.api()
    if place := place_text(citation):
        st.caption(plain(place))
    with shown_errors():
        picture = _page_image(api, citation)
        if picture is None:
            _draw_text(api, citation)
        else:
            page, text = st.tabs(["Page", "Text"])
            with page:
                _draw_page(picture, citation)
            with text:
                _draw_text(api, citation)
        st.download_button(
            "Download the original",
            data=_original((api.url, api.key), citation.document_id, _api=api)[0],
            file_name=citation.document_name,
            key="download-original",
            icon=":material/download:",
            on_click="ignore",
        )


def _draw_page(picture: PageImage, citation: CitationOut) -> None:
    found = picture.quote_top is not None
    words = "with the quote highlighted" if found else "on which the quote was not located"
    st.image(picture.png, alt=f"Page {citation.page} of {citation.document_name}, {words}", width="stretch")
    if picture.quote_top is None:
        st.caption(":material/info: The quote was not located on this picture; it is highlighted under “Text”.")
    else:
        st.html(SCROLL_TO_QUOTE.format(share=picture.quote_top), unsafe_allow_javascript=True)


def _draw_text(api: Api, citation: CitationOut) -> None:
    stretch = api.text(citation.document_id, *window(citation.start, citation.end))
    st.html(passage_html(*split_window(stretch, citation.start, citation.end)))


def _page_image(api: Api, citation: CitationOut) -> PageImage | None:
    if citation.page is None:
        return None
    return _picture((api.url, api.key), citation.document_id, citation.page, citation.quote, _api=api)


# What is kept is kept per key, so that nobody is shown what only another person may read.
@st.cache_data(max_entries=128, ttl=3600, show_spinner="Drawing the page…")
def _picture(who: tuple[str, str | None], document_id: UUID, page: int, quote: str, *, _api: Api) -> PageImage | None:
    content, media_type = _original(who, document_id, _api=_api)
    return draw_page(content, page, quote) if media_type == "application/pdf" else None


@st.cache_resource(max_entries=4, ttl=600, show_spinner=False)
def _original(who: tuple[str, str | None], document_id: UUID, *, _api: Api) -> tuple[bytes, str]:
    del who  # a part of the cache's key, and no more
    return _api.content(document_id)
