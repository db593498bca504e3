"""Source code: the text as it is; functions and classes are its headings, blank lines part its blocks."""

from __future__ import annotations

import re
from pathlib import Path

from core.domain import Block, LoadedDocument
from core.errors import UnreadableDocument
from ingest.encoding import clean, decode

MOST_INDENT = 8  # deeper definitions are details of the one around them
# A line that defines a name, in the languages that people upload; what it misses is code in the section around it.
DEFINITION = re.compile(
    r"(?P<indent>[ \t]*)(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|override|"
    r"pub(?:\(\w+\))?|unsafe|sealed|partial|data|open|inline|virtual|const|extern)\s+)*"
    r"(?:(?:def|class|type|function\*?|func|fn|interface|trait|struct|enum|impl|module|namespace|object|protocol|record|"
    r"sub|mod|union|message|service)\b\s*[\w(<:~]"
    r"|create\s+(?:or\s+replace\s+)?(?:table|view|function|procedure|index|trigger)\b"
    r"|[\w<>\[\],.?&*:]+[ \t&*]+[\w:~]+\([^;]*\)\s*(?:const\s*)?\{\s*$)",
    re.IGNORECASE,
)
KEYWORD = re.compile(r"\s*(?:if|for|while|switch|return|else|elif|do|try|catch|when|with|case|throw|new)\b")


def load_source(path: Path) -> LoadedDocument:
    """Read a file of source code, in whatever language.

    Raises:
        UnreadableDocument: the file is binary or holds no text.
    """
    text = clean(decode(path.read_bytes()))
    blocks: list[Block] = []
    start = offset = 0
    for line in text.split("\n"):
        found = None if KEYWORD.match(line) else DEFINITION.match(line)
        indent = len(found["indent"].expandtabs(4)) if found else MOST_INDENT + 1
        if indent <= MOST_INDENT:
            _add(blocks, text, start, offset)
            first = offset + len(line) - len(line.lstrip())
            blocks.append(Block(start=first, end=offset + len(line.rstrip()), level=1 + (indent + 3) // 4))
            start = offset + len(line)
        elif not line.strip():
            _add(blocks, text, start, offset)
            start = offset + len(line)
        offset += len(line) + 1
    _add(blocks, text, start, len(text))
    if not blocks:
        raise UnreadableDocument("The file is empty: it holds no text. Upload a file that does.")
    return LoadedDocument(text=text, blocks=blocks)


def _add(blocks: list[Block], text: str, start: int, end: int) -> None:
    """A block of whole lines, without the blank ones around it; its first line keeps its indentation."""
    piece = text[start:end]
    if not piece.strip():
        return
    blank = len(piece) - len(piece.lstrip())
    first = start + piece.rfind("\n", 0, blank) + 1
    blocks.append(Block(start=first, end=start + len(piece.rstrip()), lines=True))
