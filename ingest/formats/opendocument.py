"""ODT: headings, paragraphs, lists and tables in the order of the document; tracked deletions are left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.formats.archive import open_archive, parse_xml
from ingest.formats.damage import AGAIN
from ingest.formats.table import write_table

TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
DRAWING = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
SKIPPED = frozenset({f"{TEXT}tracked-changes", f"{OFFICE}annotation", f"{TEXT}note-citation", f"{TEXT}sequence-decls"})
MOST_REPEATED = 100
ENCRYPTED = "The ODT is encrypted: remove the password and upload it again."


def load_odt(path: Path) -> LoadedDocument:
    """Read a text document of OpenOffice or LibreOffice.

    Raises:
        UnreadableDocument: it is encrypted, damaged, a zip bomb, or holds no text.
    """
    with open_archive(path, "an ODT") as archive:
        names = set(archive.namelist())
        if "META-INF/manifest.xml" in names and b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise UnreadableDocument(ENCRYPTED)
        if "content.xml" not in names:
            raise UnreadableDocument(f"The file is no ODT: it has no content. {AGAIN}")
        root = parse_xml(archive.read("content.xml"))
    body = root.find(f".//{OFFICE}text")
    if body is None:
        raise UnreadableDocument(f"The file is no text document. {AGAIN}")
    draft = Draft()
    _write(draft, body)
    return draft.finish()


def _write(draft: Draft, parent: Any) -> None:
    """Write what is in an element; the parser bounds how deep that can be."""
    for element in parent:
        if element.tag in SKIPPED:
            continue
        if element.tag == f"{TEXT}h":
            level = element.get(f"{TEXT}outline-level", "1")
            draft.add(" ".join(_text(element).split()), level=min(int(level), 6) if level.isdigit() else 1)
        elif element.tag == f"{TEXT}p":
            draft.add(_text(element))
            for box in element.iter(f"{DRAWING}text-box"):
                _write(draft, box)
        elif element.tag == f"{TEXT}list":
            draft.add("\n".join(_items(element, 0)), lines=True)
        elif element.tag == f"{TABLE}table":
            write_table(draft, _rows(element))
        else:
            _write(draft, element)


def _items(parent: Any, depth: int) -> Iterator[str]:
    for item in parent:
        if item.tag not in {f"{TEXT}list-item", f"{TEXT}list-header"}:
            continue
        for element in item:
            if element.tag == f"{TEXT}list":
                yield from _items(element, depth + 1)
            elif words := " ".join(_text(element).split()):
                yield "  " * depth + "- " + words


def _rows(table: Any) -> Iterator[list[str]]:
    for line in table.iter(f"{TABLE}table-row"):
        # The rows of a table within a cell are written with that cell.
        if next(line.iterancestors(f"{TABLE}table")) is table:
            yield [text for cell in line for text in _cell(cell)]


def _cell(cell: Any) -> list[str]:
    if cell.tag not in {f"{TABLE}table-cell", f"{TABLE}covered-table-cell"}:
        return []
    text = " ".join(filter(None, (_text(part).strip() for part in cell.iter(f"{TEXT}p", f"{TEXT}h"))))
    repeated = cell.get(f"{TABLE}number-columns-repeated", "1")
    return [text] * min(int(repeated) if repeated.isdigit() else 1, MOST_REPEATED)


def _text(element: Any) -> str:
    """The text of a paragraph, with its footnotes where they are referred to; text boxes apart."""
    parts = [element.text or ""]
    for child in element:
        if child.tag == f"{TEXT}s":
            count = child.get(f"{TEXT}c", "1")
            parts.append(" " * min(int(count) if count.isdigit() else 1, MOST_REPEATED))
        elif child.tag == f"{TEXT}tab":
            parts.append("\t")
        elif child.tag == f"{TEXT}line-break":
            parts.append("\n")
        elif child.tag == f"{TEXT}note":
            parts.append(f" ({' '.join(''.join(_text(body) for body in child.iter(f'{TEXT}p')).split())})")
        elif isinstance(child.tag, str) and child.tag not in SKIPPED and child.tag != f"{DRAWING}text-box":
            parts.append(_text(child))
        parts.append(child.tail or "")
    return "".join(parts)
