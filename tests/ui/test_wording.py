from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import uuid4

import pytest

from app.schemas import CitationOut, DocumentOut, Health, PartHealth, Status
from ui.uploads import Sent, summary
from ui.wording import (
    ANSWERING,
    READING,
    STATUS_WORDS,
    age_text,
    document_facts,
    failures,
    has_failed,
    in_progress,
    place_text,
    progress_of,
    progress_text,
    size_text,
    status_colour,
    status_icon,
    waiting_text,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def document(**changes: Any) -> DocumentOut:
    fields: dict[str, Any] = {
        "id": uuid4(),
        "collection": "default",
        "name": "report.pdf",
        "media_type": "application/pdf",
        "size": 1_250_000,
        "sha256": "0" * 64,
        "metadata": {},
        "status": "indexed",
        "done": 0,
        "total": 0,
        "error": None,
        "warnings": [],
        "pages": 12,
        "chunks": 48,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return DocumentOut(**(fields | changes))


def health(**parts: PartHealth) -> Health:
    return Health(status="ready", parts=parts)


@pytest.mark.parametrize("status", get_args(Status))
def test_every_status_has_words_a_colour_and_an_icon(status: Status) -> None:
    assert STATUS_WORDS[status]
    assert status_colour(status)
    assert status_icon(status).startswith(":material/")


def test_a_document_is_in_progress_until_it_is_ready_or_has_failed() -> None:
    settled = [document(status="indexed"), document(status="failed", updated_at=NOW - timedelta(minutes=1))]
    assert not in_progress(settled, NOW)
    for status in ("queued", "loading", "chunking", "embedding", "deleting"):
        assert in_progress([*settled, document(status=status)], NOW)


def test_a_failure_counts_once_its_job_has_had_time_to_end() -> None:
    failed = document(status="failed", updated_at=NOW)
    soon, later = NOW + timedelta(seconds=2), NOW + timedelta(seconds=5)
    assert in_progress([failed], soon)
    assert failures([failed], soon) == frozenset()
    assert not in_progress([failed], later)
    assert failures([failed, document(status="indexed")], later) == {failed.id}


def test_progress_is_counted_in_passages_while_they_are_embedded() -> None:
    embedding = document(status="embedding", done=1200, total=1600)
    assert progress_of(embedding) == 0.75
    assert progress_text(embedding) == "Embedding: 1,200 of 1,600 passages"


def test_progress_without_a_count_is_the_status() -> None:
    assert progress_of(document(status="loading")) is None
    assert progress_text(document(status="loading")) == "Reading"
    assert progress_of(document(status="embedding", total=0)) is None


def test_progress_never_exceeds_the_whole() -> None:
    assert progress_of(document(status="embedding", done=5, total=4)) == 1.0


def test_a_documents_facts_leave_out_what_is_not_known() -> None:
    assert document_facts(document(), NOW) == "12 pages · 48 passages · 1.2 MB · just now"
    assert document_facts(document(pages=None, chunks=0, size=1), NOW) == "1 byte · just now"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (45_600, "46 kB"), (999_700, "1.0 MB"), (5e9, "5.0 GB")],
)
def test_sizes_have_two_figures(size: int, text: str) -> None:
    assert size_text(int(size)) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=5), "5 hours ago"),
        (timedelta(days=29), "29 days ago"),
        (timedelta(days=40), "13 October 2026"),
    ],
)
def test_ages_are_told_in_the_unit_that_fits(ago: timedelta, text: str) -> None:
    assert age_text(NOW - ago, NOW) == text


def test_a_place_is_page_and_section() -> None:
    fields: dict[str, Any] = {"n": 1, "document_id": uuid4(), "document_name": "a", "chunk_id": uuid4(), "quote": "q"}
    whole = CitationOut(**fields, page=3, section=["Results", "Bridges"], start=0, end=1)
    assert place_text(whole) == "Page 3 · Results › Bridges"
    assert place_text(whole.model_copy(update={"page": None, "section": []})) == ""


def test_what_is_waited_for_is_told_with_its_detail() -> None:
    state = health(
        database=PartHealth(status="ready"),
        chat_model=PartHealth(status="starting", detail="downloading 120 of 491 MB"),
        ui=PartHealth(status="starting"),
    )
    assert waiting_text(state, ANSWERING) == "The chat model is starting: downloading 120 of 491 MB."
    assert not has_failed(state, ANSWERING)


def test_details_that_are_sentences_get_no_second_full_stop() -> None:
    state = health(worker=PartHealth(status="failed", detail="It has stopped. Restart the API."))
    assert waiting_text(state, READING) == "The document worker has failed: It has stopped. Restart the API."


def test_questions_are_possible_without_the_document_worker() -> None:
    state = health(chat_model=PartHealth(status="ready"), worker=PartHealth(status="failed"))
    assert waiting_text(state, ANSWERING) is None
    assert has_failed(state, READING)


def test_nothing_is_waited_for_when_all_is_ready() -> None:
    assert waiting_text(health(chat_model=PartHealth(status="ready")), ANSWERING | READING) is None


def test_an_upload_is_summed_up_in_a_sentence() -> None:
    sent = [Sent("a.pdf"), Sent("b.pdf"), Sent("c.pdf", unchanged=True), Sent("d.bin", problem="Not readable.")]
    assert summary(sent) == "2 documents taken in. Already there with the same content, so nothing to do: “c.pdf”."
    assert summary([Sent("d.bin", problem="Not readable.")]) is None


def test_many_known_files_are_not_all_named() -> None:
    text = summary([Sent(f"{number}.pdf", unchanged=True) for number in range(5)])
    assert text is not None
    assert text.endswith("“0.pdf”, “1.pdf”, “2.pdf” and 2 more.")
