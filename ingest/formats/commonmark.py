"""Markdown: its source is the text, so that a quote is what the author wrote; blocks by a CommonMark parser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from core.domain import Block, LoadedDocument
from core.errors import UnreadableDocument
from ingest.encoding import clean, decode

if TYPE_CHECKING:
    from markdown_it.token import Token

FRONT_MATTER = re.compile(r"---[ \t]*\n(?:.*\n){0,200}?---[ \t]*(?:\n|\Z)")
HEADING_MARKUP = re.compile(r"[ \t]{0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*\Z")
COMMENT = re.compile(r"\s*<!--(?:(?!-->).)*-->\s*\Z", re.DOTALL)
LINES = {"bullet_list_open", "ordered_list_open", "table_open", "fence", "code_block", "html_block"}


def load_markdown(path: Path) -> LoadedDocument:
    """Read a Markdown file.

    Raises:
        UnreadableDocument: the file is binary or holds no text.
    """
    text = clean(decode(path.read_bytes()))
    blocks = list(markdown_blocks(text))
    if not blocks:
        raise UnreadableDocument("The file is empty: it holds no text. Upload a file that does.")
    return LoadedDocument(text=text, blocks=blocks)


def markdown_blocks(text: str) -> Iterator[Block]:
    """The blocks of a Markdown text, in order; together they hold all of it but rules, remarks and heading marks."""
    from markdown_it import MarkdownIt

    front = FRONT_MATTER.match(text)
    body = front.end() if front else 0
    if front and (block := _trimmed(text, 0, body, lines=True)):
        yield block
    offsets = [body, *accumulate((len(line) + 1 for line in text[body:].split("\n")), initial=body)][1:]
    offsets[-1] = len(text)
    line = 0
    for token in MarkdownIt("commonmark").enable("table").parse(text[body:]):
        if token.level != 0 or token.map is None or token.nesting < 0:
            continue
        first, last = token.map
        # What no token covers, link definitions for example, is text all the same.
        yield from _some(_trimmed(text, offsets[line], offsets[first], lines=True))
        yield from _some(_block(text, token, offsets[first], offsets[last]))
        line = max(line, last)
    yield from _some(_trimmed(text, offsets[line], len(text), lines=True))


def _some(block: Block | None) -> Sequence[Block]:
    return () if block is None else (block,)


def _block(text: str, token: Token, start: int, end: int) -> Block | None:
    if token.type == "hr" or (token.type == "html_block" and COMMENT.match(text, start, end)):
        return None
    if token.type != "heading_open":
        return _trimmed(text, start, end, lines=token.type in LINES)
    level = int(token.tag[1])
    if token.markup.startswith("#"):
        source = text[start:end].rstrip("\n")
        found = HEADING_MARKUP.match(source)
        return _trimmed(text, start + found.start(1), start + found.end(1), level=level) if found else None
    underline = text.rstrip("\n").rfind("\n", start, end - 1) if end == len(text) else text.rfind("\n", start, end - 1)
    return _trimmed(text, start, underline, level=level)


def _trimmed(text: str, start: int, end: int, *, level: int = 0, lines: bool = False) -> Block | None:
    piece = text[start:end]
    stripped = piece.strip()
    if not stripped:
        return None
    start += len(piece) - len(piece.lstrip())
    return Block(start=start, end=start + len(stripped), level=level, lines=lines)
