"""The quiet buttons beside a row, which do something at the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from ui import session


def draw_action(
    label: str, action: Callable[..., Any], *args: Any, key: str, icon: str, disabled: bool = False
) -> None:
    """A button that calls ``action`` with ``args``; `session.notice` keeps a refusal."""
    st.button(
        label,
        key=key,
        icon=icon,
        type="tertiary",
        disabled=disabled,
        on_click=session.press,
        args=(action, *args),
    )
