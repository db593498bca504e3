"""XLSX: each sheet is a section, its rows stand below their header; a blank row ends a table."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.formats.archive import check_archive
from ingest.formats.covers import Covers, covers_of
from ingest.formats.damage import AGAIN
from ingest.formats.table import trimmed, write_table

MOST_CELLS = 5_000_000
"""Filled cells of one workbook."""
MOST_ROWS = 20_000_000
"""Rows of one workbook, blank ones included: a cell in the last row of a sheet costs its author nothing."""

MOST_NAMES = 20


def load_xlsx(path: Path) -> LoadedDocument:
    """Read a workbook: the values that its formulas had when it was saved.

    Raises:
        UnreadableDocument: it is damaged, a zip bomb, too large or holds no text.
    """
    check_archive(path, "an XLSX")
    from openpyxl.reader.excel import load_workbook

    # Not the path: the library judges a file by the end of its name, and ours has none.
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # about styles and extensions, which are nothing to a reader
        try:
            book: Any = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        except Exception as error:  # a damaged file makes the library raise anything
            raise UnreadableDocument(f"The XLSX is damaged. {AGAIN}") from error
        draft = Draft()
        skipped, covered = _write_sheets(draft, book)
        hidden = [repr(sheet.title) for sheet in book.worksheets if sheet.sheet_state != "visible"]
    notes = [f"Sheets that are damaged were left out, whole or in part: {', '.join(skipped)}."] if skipped else []
    notes += [f"Sheets that are hidden in the workbook were read: {', '.join(hidden[:MOST_NAMES])}."] if hidden else []
    if covered:
        told = ", ".join(covered[:MOST_NAMES])
        notes.append(f"Rows and columns that are hidden in the workbook were read: {told}.")
    return draft.finish(notes)


def _write_sheets(draft: Draft, book: Any) -> tuple[list[str], list[str]]:
    """Write all sheets; returns the names of those that are damaged, and what is hidden in the others."""
    budget, skipped, covered = _Budget(), [], []
    for sheet in book.worksheets:
        try:
            covers = covers_of(sheet)
            _write_sheet(draft, sheet, budget, covers)
        except (KeyError, ValueError, TypeError, SyntaxError):
            skipped.append(repr(sheet.title))
            continue
        covered += [f"{what} of {sheet.title!r}" for what in covers.filled]
    return skipped, covered


class _Budget:
    """Counts the rows and the filled cells of a workbook."""

    def __init__(self) -> None:
        self.rows = MOST_ROWS
        self._cells = MOST_CELLS

    def spend(self, cells: int) -> None:
        self._cells -= cells
        if self._cells < 0:
            raise UnreadableDocument(f"The workbook has more than {MOST_CELLS} cells. Split it into smaller files.")

    def limited(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """The rows, of which the library makes up those that the file leaves out: maybe a million, without values."""
        for row in islice(rows, self.rows):
            self.rows -= 1
            yield row
        if self.rows <= 0:
            raise UnreadableDocument(
                f"The workbook has more than {MOST_ROWS} rows, most of them blank. Delete the blank ones, or split it."
            )


def _write_sheet(draft: Draft, sheet: Any, budget: _Budget, covers: Covers) -> None:
    # What a sheet says of its size is often a million rows; without it only the rows that are there are read.
    sheet.reset_dimensions()
    tables = _tables(covers.watched(budget.limited(sheet.iter_rows(values_only=True))), budget)
    first = next(tables, None)
    if first is None:
        return
    draft.add(sheet.title, level=1)
    write_table(draft, first)
    for table in tables:
        write_table(draft, table)


def _tables(rows: Iterator[tuple[Any, ...]], budget: _Budget) -> Iterator[list[list[str]]]:
    """The stretches of rows between blank ones; a column that is blank in all of a stretch is none of it."""
    table: list[list[str]] = []
    for values in rows:
        if not values and not table:
            continue  # quickly, because there may be a million in a row
        cells = trimmed([_shown(value) for value in values])
        budget.spend(len(cells))
        if cells:
            table.append(cells)
        elif table:
            yield _without_margin(table)
            table = []
    if table:
        yield _without_margin(table)


def _without_margin(table: list[list[str]]) -> list[list[str]]:
    margin = min(next(n for n, cell in enumerate(cells) if cell) for cells in table)
    return [cells[margin:] for cells in table]


def _shown(value: object) -> str:
    """A value as a reader sees it, or nearly."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, dt.datetime):
        return (value.date() if value.time() == dt.time() else value).isoformat(*_separator(value))
    return str(value)


def _separator(value: dt.datetime) -> tuple[str, ...]:
    return () if value.time() == dt.time() else (" ",)
