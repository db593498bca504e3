"""Plain text in any encoding: a paragraph ends at a blank line."""

from __future__ import annotations

import re
from pathlib import Path

from core.domain import Block, LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.encoding import clean, decode

PARAGRAPH = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|\Z))+")
# Lines that start like code, a list or a table, or that are short: they are not one running sentence.
OWN_LINE = re.compile(r"[ \t]{2,}\S|\t|[-*•|+#>]\s|\d{1,3}[.)]\s|.{0,40}$|.*[{};,]$")


def load_plain(path: Path) -> LoadedDocument:
    """Read a text file.

    Raises:
        UnreadableDocument: the file is binary or holds no text.
    """
    text = clean(decode(path.read_bytes()))
    blocks = paragraphs(text)
    if not blocks:
        raise UnreadableDocument("The file is empty: it holds no text. Upload a file that does.")
    return LoadedDocument(text=text, blocks=blocks)


def write_plain(draft: Draft, text: str) -> None:
    """Write the paragraphs of a text that is part of a document."""
    for block in paragraphs(text):
        draft.add(text[block.start : block.end], lines=block.lines)


def paragraphs(text: str) -> list[Block]:
    """The stretches of a text between blank lines."""
    return [_block(text, match.start(), match.end()) for match in PARAGRAPH.finditer(text)]


def _block(text: str, start: int, end: int) -> Block:
    end = start + len(text[start:end].rstrip())
    lines = text[start:end].split("\n")
    own = sum(OWN_LINE.match(line) is not None for line in lines[:200])
    return Block(start=start, end=end, lines=len(lines) > 1 and own > 0.6 * len(lines[:200]))
