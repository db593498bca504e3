"""Text of models and documents made safe for Streamlit's Markdown and HTML. Nothing here draws."""

from __future__ import annotations

import html
import re
from collections.abc import Collection

_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_MARK = re.compile(r"\[(\d{1,3})\](?!\()")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~$:&])")


def answer_markdown(text: str, marks: Collection[int] = ()) -> str:
    """An answer as Markdown: known marks become badges, dollar signs stay dollar signs, nothing is fetched.

    Images are shown as their source, because an address in a document could carry what the answer says to a
    stranger's server as soon as it is drawn.
    """
    parts = _CODE.split(text)
    return "".join(part if position % 2 else _prose(part, marks) for position, part in enumerate(parts))


def draft_markdown(text: str) -> str:
    """What the model has written so far, without its own marks: which passages it rests on is decided later.

    A draft in capitals only is a sign to the graph that there is no answer, and no text for people.
    """
    return "" if text.isupper() else answer_markdown(_MARK.sub("", text))


def plain(text: str) -> str:
    """Any text so that Markdown shows it letter by letter, in one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def plain_block(text: str) -> str:
    """Any text so that Markdown shows it letter by letter, line by line."""
    return "  \n".join(plain(line) for line in text.strip().splitlines())


def quote_html(quote: str) -> str:
    """A quote for a card."""
    return f'<blockquote class="rs-quote">{html.escape(" ".join(quote.split()))}</blockquote>'


def passage_html(before: str, quote: str, after: str) -> str:
    """A passage with the quote highlighted in it."""
    marked = f'<mark class="rs-mark" id="quote">{html.escape(quote)}</mark>'
    return f'<div class="rs-passage" tabindex="0">{html.escape(before)}{marked}{html.escape(after)}</div>'


def _prose(text: str, marks: Collection[int]) -> str:
    quiet = text.replace("$", r"\$").replace("![", r"!\[")
    return _MARK.sub(lambda mark: _badge(mark, marks), quiet)


def _badge(mark: re.Match[str], marks: Collection[int]) -> str:
    return f":primary-badge[{mark[1]}]" if int(mark[1]) in marks else mark[0]
