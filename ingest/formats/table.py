"""Rows of cells to blocks: as Markdown rows below their header, in groups that are understood without the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ingest.draft import Draft, row

GROUP_CHARS = 400
"""How long a group of rows may be with its header: about the 160 tokens of a chunk, at most."""

NUMBER = re.compile(r"[-+(]?[$€£¥]?\d[\d.,:/%)\- ]*")


def write_table(draft: Draft, rows: Iterable[Sequence[str]]) -> None:
    """Write a table whose first row is its header, if it looks like one.

    Each group of rows repeats the header. A row that is too long for that becomes a record: a line for each cell,
    with the name of its column. Blank rows are left out.
    """
    lines = (trimmed(cells) for cells in rows)
    filled = (cells for cells in lines if cells)
    first = next(filled, None)
    if first is None:
        return
    header = first if is_header(first) else None
    for block in _blocks(header, _chained(first if header is None else None, filled)):
        draft.add(block, lines=True)


def trimmed(cells: Sequence[str]) -> list[str]:
    """The cells without the blank ones at the end; nothing when all are blank."""
    kept = [cell.strip() for cell in cells]
    while kept and not kept[-1]:
        kept.pop()
    return kept


def is_header(cells: Sequence[str]) -> bool:
    """Whether cells name columns: most are filled, no two alike, none a number."""
    named = [cell for cell in cells if cell]
    if not named or 2 * len(named) < len(cells) or len(set(named)) < len(named):
        return False
    return not any(NUMBER.fullmatch(cell) for cell in named)


def _chained(first: Sequence[str] | None, rest: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    if first is not None:
        yield first
    yield from rest


def _blocks(header: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    head = [row(header)] if header is not None else []
    group: list[str] = []
    size = written = 0
    for cells in rows:
        line = row(cells)
        if group and size + len(line) > GROUP_CHARS:
            yield "\n".join([*head, *group])
            group, size, written = [], 0, written + 1
        if not group:
            size = sum(map(len, head))
        if header is not None and size + len(line) > 2 * GROUP_CHARS:
            if group:
                yield "\n".join([*head, *group])
                group, size = [], 0
            yield "\n".join(_record(header, cells))
            written += 1
            continue
        group.append(line)
        size += len(line)
    if group or (head and not written):
        yield "\n".join([*head, *group])


def _record(header: Sequence[str], cells: Sequence[str]) -> Iterator[str]:
    for column, cell in enumerate(cells):
        if cell:
            name = header[column] if column < len(header) and header[column] else f"column {column + 1}"
            yield f"{' '.join(name.split())}: {' '.join(cell.split())}"
