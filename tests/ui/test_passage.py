from __future__ import annotations

import io
from typing import Any

import pypdfium2
import pytest
from PIL import Image

from app.schemas import TextOut
from tests.documents import make_pdf
from ui.passage import AFTER, BEFORE, draw_page, locate, split_window, window

QUOTE = "It was opened to the public in May 1894."
TEXT = f"The old bridge was built of stone.\n{QUOTE}\nNobody lives there now."


def turned(pdf: bytes) -> bytes:
    """The PDF with its first page upside down."""
    open_document: Any = pypdfium2.PdfDocument
    document = open_document(pdf)
    document[0].set_rotation(180)
    buffer = io.BytesIO()
    document.save(buffer)
    document.close()
    return buffer.getvalue()


def yellow_rows(png: bytes) -> tuple[int, int] | None:
    """The first and last row with the colour of the highlight, as thousandths of the picture's height."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    data = picture.tobytes()
    stride = 3 * picture.width
    rows = [y for y in range(picture.height) if b"\xff\xd5\x4f" in data[y * stride : (y + 1) * stride]]
    return (rows[0] * 1000 // picture.height, rows[-1] * 1000 // picture.height) if rows else None


@pytest.mark.parametrize(
    ("text", "quote", "found"),
    [
        ("One. Two words. Three.", "Two words.", "Two words."),
        ("One two-\r\nfold three", "twofold", "two-\r\nfold"),
        ("The ﬁrst  line", "first line", "ﬁrst  line"),
        ("STRASSE 5", "straße 5", "STRASSE 5"),
    ],
)
def test_a_quote_is_located_whatever_its_spaces_and_hyphens(text: str, quote: str, found: str) -> None:
    place = locate(text, quote)
    assert place is not None
    assert text[slice(*place)] == found


def test_of_a_quote_across_pages_the_part_on_the_page_is_located() -> None:
    page = "Something else. It was opened to the public"
    place = locate(page, QUOTE)
    assert place is not None
    assert page[slice(*place)] == "It was opened to the public"


@pytest.mark.parametrize(("text", "quote"), [("Something quite different", QUOTE), ("", QUOTE), ("text", "…")])
def test_a_quote_that_is_not_there_is_not_located(text: str, quote: str) -> None:
    assert locate(text, quote) is None


def test_the_quotes_line_is_highlighted_on_the_page() -> None:
    image = draw_page(make_pdf(["Nothing here.", TEXT]), 2, QUOTE)
    assert image is not None
    assert image.quote_top is not None
    assert 0.12 < image.quote_top < 0.125
    rows = yellow_rows(image.png)
    assert rows is not None
    # The second paragraph's baseline is at 730 of 842 points from below.
    assert 120 <= rows[0] <= 124 <= rows[1] <= 137


def test_the_highlight_follows_a_rotated_page() -> None:
    image = draw_page(turned(make_pdf([TEXT])), 1, QUOTE)
    assert image is not None
    rows = yellow_rows(image.png)
    assert rows is not None
    assert 862 <= rows[0] <= 870 <= rows[1] <= 880


def test_a_page_without_the_quote_is_drawn_as_it_is() -> None:
    image = draw_page(make_pdf([TEXT]), 1, "Words that stand nowhere in this document")
    assert image is not None
    assert image.quote_top is None
    assert yellow_rows(image.png) is None


@pytest.mark.parametrize(("pdf", "number"), [(b"no pdf", 1), (make_pdf([TEXT]), 2), (make_pdf([TEXT]), 0)])
def test_what_cannot_be_drawn_is_no_picture(pdf: bytes, number: int) -> None:
    assert draw_page(pdf, number, QUOTE) is None


def test_a_window_reaches_around_the_quote_and_not_before_the_text() -> None:
    assert window(10, 20) == (0, 20 + AFTER)
    assert window(5000, 5010) == (5000 - BEFORE, 5010 + AFTER)


def test_a_window_is_split_at_the_quote() -> None:
    whole = TextOut(text="One. Two. Three.", start=0, end=16, length=16)
    assert split_window(whole, 5, 9) == ("One. ", "Two.", " Three.")


def test_a_window_within_the_text_is_cut_at_spaces() -> None:
    part = TextOut(text="alf One. Two. Three. Fou", start=100, end=124, length=500)
    assert split_window(part, 109, 113) == ("… One. ", "Two.", " Three. …")
