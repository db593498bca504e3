"""Rows and columns of a sheet that are hidden in its workbook, and whether something stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# Read from the XML itself: the library that streams a sheet does not tell what is hidden in it.
HIDDEN = re.compile(rb"""<(?:\w+:)?(row|col)(?=\s[^<>]*?\bhidden=["'](?:1|true)["'])(\s[^<>]*)>""")
PLACE = re.compile(rb"""(?:^|\s)(r|min|max)=["'](\d{1,7})["']""")
PIECE = 1 << 20
LONGEST_TAG = 4096
LAST_ROW, LAST_COLUMN = 1_048_576, 16_384


class Covers:
    """The hidden rows and columns of a sheet, by their numbers from 1; it sees which of them have values."""

    def __init__(self, rows: Iterable[int], columns: Iterable[int]) -> None:
        self._rows = frozenset(rows)
        self._columns = frozenset(columns)
        self._filled_rows = 0
        self._filled_columns: set[int] = set()

    @property
    def filled(self) -> Sequence[str]:
        """The hidden ones that had values, in words."""
        from openpyxl.utils import get_column_letter

        rows = self._filled_rows
        found = [f"{rows} {'row' if rows == 1 else 'rows'}"] if rows else []
        if self._filled_columns:
            letters = " ".join(get_column_letter(number) for number in sorted(self._filled_columns))
            found.append(f"{'column' if len(self._filled_columns) == 1 else 'columns'} {letters}")
        return found

    def watched(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """The rows of the sheet from the first on, as they are."""
        if not self._rows and not self._columns:
            return rows
        return self._watched(rows)

    def _watched(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        for number, values in enumerate(rows, 1):
            if number in self._rows and any(value is not None for value in values):
                self._filled_rows += 1
            for column in self._columns - self._filled_columns if values else ():
                if column <= len(values) and values[column - 1] is not None:
                    self._filled_columns.add(column)
            yield values


def covers_of(sheet: Any) -> Covers:
    """What is hidden in a sheet of openpyxl that is read as a stream."""
    rows: set[int] = set()
    columns: set[int] = set()
    with sheet._get_source() as source:  # noqa: SLF001 (the only way to the part of the archive that the sheet is)
        for kind, places in _hidden(source):
            if kind == b"row" and 0 < places.get(b"r", 0) <= LAST_ROW:
                rows.add(places[b"r"])
            elif kind == b"col":
                columns.update(range(max(1, places.get(b"min", 0)), min(places.get(b"max", 0), LAST_COLUMN) + 1))
    return Covers(rows, columns)


def _hidden(source: Any) -> Iterator[tuple[bytes, dict[bytes, int]]]:
    """The tags of hidden rows and columns; one that lies across two pieces is found in the second."""
    rest = b""
    while piece := source.read(PIECE):
        text = rest + piece
        end = 0
        for tag in HIDDEN.finditer(text):
            end = tag.end()
            yield tag[1], {name: int(number) for name, number in PLACE.findall(tag[2])}
        rest = text[max(end, len(text) - LONGEST_TAG) :]
