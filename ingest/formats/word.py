"""DOCX: paragraphs, lists and tables in the order of the document, with its notes; what else it holds is named."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft, row
from ingest.formats.archive import check_archive
from ingest.formats.wordparts import W, left_out, notes_of

M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
HEADING = re.compile(r"heading (\d)|title$|subtitle$")
# What was deleted or moved away, and the second form of what is there in a newer one.
SKIPPED = {f"{W}del", f"{W}moveFrom", f"{MC}Fallback", f"{W}pPr", f"{W}rPr", f"{W}txbxContent", f"{W}footnoteRef"}
CONTAINERS = {f"{W}sdt", f"{W}sdtContent", f"{W}customXml", f"{W}ins", f"{W}moveTo", f"{W}smartTag"}
BREAKS = {f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}
DAMAGED = "The DOCX is damaged. Open it in a word processor, save it again and upload the new file."


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
    _insert_notes(document)
    writer = _Writer(_Styles(document))
    for element in _elements(document.element.body):
        writer.write(element)
    writer.flush()
    return writer.draft.finish(list(left_out(document)))


def _insert_notes(document: Any) -> None:
    """Put each footnote and endnote where it is first referred to, in brackets."""
    body, notes = document.element.body, notes_of(document)
    for reference in list(body.iter(f"{W}footnoteReference", f"{W}endnoteReference")):
        note = notes.pop((reference.tag, reference.get(f"{W}id", "")), None)
        words = "" if note is None else " ".join(_cell(note).split())
        if words:
            text = reference.makeelement(f"{W}t")
            text.text = f" ({words})"
            reference.getparent().replace(reference, text)


class _Styles:
    """What the styles say of their paragraphs."""

    def __init__(self, document: Any) -> None:
        self._styles = {style.style_id: style for style in document.styles if style.element.tag == f"{W}style"}

    def level(self, paragraph: Any) -> int:
        """1 to 6 for a heading, else 0: by the paragraph's own outline level, or by its style's name or level."""
        own = _outline(paragraph.find(f"{W}pPr"))
        if own:
            return own
        for style in self._chain(paragraph):
            if match := HEADING.match((style.name or "").lower()):
                return min(int(match.group(1) or 1), 6)
            if outline := _outline(style.element.find(f"{W}pPr")):
                return outline
        return 0

    def is_list(self, paragraph: Any) -> bool:
        """Whether the paragraph is an item of a list, by itself or by its style."""
        properties = [paragraph.find(f"{W}pPr"), *(s.element.find(f"{W}pPr") for s in self._chain(paragraph))]
        for found in properties:
            numbering = None if found is None else found.find(f"{W}numPr/{W}numId")
            if numbering is not None:
                return bool(numbering.get(f"{W}val") != "0")
        return False

    def _chain(self, paragraph: Any) -> Iterator[Any]:
        reference = paragraph.find(f"{W}pPr/{W}pStyle")
        style_id = None if reference is None else reference.get(f"{W}val")
        seen = set()
        while style_id in self._styles and style_id not in seen:
            seen.add(style_id)
            style = self._styles[style_id]
            yield style
            based = style.element.find(f"{W}basedOn")
            style_id = None if based is None else based.get(f"{W}val")


class _Writer:
    """Writes body elements; items of a list that follow each other become one block."""

    def __init__(self, styles: _Styles) -> None:
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


def _outline(properties: Any) -> int:
    outline = None if properties is None else properties.find(f"{W}outlineLvl")
    value = "9" if outline is None else outline.get(f"{W}val", "9")
    return int(value) + 1 if value.isdigit() and int(value) < 6 else 0


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
