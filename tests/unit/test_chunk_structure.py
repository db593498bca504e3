from __future__ import annotations

import asyncio
import random
import uuid
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import Block, Chunk, DocumentId, LoadedDocument, Page
from ingest.chunking.chunker import open_chunker
from ingest.chunking.spec import StructureSpec
from ingest.formats.commonmark import markdown_blocks
from tests.embedder import Count, Words, words

DOCUMENT = DocumentId(uuid.UUID("6b7d2f0e-58a5-4a2c-9d53-9a6f5f0b1c11"))


def characters(text: str) -> int:
    return len(text)


def pairs_of_words(text: str) -> int:
    """Less for a whole than for its parts together."""
    return (len(text.split()) + 1) // 2 + 1


def grudging(text: str) -> int:
    """More for a whole than for its parts together."""
    return len(text.split()) + len(text) // 30 + text.count("\n")


def markdown(text: str) -> LoadedDocument:
    return LoadedDocument(text=text, blocks=list(markdown_blocks(text)))


def plain(text: str) -> LoadedDocument:
    return LoadedDocument(text=text, blocks=[Block(start=0, end=len(text))])


def chunk(
    loaded: LoadedDocument, max_tokens: int = 40, count: Count = words, document: DocumentId = DOCUMENT, **options: Any
) -> list[Chunk]:
    chunker = open_chunker(StructureSpec(**options), Words(max_tokens, count))
    return asyncio.run(chunker.chunk(loaded, document))


def texts(chunks: list[Chunk]) -> list[tuple[tuple[str, ...], str]]:
    return [(tuple(found.section), found.text) for found in chunks]


def test_chunks_stand_under_their_headings() -> None:
    found = chunk(markdown("intro\n\n# A\n\none\n\n## B\n\ntwo\n\n# C\n\nthree\n"))
    assert texts(found) == [((), "intro"), (("A",), "one"), (("A", "B"), "two"), (("C",), "three")]
    assert found[2].embedded_text == "A > B\ntwo"


def test_a_heading_with_nothing_below_it_is_a_chunk_of_its_section() -> None:
    found = chunk(markdown("# A\n\none\n\n## Empty\n\n# C\n\nthree\n\n# Last\n"))
    assert texts(found) == [(("A",), "one\n\n## Empty"), (("C",), "three"), ((), "Last")]


def test_a_document_of_headings_alone_is_one_chunk() -> None:
    assert texts(chunk(markdown("# A\n\n# B\n"))) == [((), "A\n\n# B")]


def test_a_heading_too_long_for_a_path_is_kept_in_the_text() -> None:
    title = "The keeper of the lighthouse and the engineer who built it on a rock of red granite in the bay of Tornby"
    found = chunk(markdown(f"# {title}\n\nbody\n"), max_tokens=200)
    assert len(found[0].section[0]) <= 80
    assert title.startswith(found[0].section[0])
    assert found[0].text == f"{title}\n\nbody"


def test_whole_blocks_are_packed_while_they_fit() -> None:
    text = "\n\n".join(f"paragraph {n} has six words" for n in range(9))
    found = chunk(markdown(text), max_tokens=22)
    assert [piece.text.count("paragraph") for piece in found] == [4, 4, 1]


def test_a_long_block_is_cut_between_sentences() -> None:
    text = " ".join(f"Sentence number {n} is here." for n in range(20))
    found = chunk(plain(text), max_tokens=30)
    assert len(found) > 1
    assert all(piece.text.startswith("Sentence") and piece.text.endswith("here.") for piece in found)


def test_a_long_sentence_is_cut_between_words() -> None:
    found = chunk(plain("alpha beta gamma " * 100), max_tokens=30)
    assert {word for piece in found for word in piece.text.split()} == {"alpha", "beta", "gamma"}
    assert all(words(piece.text) > 20 for piece in found[:-1])


@pytest.mark.parametrize("count", [words, characters])
def test_a_word_of_ten_thousand_letters_is_cut_within(count: Count) -> None:
    found = chunk(plain("x" * 10_000), max_tokens=50, count=count)
    assert "".join(piece.text for piece in found) == "x" * 10_000
    assert max(len(piece.text) for piece in found) <= 400


def test_a_long_table_is_cut_between_its_rows() -> None:
    table = "| a | b |\n|---|---|\n" + "".join(f"| cell {n} | a sentence. And more |\n" for n in range(30))
    found = chunk(markdown(table), max_tokens=60)
    assert len(found) > 2
    assert all(line.startswith("|") and line.endswith("|") for piece in found for line in piece.text.split("\n"))


def test_each_chunk_of_a_table_knows_its_header_which_is_embedded_and_not_cited() -> None:
    table = "| part | price |\n|---|---|\n" + "".join(f"| part {n} | {n} crowns |\n" for n in range(30))
    found = chunk(markdown("# Prices\n\nBefore it.\n\n" + table), max_tokens=60)
    assert found[0].text.startswith("Before it.\n\n| part | price |")
    assert found[0].context == ""
    for piece in found[1:]:
        assert piece.embedded_text == f"Prices\n| part | price |\n{piece.text}"
        assert words(piece.embedded_text) <= 60
        assert piece.text.startswith("| part ")
    assert [piece.context for piece in chunk(markdown(table), max_tokens=60, table_header=False)] == [""] * 4


def test_a_header_that_would_fill_a_quarter_of_the_chunk_is_left_out() -> None:
    table = f"| {'word ' * 20}|\n|---|\n" + "| a cell of words |\n" * 30
    assert {piece.context for piece in chunk(markdown(table), max_tokens=60)} == {""}


def test_a_chunk_knows_the_section_that_it_stands_in() -> None:
    text = "# A\n\n" + "Seven words are in this sentence here. " * 12 + "\n\n## B\n\nShort.\n"
    found = chunk(markdown(text))
    parents = [text[piece.parent_start : piece.parent_end] for piece in found]
    assert len(found) == 4
    assert set(parents[:3]) == {text[2 : text.index("\n\n## B")].strip()}
    assert parents[3] == "B\n\nShort."


def test_the_parent_of_a_long_section_is_bounded_and_of_whole_chunks() -> None:
    text = "Seven words are in this sentence here. " * 60
    found = chunk(plain(text), parent_tokens=80)
    for piece in found:
        assert piece.parent_start is not None
        assert piece.parent_start <= piece.start < piece.end <= (piece.parent_end or 0)
        assert words(text[piece.parent_start : piece.parent_end]) <= 82
    parents = {(piece.parent_start, piece.parent_end) for piece in found}
    assert 1 < len(parents) < len(found)


def test_a_tiny_end_joins_the_chunk_before_it_when_both_fit() -> None:
    # Each part alone rounds up: their sum seems too long, their whole is not.
    text = "\n\n".join(["one two three four five six seven eight nine ten eleven"] * 3 + ["end"])
    found = chunk(markdown(text), max_tokens=18, count=pairs_of_words)
    assert found[-1].text.endswith("end")
    assert found[-1].text != "end"


def test_the_page_is_that_of_the_start() -> None:
    text = "one\n\ntwo\n\nthree"
    blocks = [Block(start=0, end=3), Block(start=5, end=8), Block(start=10, end=15)]
    pages = [Page(number=1, start=0), Page(number=2, start=5), Page(number=3, start=5), Page(number=4, start=10)]
    found = chunk(LoadedDocument(text=text, blocks=blocks, pages=pages), max_tokens=3)
    assert [piece.page for piece in found] == [1, 3, 4]


def test_a_repeated_passage_has_an_id_of_its_own_each_time() -> None:
    found = chunk(markdown("# A\n\nsame\n\n# A\n\nsame\n"))
    assert found[0].digest == found[1].digest
    assert found[0].id != found[1].id


def test_another_document_has_other_ids_for_the_same_passages() -> None:
    other = chunk(plain("same"), document=DocumentId(uuid.UUID(int=1)))
    assert other[0].digest == chunk(plain("same"))[0].digest
    assert other[0].id != chunk(plain("same"))[0].id


def test_a_section_put_on_top_leaves_the_other_ids_as_they_were() -> None:
    text = "".join(f"# Part {n}\n\n" + f"Sentence about {n}. " * 30 + "\n\n" for n in range(8))
    before = chunk(markdown(text))
    after = chunk(markdown("# New\n\nSomething new.\n\n" + text))
    assert [piece.id for piece in after[1:]] == [piece.id for piece in before]


def test_a_paragraph_put_on_top_of_a_long_text_leaves_most_ids_as_they_were() -> None:
    dice = random.Random(7)
    text = "\n\n".join(" ".join(str(dice.random()) for _ in range(dice.randint(1, 6))) for _ in range(200))
    before = {piece.id for piece in chunk(markdown(text))}
    after = {piece.id for piece in chunk(markdown("A new beginning.\n\n" + text))}
    assert len(before & after) > 0.5 * len(before)


def test_tokens_are_counted_at_most_three_times_for_the_same_text() -> None:
    counted = 0

    def count(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return words(text)

    prose = "".join(f"# Part {n}\n\n" + "A sentence of seven words is here. " * (n % 60) + "\n\n" for n in range(200))
    for text in (prose, "no full stop " * 20_000, "x" * 100_000):
        counted = 0
        chunk(markdown(text), max_tokens=100, count=count)
        assert counted < 3 * len(text)


def test_a_document_of_blanks_has_no_chunks() -> None:
    assert chunk(LoadedDocument(text=" \n\n ")) == []


@st.composite
def documents(draw: st.DrawFn) -> LoadedDocument:
    """Blocks of all kinds, with something between them that belongs to none."""
    letters = st.text(alphabet="abc XYZ.!?。\n\t|-1é漢👩‍👧\u0301", max_size=120)
    text = ""
    blocks: list[Block] = []
    pages: list[Page] = []
    for _ in range(draw(st.integers(0, 8))):
        text += draw(st.sampled_from(["", "\n\n", " # "]))
        if draw(st.booleans()):
            pages.append(Page(number=len(pages) + 1, start=len(text)))
        body = draw(letters)
        level = draw(st.sampled_from([0, 0, 0, 1, 2, 3, 6]))
        blocks.append(
            Block(start=len(text), end=len(text) + len(body), level=level, lines=not level and draw(st.booleans()))
        )
        text += body
    return LoadedDocument(text=text, blocks=blocks or [Block(start=0, end=len(text))], pages=pages)


counters = st.sampled_from([words, characters, pairs_of_words, grudging])


@given(documents(), counters, st.integers(8, 80))
def test_chunks_are_slices_in_order_within_the_bound(loaded: LoadedDocument, count: Count, limit: int) -> None:
    found = chunk(loaded, limit, count)
    assert [piece.ordinal for piece in found] == list(range(len(found)))
    assert all(piece.text == loaded.text[piece.start : piece.end] for piece in found)
    assert all(piece.text == piece.text.strip() != "" for piece in found)
    assert all(first.end <= second.start for first, second in pairwise(found))
    assert all(count(piece.embedded_text) <= limit or len(piece.text) == 1 for piece in found)
    assert all((piece.parent_start or 0) <= piece.start < piece.end <= (piece.parent_end or 0) for piece in found)
    assert len({piece.id for piece in found}) == len(found)


@given(documents(), counters, st.integers(8, 80))
def test_chunks_hold_all_text_but_headings_that_stand_in_a_section(
    loaded: LoadedDocument, count: Count, limit: int
) -> None:
    found = chunk(loaded, limit, count)
    covered = {n for piece in found for n in range(piece.start, piece.end)}
    for block in loaded.blocks:
        body = loaded.text[block.start : block.end]
        missing = [n for n in range(block.start, block.end) if n not in covered and not loaded.text[n].isspace()]
        below = [piece for piece in found if piece.start >= block.end]
        carried = block.level > 0 and any(" ".join(body.split()) in piece.section for piece in below)
        assert not missing or carried


@given(documents(), counters, st.integers(8, 80))
def test_a_chunk_never_goes_on_past_a_heading_of_its_section(loaded: LoadedDocument, count: Count, limit: int) -> None:
    for piece in chunk(loaded, limit, count):
        inside = [b for b in loaded.blocks if b.level and piece.start <= b.start and b.end <= piece.end]
        titles = {" ".join(loaded.text[b.start : b.end].split()) for b in inside if b.start > piece.start}
        assert not titles & set(piece.section) or any(
            " ".join(loaded.text[b.start : b.end].split()) in piece.section
            for b in loaded.blocks
            if b.end <= piece.start
        )


@given(documents(), counters)
def test_the_same_document_gives_the_same_chunks(loaded: LoadedDocument, count: Count) -> None:
    assert chunk(loaded, 30, count) == chunk(loaded, 30, count)
