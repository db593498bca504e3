from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sentence import sentences


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "parts",
    [
        ["One.", "Two!", "Three?", "Four"],
        ["Dr. Smith paid $3.14 to J. R. Tolkien Inc.", "The rest vs. nothing."],
        ["See Fig. 3 and e.g. No. 5!", "Is it 2023?", "It was 2023.", "Then it rained."],
        ['"Yes." he said.', "Then “Done.”", "Next… and so on."],
        ["Apples, pears, etc.", "The U.S. Army came.", "We took vitamin C.", "The end"],
        ["1. First item.", "Second thing.", "2.1. Third."],
        ["Version 3.14.2 of a.b.c at example.org/x.html is out.", "Get it."],
        ["Am 3. März kam z.B. Frau Dr. Müller.", "Sie blieb."],
    ],
)
def test_a_sentence_ends_where_a_reader_ends_it(parts: list[str]) -> None:
    assert split(" ".join(parts)) == parts


@pytest.mark.parametrize(
    "parts",
    [
        ["すべての人間は、自由である。", "「本当？」", "はい！"],
        ["人人生而自由。", "在尊严上一律平等。"],
        ["सभी मनुष्य स्वतंत्र हैं।", "वे समान हैं।"],
    ],
)
def test_scripts_without_spaces_after_their_marks_are_split_too(parts: list[str]) -> None:
    assert split("".join(parts)) == parts


def test_items_rows_and_paragraphs_are_sentences_of_their_own() -> None:
    text = "Bring\n- a lamp\n- oil\n\n| a | b |\n| c | d |\nThe last\nline of prose"
    assert split(text) == ["Bring", "- a lamp", "- oil", "| a | b |", "| c | d |\nThe last\nline of prose"]


@given(st.text(alphabet=st.sampled_from("aB1 .!?…\n-|\"')。।etc")))
def test_spans_are_in_order_and_hold_every_character_that_is_not_blank(text: str) -> None:
    spans = sentences(text)
    assert all(start < end and text[start:end] == text[start:end].strip() for start, end in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert "".join("".join(part.split()) for part in split(text)) == "".join(text.split())


@pytest.mark.parametrize("text", ["." * 200_000 + "x", "1. " * 50_000, "\n" * 200_000, " " * 200_000, "a.b" * 60_000])
@pytest.mark.timeout(20)
def test_no_text_takes_quadratic_time(text: str) -> None:
    assert "".join("".join(part.split()) for part in split(text)) == "".join(text.split())
