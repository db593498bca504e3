"""Citations, verified answers and the decisions around them."""

from __future__ import annotations

import dataclasses
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import Chunk, ChunkId, CollectionId, DocumentId, Hit, Scores
from graphs.answer import NOT_ANSWERED, Verifier, verify
from graphs.citations import examine, split_marks, support
from graphs.decisions import is_relevant, says_not_found, usable_rewrite
from graphs.words import content_words

RADIO = (
    "The lighthouse of Kerzenfels was built in 1821. Its lamp burns 14 litres of oil a night. "
    "The keeper is paid by the harbour office in Tornby."
)
BOATS = "Ferries to Tornby leave at 9:30 and 17:45. Bicycles travel free of charge."


def hit(text: str, number: int = 1, dense: float | None = 0.5) -> Hit:
    return Hit(
        chunk=Chunk(
            id=ChunkId(uuid.UUID(int=number)),
            document=DocumentId(uuid.UUID(int=100 + number)),
            ordinal=0,
            text=text,
            digest=b"",
            start=1000,
            end=1000 + len(text),
            page=number,
        ),
        document_name=f"{number}.pdf",
        collection=CollectionId(uuid.UUID(int=7)),
        scores=Scores(fused=0.1, dense=dense),
    )


HITS = [hit(RADIO, 1), hit(BOATS, 2)]


def test_a_supported_sentence_gets_a_mark_and_a_verbatim_quote() -> None:
    answer = verify("The lighthouse was built in 1821.", "When was the lighthouse built?", HITS)
    assert answer.text == "The lighthouse was built in 1821. [1]"
    (citation,) = answer.citations
    assert citation.quote == "The lighthouse of Kerzenfels was built in 1821."
    assert RADIO[citation.start - 1000 : citation.end - 1000] == citation.quote
    assert (citation.n, citation.page, citation.document_name) == (1, 1, "1.pdf")


def test_a_wrong_number_is_never_supported() -> None:
    answer = verify("The lighthouse was built in 1812.", "When was the lighthouse built?", HITS)
    assert (answer.text, list(answer.citations), answer.dropped) == (NOT_ANSWERED, [], 1)


def test_repeating_the_question_proves_nothing() -> None:
    assert support("The keeper is paid by the mayor.", "Who pays the keeper?", RADIO) < 0.6


def test_the_evidence_decides_and_not_the_mark_of_the_model() -> None:
    answer = verify("Ferries leave at 9:30 and 17:45 [1].", "When do ferries leave?", HITS)
    assert [citation.document_name for citation in answer.citations] == ["2.pdf"]
    assert answer.text == "Ferries leave at 9:30 and 17:45. [1]"


def test_unknown_marks_are_dropped() -> None:
    assert split_marks("It burns oil [2] [9].", passages=2) == ("It burns oil.", [1])


def test_an_unsupported_sentence_is_dropped_and_counted() -> None:
    answer = verify(
        "Bicycles travel free of charge. Dogs need a ticket for three euros.", "What about bicycles and dogs?", HITS
    )
    assert answer.text == "Bicycles travel free of charge. [1]"
    assert answer.dropped == 1


def test_the_same_evidence_keeps_its_number() -> None:
    answer = verify("The lamp burns 14 litres. It burns oil a night.", "What does the lamp burn?", HITS)
    assert [citation.n for citation in answer.citations] == [1]
    assert answer.text.count("[1]") == 2


@pytest.mark.parametrize("draft", ["NOT FOUND", "not found.", "**Not found**", ""])
def test_a_model_that_finds_nothing_is_a_refusal(draft: str) -> None:
    assert verify(draft, "Who is the mayor?", HITS).text == NOT_ANSWERED
    assert verify(draft, "Who is the mayor?", HITS).citations == ()


def test_what_follows_not_found_is_not_an_answer() -> None:
    assert verify("NOT FOUND. Ferries leave at 9:30.", "Who is the mayor?", HITS).text == NOT_ANSWERED


DRAFT = "The lamp burns 14 litres of oil [1]. Bicycles travel free [2]. Whales sing at night.\nFerries leave at 9:30."


@given(st.lists(st.integers(1, len(DRAFT) - 1), max_size=12))
def test_the_pieces_of_a_streamed_draft_give_the_same_answer(cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), len(DRAFT)]
    verifier = Verifier("What burns, travels and leaves?", HITS)
    streamed = "".join(verifier.feed(DRAFT[a:b]) for a, b in zip(edges, edges[1:], strict=False)) + verifier.finish()
    whole = verify(DRAFT, "What burns, travels and leaves?", HITS)
    assert streamed == verifier.answer.text == whole.text
    assert list(verifier.answer.citations) == list(whole.citations)


@given(st.text(max_size=200), st.text(max_size=60))
def test_every_quote_is_in_its_passage_whatever_the_model_writes(draft: str, question: str) -> None:
    for citation in verify(draft, question, HITS).citations:
        source = next(item for item in HITS if item.chunk.id == citation.chunk_id)
        assert citation.quote
        assert citation.quote in source.chunk.text
        start = citation.start - source.chunk.start
        assert source.chunk.text[start : start + len(citation.quote)] == citation.quote


def test_a_repeated_heading_is_no_part_of_the_answer() -> None:
    chunk = dataclasses.replace(HITS[0].chunk, section=("Kerzenfels", "History"))
    hits = [dataclasses.replace(HITS[0], chunk=chunk)]
    answer = verify("Kerzenfels > History\nThe lighthouse was built in 1821.", "When was the lighthouse built?", hits)
    assert answer.text == "The lighthouse was built in 1821. [1]"
    assert verify("Kerzenfels > History", "When was the lighthouse built?", hits).citations == ()


def test_a_claim_without_words_has_no_evidence() -> None:
    assert examine("!!!", "What?", [RADIO]).evidence is None


def test_words_of_scripts_without_spaces_are_compared_by_character() -> None:
    assert content_words("灯台は1821年") == ["灯", "台", "は", "1821", "年"]


def test_a_passage_is_relevant_by_meaning_or_by_its_words() -> None:
    assert is_relevant(hit(RADIO, dense=0.4), "Who built it?", 0.25)
    assert not is_relevant(hit(RADIO, dense=0.1), "How do I reset my password?", 0.25)
    assert is_relevant(hit("Error ERR-4711: the valve is stuck.", dense=0.1), "What is ERR-4711?", 0.25)
    assert not is_relevant(hit(RADIO, dense=None), "", 0.25)


def test_not_found_is_recognised_only_at_the_start() -> None:
    assert says_not_found("NOT FOUND in the passages")
    assert not says_not_found("The key was not found in the box.")


def test_a_rewrite_may_not_bring_in_anything_new() -> None:
    history = ["human: When was the lighthouse built?", "ai: In 1821."]
    assert usable_rewrite("Who paid for the lighthouse?", "Who paid for it?", history)
    assert not usable_rewrite("Who paid for the Eiffel Tower?", "Who paid for it?", history)
    assert not usable_rewrite("", "Who paid for it?", history)
    assert not usable_rewrite("Who\npaid", "Who paid for it?", history)
