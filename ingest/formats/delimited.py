"""CSV and TSV: rows below their header, whatever the delimiter and the encoding."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

from core.domain import LoadedDocument
from ingest.draft import Draft
from ingest.encoding import clean, decode
from ingest.formats.table import write_table

DELIMITERS = ",;\t|"
SAMPLE_LINES = 50
MOST_CELL_CHARS = 10_000_000


def load_csv(path: Path) -> LoadedDocument:
    """Read a table of delimited values.

    Raises:
        UnreadableDocument: the file is binary or holds no text.
    """
    text = clean(decode(path.read_bytes()))
    csv.field_size_limit(MOST_CELL_CHARS)
    draft = Draft()
    write_table(draft, csv.reader(io.StringIO(text), delimiter=delimiter(text)))
    return draft.finish()


def delimiter(text: str) -> str:
    """The one that cuts most of the first rows into the same number of cells, and into more than one."""
    lines = [line for line in text.split("\n", SAMPLE_LINES)[:SAMPLE_LINES] if line.strip()]

    def fitness(mark: str) -> tuple[int, int]:
        widths = Counter(len(cells) for cells in csv.reader(lines, delimiter=mark) if len(cells) > 1)
        if not widths:
            return 0, 0
        width, rows = widths.most_common(1)[0]
        return rows, width

    return max(DELIMITERS, key=fitness)
