"""IPYNB: Markdown cells with their headings, code as code, and of the outputs what is text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.encoding import clean, decode
from ingest.formats.commonmark import markdown_blocks
from ingest.formats.records import parse

ANSI = re.compile(r"\x1b?\[[0-9;]*m")
OUTPUT_CHARS = 20_000
"""Of one output; what is longer is a log that nobody reads."""


def load_notebook(path: Path) -> LoadedDocument:
    """Read a Jupyter notebook.

    Raises:
        UnreadableDocument: it is no notebook, or holds no text.
    """
    try:
        book = parse(decode(path.read_bytes()))
    except json.JSONDecodeError as error:
        raise UnreadableDocument(f"The notebook is not valid JSON (line {error.lineno}).") from error
    cells = _cells(book)
    if cells is None:
        raise UnreadableDocument("The file is no notebook: it has no list of cells. Upload it as .json instead.")
    draft = Draft()
    for cell in cells:
        if isinstance(cell, dict):
            _write(draft, cell)
    return draft.finish()


def _cells(book: Any) -> list[Any] | None:
    if not isinstance(book, dict):
        return None
    if isinstance(book.get("worksheets"), list):  # the third version of the format
        return [cell for sheet in book["worksheets"] if isinstance(sheet, dict) for cell in sheet.get("cells") or []]
    return book["cells"] if isinstance(book.get("cells"), list) else None


def _write(draft: Draft, cell: dict[str, Any]) -> None:
    source = clean(_joined(cell.get("source", cell.get("input"))))
    if cell.get("cell_type") == "markdown":
        for block in markdown_blocks(source):
            draft.add(source[block.start : block.end], level=block.level, lines=block.lines)
        return
    draft.add(source, lines=True)
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else []:
        if isinstance(output, dict):
            draft.add(ANSI.sub("", _said(output))[:OUTPUT_CHARS], lines=True)


def _said(output: dict[str, Any]) -> str:
    data = output.get("data")
    if isinstance(data, dict):
        return _joined(data.get("text/plain"))
    if output.get("output_type") in {"error", "pyerr"}:
        return f"{output.get('ename', 'Error')}: {output.get('evalue', '')}"
    return _joined(output.get("text"))


def _joined(value: Any) -> str:
    """Notebooks write a text as one, or as a list of its lines."""
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
