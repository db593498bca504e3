"""What the styles of a DOCX say of its paragraphs, and the text that they hide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ingest.formats.wordparts import W

HEADING = re.compile(r"heading (\d)|title$|subtitle$")
OFF = frozenset({"0", "false", "off"})
LEAST_HALF_POINTS = 3
WHITE = frozenset({"FFFFFF", "WHITE"})
COLOURED = frozenset({f"{W}shd", f"{W}highlight"})
COLOURED_PARTS = (f"{W}tbl", f"{W}txbxContent")
"""Parts whose ground may have a colour that their text does not tell of."""


class Styles:
    """What the styles say of their paragraphs."""

    def __init__(self, document: Any) -> None:
        self._styles = {style.style_id: style for style in document.styles if style.element.tag == f"{W}style"}

    def level(self, paragraph: Any) -> int:
        """1 to 6 for a heading, else 0: by the paragraph's own outline level, or by its style's name or level."""
        own = _outline(paragraph.find(f"{W}pPr"))
        if own:
            return own
        for style in self.chain(paragraph):
            if match := HEADING.match((style.name or "").lower()):
                return min(int(match.group(1) or 1), 6)
            if outline := _outline(style.element.find(f"{W}pPr")):
                return outline
        return 0

    def is_list(self, paragraph: Any) -> bool:
        """Whether the paragraph is an item of a list, by itself or by its style."""
        properties = [paragraph.find(f"{W}pPr"), *(s.element.find(f"{W}pPr") for s in self.chain(paragraph))]
        for found in properties:
            numbering = None if found is None else found.find(f"{W}numPr/{W}numId")
            if numbering is not None:
                return bool(numbering.get(f"{W}val") != "0")
        return False

    def chain(self, paragraph: Any) -> Iterator[Any]:
        """The style of a paragraph, and those that it is based on."""
        return self._based(paragraph.find(f"{W}pPr/{W}pStyle"))

    def of_run(self, run: Any) -> Iterator[Any]:
        """The properties of a run that count, the nearest first: its own, then those of its character style."""
        own = run.find(f"{W}rPr")
        if own is not None:
            yield own
        for style in self._based(run.find(f"{W}rPr/{W}rStyle")):
            if (properties := style.element.find(f"{W}rPr")) is not None:
                yield properties

    def _based(self, reference: Any) -> Iterator[Any]:
        style_id = None if reference is None else reference.get(f"{W}val")
        seen = set()
        while style_id in self._styles and style_id not in seen:
            seen.add(style_id)
            style = self._styles[style_id]
            yield style
            based = style.element.find(f"{W}basedOn")
            style_id = None if based is None else based.get(f"{W}val")


def _outline(properties: Any) -> int:
    outline = None if properties is None else properties.find(f"{W}outlineLvl")
    value = "9" if outline is None else outline.get(f"{W}val", "9")
    return int(value) + 1 if value.isdigit() and int(value) < 6 else 0


def take_out_hidden(root: Any, styles: Styles) -> bool:
    """Remove the runs below an element that a reader does not see; whether one of them held text."""
    hidden = [run for run in root.iter(f"{W}r") if _is_hidden(run, styles)]
    held = any((text.text or "").strip() for run in hidden for text in run.iter(f"{W}t"))
    for run in hidden:
        run.getparent().remove(run)
    return held


def _is_hidden(run: Any, styles: Styles) -> bool:
    for properties in styles.of_run(run):
        vanish = properties.find(f"{W}vanish")
        if vanish is not None:
            return vanish.get(f"{W}val", "true") not in OFF
    size = _value(run, "sz")
    if size.isdigit() and int(size) < LEAST_HALF_POINTS:
        return True
    return _value(run, "color").upper() in WHITE and not _has_ground(run, styles)


def _value(run: Any, name: str) -> str:
    found = run.find(f"{W}rPr/{W}{name}")
    return "" if found is None else str(found.get(f"{W}val", ""))


def _has_ground(run: Any, styles: Styles) -> bool:
    """Whether something other than white paper may be behind a run."""
    if any(child.tag in COLOURED for properties in styles.of_run(run) for child in properties):
        return True
    around = list(run.iterancestors())
    if any(element.tag in COLOURED_PARTS for element in around) or around[-1].find(f"{W}background") is not None:
        return True
    paragraph = next((element for element in around if element.tag == f"{W}p"), None)
    if paragraph is None:
        return False
    shaded = (paragraph, *(style.element for style in styles.chain(paragraph)))
    return any(element.find(f"{W}pPr/{W}shd") is not None for element in shaded)
