"""The user interface: `streamlit run ui/main.py`, from the folder that holds the packages."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from ui import panels, session
from ui.views import chat, documents

HERE = Path(__file__).parent


def main() -> None:
    """Draw the page that is open, or what stands in its way."""
    st.set_page_config(page_title="Ragstone", page_icon=str(HERE / "icon.svg"), layout="centered")
    st.logo(str(HERE / "logo.svg"), size="large")
    st.html(HERE / "style.css")
    chat_page = st.Page(chat.page, title="Chat", icon=":material/forum:", url_path="chat", default=True)
    documents_page = st.Page(documents.page, title="Documents", icon=":material/description:", url_path="documents")
    st.session_state["documents_page"] = documents_page
    page = st.navigation([chat_page, documents_page])
    api = session.api()
    with panels.whole_page(api):
        if told := session.notice():
            st.error(told, icon=":material/error:")
        page.run()


if __name__ == "__main__":
    main()
