"""What every strategy promises, and what makes each of them different."""

from __future__ import annotations

import asyncio
import uuid
from bisect import bisect_right
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.domain import Block, Chunk, DocumentId, LoadedDocument, Page
from core.errors import InvalidInput
from core.settings import IngestSettings
from ingest.chunking.chunker import open_chunker
from ingest.chunking.semantic import best_cuts
from ingest.chunking.spec import ChunkerSpec, TokensSpec, check_spec, default_spec, read_spec
from ingest.formats.commonmark import markdown_blocks
from tests.embedder import TOKEN, Words, words

DOCUMENT = DocumentId(uuid.UUID("6b7d2f0e-58a5-4a2c-9d53-9a6f5f0b1c11"))
STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "tokens", "tokens": 32, "overlap": 0},
    {"strategy": "tokens", "tokens": 40, "overlap": 15},
    {"strategy": "sentences", "tokens": 32},
    {"strategy": "sentences", "tokens": 40, "overlap": 16},
    {"strategy": "recursive", "tokens": 32},
    {"strategy": "recursive", "tokens": 40, "overlap": 12},
    {"strategy": "semantic", "tokens": 40, "group_tokens": 8},
    {"strategy": "structure", "tokens": 32},
]
strategies = st.sampled_from(STRATEGIES)


def plain(text: str) -> LoadedDocument:
    return LoadedDocument(text=text, blocks=[Block(start=0, end=len(text))])


def chunk(loaded: LoadedDocument | str, max_tokens: int = 254, **options: Any) -> list[Chunk]:
    document = plain(loaded) if isinstance(loaded, str) else loaded
    return asyncio.run(open_chunker(read_spec(options), Words(max_tokens)).chunk(document, DOCUMENT))


def texts(chunks: list[Chunk]) -> list[str]:
    return [piece.text for piece in chunks]


@st.composite
def documents(draw: st.DrawFn) -> LoadedDocument:
    """Blocks of all kinds on pages, with something between them that belongs to none."""
    letters = st.text(alphabet="ab XY.!?。\n\t|-1é漢👩‍👧\u0301", max_size=160)
    text = ""
    blocks: list[Block] = []
    pages: list[Page] = []
    for _ in range(draw(st.integers(1, 6))):
        text += draw(st.sampled_from(["", "\n\n", " # "]))
        if draw(st.booleans()):
            pages.append(Page(number=len(pages) + 1, start=len(text)))
        body = draw(letters)
        level = draw(st.sampled_from([0, 0, 0, 1, 2]))
        lines = not level and draw(st.booleans())
        blocks.append(Block(start=len(text), end=len(text) + len(body), level=level, lines=lines))
        text += body
    return LoadedDocument(text=text, blocks=blocks, pages=pages)


@given(documents(), strategies, st.sampled_from([20, 254]))
def test_chunks_are_slices_in_order_that_the_embedder_can_read(
    loaded: LoadedDocument, options: dict[str, Any], most: int
) -> None:
    found = chunk(loaded, most, **options)
    assert [piece.ordinal for piece in found] == list(range(len(found)))
    assert all(piece.text == loaded.text[piece.start : piece.end] for piece in found)
    assert all(piece.text == piece.text.strip() != "" for piece in found)
    assert all(
        before.start <= after.start and before.end <= after.end for before, after in zip(found, found[1:], strict=False)
    )
    assert all(words(piece.embedded_text) <= most or len(piece.text) == 1 for piece in found)
    assert len({piece.id for piece in found}) == len(found)


@given(documents(), strategies)
def test_no_text_is_lost_but_headings_that_stand_in_a_section(loaded: LoadedDocument, options: dict[str, Any]) -> None:
    found = chunk(loaded, **options)
    covered = {n for piece in found for n in range(piece.start, piece.end)}
    for block in loaded.blocks:
        title = " ".join(loaded.text[block.start : block.end].split())
        missing = [n for n in range(block.start, block.end) if n not in covered and not loaded.text[n].isspace()]
        carried = block.level > 0 and any(title in piece.section for piece in found if piece.start >= block.end)
        assert not missing or carried


@given(documents(), strategies)
def test_the_same_document_gives_the_same_chunks(loaded: LoadedDocument, options: dict[str, Any]) -> None:
    assert chunk(loaded, **options) == chunk(loaded, **options)


@given(documents(), strategies)
def test_the_page_is_the_one_that_a_chunk_starts_on_and_the_next_ones_are_known(
    loaded: LoadedDocument, options: dict[str, Any]
) -> None:
    starts = [page.start for page in loaded.pages]
    for piece in chunk(loaded, **options):
        for offset in {piece.start, piece.end - 1} if loaded.pages else set():
            assert piece.page_at(offset) == loaded.pages[max(0, bisect_right(starts, offset) - 1)].number
        assert loaded.pages or piece.page is None


def test_tokens_cut_as_a_token_text_splitter_does() -> None:
    text = " ".join(f"w{n}" for n in range(100))
    found = chunk(text, strategy="tokens", tokens=40, overlap=10)
    assert [(piece.text.split()[0], piece.text.split()[-1]) for piece in found] == [
        ("w0", "w39"),
        ("w30", "w69"),
        ("w60", "w99"),
    ]
    assert all(len(TOKEN.findall(piece.text)) == 40 for piece in found)


def test_tokens_cut_sentences_which_sentences_do_not() -> None:
    text = "Seven words are in this sentence here. " * 12
    whole = chunk(text, strategy="sentences", tokens=36)
    assert {piece.text.count("Seven") for piece in whole} == {4}
    assert all(piece.text.endswith("here.") for piece in whole)
    cut = chunk(text, strategy="tokens", tokens=36)
    assert not all(piece.text.endswith("here.") for piece in cut)


def test_sentences_overlap_by_whole_sentences() -> None:
    text = " ".join(f"Sentence number {n} is here." for n in range(12))
    found = chunk(text, strategy="sentences", tokens=32, overlap=14)
    assert texts(found)[0].endswith("number 4 is here.")
    assert texts(found)[1].startswith("Sentence number 3 is here.")
    assert all(piece.text.startswith("Sentence") and piece.text.endswith("here.") for piece in found)


def test_sentences_take_the_lines_of_a_list_as_they_stand() -> None:
    text = "\n".join(f"item {n} has no full stop and six words" for n in range(8))
    found = chunk(LoadedDocument(text=text, blocks=[Block(start=0, end=len(text), lines=True)]), strategy="sentences",
                  tokens=32)  # fmt: skip
    assert all(piece.text.startswith("item") and piece.text.endswith("six words") for piece in found)


def test_recursive_keeps_paragraphs_while_they_fit_and_then_cuts_finer() -> None:
    short, long = "one two three four five", "alpha beta gamma delta. " * 20
    found = texts(chunk(f"{short}\n\n{short}\n\n{long}\n\n{short}", strategy="recursive", tokens=32))
    assert found[0] == f"{short}\n\n{short}"
    assert found[-1] == short
    assert all(piece.endswith("delta") for piece in found[1:-2])


def test_recursive_cuts_at_the_separators_that_were_chosen() -> None:
    text = "; ".join(f"clause {n} of the contract says this" for n in range(10))
    found = texts(chunk(text, strategy="recursive", tokens=32, separators=["; "]))
    assert all(piece.startswith("; clause") for piece in found[1:])


def test_recursive_knows_the_place_of_a_repeated_passage_when_chunks_overlap() -> None:
    text = "the same words again. " * 60
    found = chunk(text, strategy="recursive", tokens=32, overlap=12)
    assert all(before.start < after.start < before.end for before, after in zip(found, found[1:], strict=False))


def test_semantic_cuts_where_the_subject_changes() -> None:
    sea = "The ferry crosses the bay. The bay has a harbour. The ferry leaves the harbour. "
    oven = "Knead the dough with flour. Let the dough rest. Bake the dough until the flour browns. "
    found = texts(chunk(sea + oven, strategy="semantic", tokens=60, group_tokens=8))
    assert found == [sea.strip(), oven.strip()]
    assert len(chunk(sea + oven, strategy="sentences", tokens=60)) == 1


def test_the_best_cut_is_the_one_that_trying_all_finds() -> None:
    generator = np.random.default_rng(5)
    for _ in range(20):
        count, most = 9, 5
        vectors = generator.standard_normal((count, 4)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        sizes = [int(size) for size in generator.integers(1, 4, count)]
        alike = vectors @ vectors.T
        alike -= alike[np.triu_indices(count, 1)].mean()
        np.fill_diagonal(alike, 0)

        def worth(cuts: list[tuple[int, int]], alike: Any = alike) -> float:
            return float(sum(alike[first:last, first:last].sum() for first, last in cuts))

        possible = []
        for pattern in range(2 ** (count - 1)):
            edges = [0, *(n + 1 for n in range(count - 1) if pattern >> n & 1), count]
            cuts = list(zip(edges, edges[1:], strict=False))
            if all(last - first == 1 or sum(sizes[first:last]) <= most for first, last in cuts):
                possible.append(cuts)
        assert worth(best_cuts(vectors, sizes, most)) == pytest.approx(max(map(worth, possible)), abs=1e-4)


def test_structure_keeps_sections_apart_which_the_others_do_not() -> None:
    text = "# A\n\none\n\n# B\n\ntwo\n"
    loaded = LoadedDocument(text=text, blocks=list(markdown_blocks(text)))
    assert texts(chunk(loaded, strategy="structure")) == ["one", "two"]
    assert len(chunk(loaded, strategy="recursive")) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "tokens", "tokens": 100, "overlap": 100}, "choose an overlap below 100"),
        ({"strategy": "recursive", "tokens": 20}, "greater than or equal to 32"),
        ({"strategy": "recursive", "separators": [""]}, "at least 1 character"),
        ({"strategy": "semantic", "tokens": 40, "group_tokens": 41}, "choose at most 40"),
        ({"strategy": "sentences", "table_header": True}, "table_header"),
        ({"strategy": "magic"}, "'tokens', 'sentences', 'recursive', 'semantic', 'structure'"),
        ({"tokens": 100}, "strategy"),
    ],
)
def test_options_that_cannot_be_are_refused_with_what_to_do(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        read_spec(options)


def test_a_chunk_longer_than_the_embedder_reads_is_refused_where_it_was_chosen_and_bounded_where_not() -> None:
    embedder = Words(100)
    with pytest.raises(InvalidInput, match="choose at most 100"):
        check_spec(TokensSpec(tokens=101), embedder)
    check_spec(TokensSpec(tokens=100), embedder)
    assert default_spec(IngestSettings(chunk_tokens=160), embedder).tokens == 100
    assert default_spec(IngestSettings(chunk_tokens=80), embedder).tokens == 80


@given(strategies, strategies)
def test_the_stamp_says_all_that_chunks_depend_on(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = read_spec(one), read_spec(other)
    assert (first.stamp == second.stamp) == (first == second)
    assert read_spec(first.model_dump(mode="json")) == first


def test_a_stamp_names_the_strategy_and_its_options() -> None:
    spec: ChunkerSpec = TokensSpec(tokens=100, overlap=20)
    assert spec.stamp == "tokens-1:tokens=100,overlap=20"
