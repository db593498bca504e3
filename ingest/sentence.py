"""Where sentences begin and end, in most scripts, without a model."""

from __future__ import annotations

import re

BOUNDARY = re.compile(
    r"""
      (?<![.!?…])[.!?…]++["'”’»)\]]*+(?=\s|\Z)      # Western end marks before a space; not 3.14, not a.b
    | [。！？｡．]++["'」』”’）】]*+                    # Chinese and Japanese ones need no space
    | [।॥؟۔።]++["'”’»)]*+                           # Devanagari, Arabic, Urdu, Ethiopic
    | \n[^\S\n]*+\n\s*+                             # a blank line
    | \n(?=[^\S\n]{0,40}(?:[-*•‣◦–]\s|\d{1,3}[.)]\s|\|))  # the next item of a list, the next row of a table
    """,
    re.VERBOSE,
)
LAST_WORD = re.compile(r"[^\s(\[\"'“‘«]+\Z")
# After these a full stop never ends a sentence …
TITLES = frozenset(
    "mr mrs ms dr prof st rev hon gen col capt lt sgt messrs mme mlle hr fr vs v cf e.g i.e eg ie viz al fig figs eq "
    "eqs eqn sec sect ch chap vol no nos nr art p pp para ref refs tab app ed eds approx ca circa resp est "
    "jan feb mar apr jun jul aug sep sept oct nov dec z.b d.h u.a bzw vgl ggf inkl str abs".split()
)
# … and after these only where the next word is one that often starts a sentence.
ENDINGS = frozenset("etc inc ltd corp co llc jr sr bros a.m p.m u.s u.k u.n e.u b.c a.d ph.d dept usw".split())
# German writes "3. März".
MONTHS = tuple("Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split())
STARTERS = frozenset(
    "a an the this that these those it he she they we you i in on at for from as if when while after before but "
    "and or so however there here our his her its their to with no not all some what why how who".split()
)
LOOK_BACK = 40


def sentences(text: str) -> list[tuple[int, int]]:
    """The spans (start, end) of the sentences, without the blank space around them.

    They are in order, do not overlap, and hold every character of the text that is not blank.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in BOUNDARY.finditer(text):
        if match.group()[0] in ".…" and not _ends(text, start, match.start(), match.end()):
            continue
        _add(spans, text, start, match.end())
        start = match.end()
    _add(spans, text, start, len(text))
    return spans


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    if stripped := piece.strip():
        start += len(piece) - len(piece.lstrip())
        spans.append((start, start + len(stripped)))


def _ends(text: str, start: int, stop: int, end: int) -> bool:
    """Whether the full stop at ``stop`` ends the sentence that began at ``start``."""
    after = text[end : end + LOOK_BACK].lstrip()
    if after[:1].islower():
        return False
    found = LAST_WORD.search(text[max(start, stop - LOOK_BACK) : stop])
    word = found.group() if found else ""
    if word.lower() in TITLES or _is_mark(text, start, stop) or (word.isdigit() and after.startswith(MONTHS)):
        return False
    if word.lower() in ENDINGS:
        return not after or after.split()[0].lower().strip(",") in STARTERS
    # An initial, as in "J. Smith"; but "vitamin C. The" ends.
    return not (len(word) == 1 and word.isupper()) or not after or after.split()[0].lower() in STARTERS


def _is_mark(text: str, start: int, stop: int) -> bool:
    """Whether the sentence so far is no more than the number of a list's item."""
    return stop - start <= LOOK_BACK and text[start:stop].strip().replace(".", "").isdigit()
