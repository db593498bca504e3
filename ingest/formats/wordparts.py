"""What a DOCX holds beside its body: notes, which belong into it; and comments, headers and files, which do not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ingest.formats.archive import parse_xml

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
NOTES = {"footnotes": f"{W}footnote", "endnotes": f"{W}endnote"}
EMBEDDED = frozenset({"oleObject", "package", "aFChunk", "subDocument"})
"""Kinds of parts that are documents of their own."""
MOST_NAMES = 20
WORD = re.compile(r"[^\W\d_]{2}")


def notes_of(document: Any) -> dict[tuple[str, str], Any]:
    """The footnotes and endnotes of a python-docx document, by the tag of their references and their ids.

    Raises:
        UnreadableDocument: they are damaged.
    """
    found: dict[tuple[str, str], Any] = {}
    for kind, part in _parts(document.part.rels.values()):
        for note in parse_xml(part.blob).iter(NOTES[kind]) if kind in NOTES else ():
            # Those with a type are the lines that stand between the text and its notes.
            if note.get(f"{W}type", "normal") == "normal":
                found[f"{NOTES[kind]}Reference", note.get(f"{W}id", "")] = note
    return found


def left_out(document: Any) -> Iterator[str]:
    """Sentences about what a reader of the file may see and the text does not hold."""
    parts = {part.partname: (kind, part) for kind, part in _parts(document.part.package.iter_rels())}
    counted: Counter[str] = Counter()
    for kind, part in parts.values():
        if kind == "comments":
            counted["comments"] += sum(1 for _ in parse_xml(part.blob).iter(f"{W}comment"))
        elif kind in {"header", "footer"}:
            counted[f"{kind}s"] += _has_words(part)
    if named := [f"{kind} ({count})" for kind, count in sorted(counted.items()) if count]:
        yield f"Left out: {', '.join(named)}."
    files = sorted(repr(name.rpartition("/")[2][:100]) for name, (kind, _) in parts.items() if kind in EMBEDDED)
    if files:
        more = " …" if len(files) > MOST_NAMES else ""
        yield f"Embedded files that were not read: {', '.join(files[:MOST_NAMES])}{more}. Upload them on their own."


def _parts(relations: Any) -> Iterator[tuple[str, Any]]:
    """The parts within the file that relations lead to, with the last word of their kind."""
    for relation in relations:
        if not relation.is_external:
            yield relation.reltype.rpartition("/")[2], relation.target_part


def _has_words(part: Any) -> bool:
    return any(WORD.search(text.text or "") for text in parse_xml(part.blob).iter(f"{W}t"))
