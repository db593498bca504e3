"""PPTX: each slide is a page; its title a heading, then its text, tables and charts as they stand, then the notes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.formats.archive import check_archive
from ingest.formats.damage import AGAIN
from ingest.formats.table import write_table

MOST_NESTED = 20
LINE_EMU = 190_500
"""15 points: shapes whose tops differ by less stand side by side."""


def load_pptx(path: Path) -> LoadedDocument:
    """Read a presentation; slides that cannot be read are named in the warnings.

    Raises:
        UnreadableDocument: it is damaged, a zip bomb, or holds no text.
    """
    check_archive(path, "a PPTX")
    from pptx import Presentation

    try:
        presentation = Presentation(str(path))
        slides = list(presentation.slides)
    except Exception as error:  # a damaged file makes the library raise anything
        raise UnreadableDocument(f"The PPTX is damaged. {AGAIN}") from error
    draft, broken = Draft(), []
    for number, slide in enumerate(slides, 1):
        draft.page(number)
        try:
            _write_slide(draft, slide)
        except (KeyError, ValueError, AttributeError, TypeError, NotImplementedError):
            broken.append(str(number))
    warnings = [f"Slides that are damaged were left out, whole or in part: {', '.join(broken)}."] if broken else []
    hidden = [str(number) for number, slide in enumerate(slides, 1) if slide.element.get("show") in {"0", "false"}]
    warnings += [f"Slides that are hidden in a show were read: {', '.join(hidden)}."] if hidden else []
    return draft.finish(warnings)


def _write_slide(draft: Draft, slide: Any) -> None:
    title = slide.shapes.title
    if title is not None:
        draft.add(" ".join(title.text_frame.text.split()), level=1)
    for shape in _in_order(slide.shapes):
        if title is None or shape.shape_id != title.shape_id:
            _write_shape(draft, shape)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        if notes:
            draft.add(f"Notes: {notes}")


def _in_order(shapes: Any, depth: int = 0) -> Iterator[Any]:
    """The shapes from the top left to the bottom right, those of groups in the place of their group."""
    placed = sorted(enumerate(shapes), key=lambda pair: (*_place(pair[1]), pair[0]))
    for _, shape in placed:
        if hasattr(shape, "shapes") and depth < MOST_NESTED:
            yield from _in_order(shape.shapes, depth + 1)
        else:
            yield shape


def _place(shape: Any) -> tuple[int, int]:
    top, left = shape.top, shape.left
    # A place that the slide does not state is that of its layout; the library knows it, or nobody does.
    return (-1 if top is None else top // LINE_EMU), (-1 if left is None else left)


def _write_shape(draft: Draft, shape: Any) -> None:
    if getattr(shape, "has_table", False):
        write_table(draft, ([cell.text for cell in line.cells] for line in shape.table.rows))
    elif getattr(shape, "has_chart", False):
        _write_chart(draft, shape.chart)
    elif getattr(shape, "has_text_frame", False):
        _write_text(draft, shape.text_frame)


def _write_text(draft: Draft, frame: Any) -> None:
    paragraphs = [(paragraph.level, " ".join(paragraph.text.split())) for paragraph in frame.paragraphs]
    filled = [(level, text) for level, text in paragraphs if text]
    if len(filled) == 1:
        draft.add(filled[0][1])
    else:
        draft.add("\n".join("  " * level + "- " + text for level, text in filled), lines=True)


def _write_chart(draft: Draft, chart: Any) -> None:
    if chart.has_title and chart.chart_title.has_text_frame:
        draft.add(chart.chart_title.text_frame.text)
    for plot in chart.plots:
        series = list(plot.series)
        rows = [["", *(str(one.name) for one in series)]]
        values = [list(one.values) for one in series]
        for number, category in enumerate(plot.categories):
            rows.append([str(category), *(str(column[number]) for column in values if number < len(column))])
        write_table(draft, rows)
