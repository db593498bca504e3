"""DOCX: paragraphs, lists and tables in the order of the document, with its notes; what else it holds is named."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft, row
from ingest.formats.archive import check_archive
from ingest.formats.wordparts import W, left_out, notes_of
from ingest.formats.wordstyles import Styles, take_out_hidden

M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
# What was deleted or moved away, and the second form of what is there in a newer one.
SKIPPED = {f"{W}del", f"{W}moveFrom", f"{MC}Fallback", f"{W}pPr", f"{W}rPr", f"{W}txbxContent", f"{W}footnoteRef"}
CONTAINERS = {f"{W}sdt", f"{W}sdtContent", f"{W}customXml", f"{W}ins", f"{W}moveTo", f"{W}smartTag"}
BREAKS = {f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}
DAMAGED = "The DOCX is damaged. Open it in a word processor, save it again and upload the new file."
HIDDEN = "Text that a reader cannot see was left out (hidden, tiny, or white on white)."


def load_docx(path: Path) -> LoadedDocument:
    """Read a Word document.

    Raises:
        UnreadableDocument: it is damaged or holds no text.
    """
    import docx
    from docx.opc.exceptions import OpcError

    check_archive(path, "a DOCX")
    try:
        document = docx.Document(str(path))
    except (OpcError, zipfile.BadZipFile, SyntaxError, KeyError, ValueError) as error:
        raise UnreadableDocument(DAMAGED) from error
    styles = Styles(document)
    notes = notes_of(document)
    hidden = [take_out_hidden(root, styles) for root in (document.element.body, *notes.values())]
    _insert_notes(document, notes)
    writer = _Writer(styles)
    for element in _elements(document.element.body):
        writer.write(element)
    writer.flush()
    return writer.draft.finish([*([HIDDEN] if any(hidden) else []), *left_out(document)])


def _insert_notes(document: Any, notes: dict[tuple[str, str], Any]) -> None:
    """Put each footnote and endnote where it is first referred to, in brackets."""
    body = document.element.body
    for reference in list(body.iter(f"{W}footnoteReference", f"{W}endnoteReference")):
        note = notes.pop((reference.tag, reference.get(f"{W}id", "")), None)
        words = "" if note is None else " ".join(_cell(note).split())
        if words:
            text = reference.makeelement(f"{W}t")
            text.text = f" ({words})"
            reference.getparent().replace(reference, text)


class _Writer:
    """Writes body elements; items of a list that follow each other become one block."""

    def __init__(self, styles: Styles) -> None:
        self.draft = Draft()
        self._styles = styles
        self._items: list[str] = []

    def write(self, element: Any) -> None:
        if element.tag == f"{W}tbl":
            self.flush()
            self.draft.add("\n".join(_rows(element)), lines=True)
            return
        text = _text(element).strip()
        level = self._styles.level(element)
        if text and level == 0 and self._styles.is_list(element):
            self._items.append("- " + " ".join(text.split()))
        elif text:
            self.flush()
            self.draft.add(" ".join(text.split()) if level else text, level=level)
        for box in _boxes(element):
            for inner in _elements(box):
                self.write(inner)

    def flush(self) -> None:
        self.draft.add("\n".join(self._items), lines=True)
        self._items = []


def _elements(parent: Any) -> Iterator[Any]:
    """Paragraphs and tables, also those in content controls and tracked insertions."""
    for child in parent:
        if child.tag in {f"{W}p", f"{W}tbl"}:
            yield child
        elif child.tag in CONTAINERS:
            yield from _elements(child)


def _text(element: Any) -> str:
    """The text of a paragraph, formulas and links included, text boxes not."""
    parts = []
    for child in element:
        if child.tag in SKIPPED:
            continue
        if child.tag in {f"{W}t", f"{M}t"}:
            parts.append(child.text or "")
        elif child.tag in BREAKS:
            parts.append(BREAKS[child.tag])
        else:
            parts.append(_text(child))
    return "".join(parts)


def _boxes(paragraph: Any) -> Iterator[Any]:
    """The text boxes that hang on a paragraph, each once."""
    for box in paragraph.iter(f"{W}txbxContent"):
        ancestors = [parent.tag for parent in box.iterancestors()]
        nearest = ancestors[: ancestors.index(f"{W}p")]
        if f"{MC}Fallback" not in nearest:
            yield box


def _rows(table: Any) -> Iterator[str]:
    for line in _children(table, f"{W}tr"):
        cells = [_cell(cell).strip() for cell in _children(line, f"{W}tc")]
        if any(cells):
            yield row(cells)


def _children(parent: Any, tag: str) -> Iterator[Any]:
    for child in parent:
        if child.tag == tag:
            yield child
        elif child.tag in CONTAINERS:
            yield from _children(child, tag)


def _cell(cell: Any) -> str:
    """All text of a cell, or of a note, on one line; a table in it gives its cells in order."""
    parts = []
    for element in _elements(cell):
        if element.tag == f"{W}tbl":
            parts += [_cell(inner) for line in _children(element, f"{W}tr") for inner in _children(line, f"{W}tc")]
        else:
            parts.append(_text(element))
            parts += [_cell(box) for box in _boxes(element)]
    return " ".join(part for part in parts if part.strip())
