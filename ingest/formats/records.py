"""JSON and JSONL: each value on a line with the path that leads to it, records apart from each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.encoding import clean, decode

NESTED = "The JSON is nested too deep to be read. Flatten it and upload it again."


def load_json(path: Path) -> LoadedDocument:
    """Read a JSON file. The keys of an object of objects are headings.

    Raises:
        UnreadableDocument: it is not valid JSON, nested too deep, or holds no value.
    """
    text = clean(decode(path.read_bytes()))
    draft = Draft()
    try:
        value = parse(text)
    except json.JSONDecodeError as error:
        values = _lines(text)
        if values is None:
            raise UnreadableDocument(f"The JSON is not valid (line {error.lineno}, column {error.colno}).") from error
        value = values
    write_value(draft, value)
    return draft.finish()


def load_jsonl(path: Path) -> LoadedDocument:
    """Read a file with a JSON value on each line; lines that are none are named in the warnings.

    Raises:
        UnreadableDocument: no line is valid JSON, or one is nested too deep.
    """
    draft = Draft()
    broken: list[str] = []
    for number, line in enumerate(clean(decode(path.read_bytes())).split("\n"), 1):
        if not line.strip():
            continue
        try:
            draft.add("\n".join(flattened("", parse(line))), lines=True)
        except json.JSONDecodeError:
            broken.append(str(number))
    if not broken:
        return draft.finish()
    listed = ", ".join(broken[:20]) + (" …" if len(broken) > 20 else "")
    try:
        return draft.finish([f"{len(broken)} lines are not valid JSON and were left out: {listed}."])
    except UnreadableDocument as error:
        raise UnreadableDocument("No line of the file is valid JSON. Upload it as .txt to read it as it is.") from error


def parse(text: str) -> Any:
    """A JSON value whose numbers are the text that was written.

    Raises:
        json.JSONDecodeError: it is not valid.
        UnreadableDocument: it is nested too deep.
    """
    try:
        return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except RecursionError as error:
        raise UnreadableDocument(NESTED) from error


def write_value(draft: Draft, value: Any) -> None:
    """Write a value: what is directly in it, then each part of it as a block of its own."""
    if not isinstance(value, dict):
        for part in value if isinstance(value, list) else [value]:
            draft.add("\n".join(flattened("", part)), lines=True)
        return
    plain = {key: part for key, part in value.items() if not isinstance(part, dict | list)}
    draft.add("\n".join(flattened("", plain)), lines=True)
    for key, part in value.items():
        if key in plain or not part:
            continue
        draft.add(key, level=1)
        for record in part if isinstance(part, list) else [part]:
            draft.add("\n".join(flattened("", record)), lines=True)


def flattened(path: str, value: Any) -> Iterator[str]:
    """The lines ``path: value`` of all that is in a value, in order; without recursion."""
    stack: list[tuple[str, Any]] = [(path, value)]
    while stack:
        where, part = stack.pop()
        if isinstance(part, dict):
            stack += [(f"{where}.{key}" if where else str(key), inner) for key, inner in reversed(part.items())]
        elif isinstance(part, list):
            stack += [(f"{where}[{n}]", part[n]) for n in range(len(part) - 1, -1, -1)]
        elif part is not None and part != "":
            said = {True: "true", False: "false"}[part] if isinstance(part, bool) else str(part)
            yield f"{where}: {said}" if where else said


def _lines(text: str) -> list[Any] | None:
    """The values of a text that has one on each of its lines, although it is not called so."""
    try:
        values = [parse(line) for line in text.split("\n") if line.strip()]
    except json.JSONDecodeError:
        return None
    return values if len(values) > 1 else None
