"""XML: what its elements and attributes say, a line each with its path; no entities, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft

MOST_DEPTH = 200
GROUP_LINES = 12
TITLES = frozenset({"title", "subtitle", "head", "heading"})


def load_xml(path: Path) -> LoadedDocument:
    """Read an XML file. Elements called title or the like are headings; one with text and children is one line.

    Raises:
        UnreadableDocument: it is not well-formed, defines entities, is nested too deep, or holds no text.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        root = parse(path, forbid_entities=True, forbid_external=True).getroot()
    except DefusedXmlException as error:
        raise UnreadableDocument(
            "The XML defines entities or draws on other files, with which a file could attack its reader. Save it "
            "with its entities replaced."
        ) from error
    except ParseError as error:
        line, column = error.position
        raise UnreadableDocument(f"The XML is not well-formed (line {line}, column {column}).") from error
    except (LookupError, ValueError) as error:
        raise UnreadableDocument("The XML is in an encoding that is not known. Save it as UTF-8.") from error
    writer = _Writer()
    writer.write(root)
    return writer.draft.finish()


class _Place(NamedTuple):
    element: Any
    path: str
    depth: int


class _Writer:
    """Walks a tree without recursion and writes its lines in groups."""

    def __init__(self) -> None:
        self.draft = Draft()
        self._lines: list[str] = []

    def write(self, root: Any) -> None:
        stack = [_Place(root, "", 0)]
        while stack:
            place = stack.pop()
            if place.depth > MOST_DEPTH:
                raise UnreadableDocument(f"The XML is nested deeper than {MOST_DEPTH} elements.")
            if place.depth <= 1 or len(self._lines) >= GROUP_LINES:
                self._flush()
            if self._enter(place):
                prefix = f"{place.path}." if place.path else ""
                children = [child for child in place.element if isinstance(child.tag, str)]
                stack += [_Place(child, prefix + _local(child.tag), place.depth + 1) for child in reversed(children)]
        self._flush()

    def _enter(self, place: _Place) -> bool:
        """Write what an element says; whether its children say more."""
        name = place.path or _local(place.element.tag)
        for attribute, value in place.element.attrib.items():
            self._line(f"{name}@{_local(attribute)}", value)
        if not _is_mixed(place.element) and len(place.element):
            return True
        words = " ".join("".join(place.element.itertext()).split())
        if words and _local(place.element.tag).lower() in TITLES:
            self._flush()
            self.draft.add(words, level=min(max(place.depth, 1), 6))
        else:
            self._line(name, words)
        return False

    def _line(self, name: str, value: str) -> None:
        if words := " ".join(value.split()):
            self._lines.append(f"{name}: {words}")

    def _flush(self) -> None:
        self.draft.add("\n".join(self._lines), lines=True)
        self._lines = []


def _is_mixed(element: Any) -> bool:
    """Whether text stands beside the children, as in a sentence with an emphasised word."""
    pieces = [element.text, *(child.tail for child in element)]
    return any(piece and piece.strip() for piece in pieces)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
