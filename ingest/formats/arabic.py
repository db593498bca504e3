"""Arabic as PDFium gives it: the letters of a ligature in the order in which they are written."""

from __future__ import annotations

import re
from collections.abc import Callable

ALEF_LAM = re.compile("[\u0622\u0623\u0625\u0627]\u0644")
"""Alef, with or without its signs, and then lam. Lam and then alef is what one glyph draws, never this."""


def with_ligatures_in_order(text: str, is_one_glyph: Callable[[int], bool]) -> str:
    """The text with lam before alef wherever one glyph draws both.

    PDFium turns a line that runs to the left around letter by letter, also the letters that a font's map of a single
    glyph already had in order. ``is_one_glyph`` says of an index whether the character there and the next one are
    drawn by the same glyph. The length of the text stays as it is.
    """

    def ordered(match: re.Match[str]) -> str:
        pair = match.group()
        return pair[::-1] if is_one_glyph(match.start()) else pair

    return ALEF_LAM.sub(ordered, text)
