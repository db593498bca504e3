"""The words for sizes, times and where a document is on its way. Nothing here reads or draws."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from app.schemas import CitationOut, DocumentOut, Health, JobOut, SourceOut, Status, Strategy

Colour = Literal["blue", "green", "red", "gray", "orange"]

STATUS_WORDS: dict[Status, str] = {
    "queued": "Waiting",
    "loading": "Reading",
    "chunking": "Dividing into passages",
    "embedding": "Embedding",
    "indexed": "Ready",
    "failed": "Failed",
    "deleting": "Deleting",
}
STRATEGY_WORDS: dict[Strategy, str] = {
    "structure": "Along headings, tables and code",
    "recursive": "Paragraphs, then sentences",
    "sentences": "Whole sentences",
    "semantic": "Where the subject changes",
    "tokens": "A fixed number of tokens",
}
FRESH = timedelta(seconds=4)
"""How long after a failure its job may still be ending."""
EVERY_WORDS = {0: "Only when asked", 3600: "Every hour", 86_400: "Every day", 604_800: "Every week"}
_COLOURS: dict[Status, Colour] = {"indexed": "green", "failed": "red", "queued": "gray", "deleting": "gray"}
_ICONS: dict[Status, str] = {
    "indexed": ":material/check_circle:",
    "failed": ":material/error:",
    "queued": ":material/schedule:",
    "deleting": ":material/delete:",
}
_SETTLED: frozenset[Status] = frozenset({"indexed", "failed"})
_PART_WORDS = {
    "database": "The database",
    "index": "The search index",
    "embedder": "The embedding model",
    "worker": "The document worker",
    "chat_model": "The chat model",
}
ANSWERING = frozenset({"database", "index", "embedder", "chat_model"})
READING = frozenset({"database", "index", "embedder", "worker"})


def status_colour(status: Status) -> Colour:
    """The colour of a status."""
    return _COLOURS.get(status, "blue")


def status_icon(status: Status) -> str:
    """The icon of a status, so that colour is not the only sign of it."""
    return _ICONS.get(status, ":material/progress_activity:")


def in_progress(documents: Sequence[DocumentOut], now: datetime | None = None) -> bool:
    """Whether any of the documents will still change by itself, or has failed so recently that its job may."""
    moment = now or datetime.now(UTC)
    return any(document.status not in _SETTLED or _is_fresh(document, moment) for document in documents)


def failures(documents: Sequence[DocumentOut], now: datetime | None = None) -> frozenset[UUID]:
    """The ids of the documents that have failed, and whose jobs have ended."""
    moment = now or datetime.now(UTC)
    return frozenset(one.id for one in documents if one.status == "failed" and not _is_fresh(one, moment))


def _is_fresh(document: DocumentOut, now: datetime) -> bool:
    return document.status == "failed" and now - document.updated_at < FRESH


def progress_of(document: DocumentOut) -> float | None:
    """How much of a document is embedded, 0 to 1; none when there is nothing to count."""
    if document.status != "embedding" or not document.total:
        return None
    return min(document.done / document.total, 1.0)


def progress_text(document: DocumentOut) -> str:
    """Where a document is, in words."""
    words = STATUS_WORDS[document.status]
    if progress_of(document) is not None:
        return f"{words}: {document.done:,} of {count(document.total, 'passage')}"
    return words


def document_facts(document: DocumentOut, now: datetime | None = None) -> str:
    """Pages, passages, size and age in one line."""
    facts = []
    if document.pages:
        facts.append(count(document.pages, "page"))
    if document.chunks:
        facts.append(count(document.chunks, "passage"))
    facts.append(size_text(document.size))
    facts.append(age_text(document.created_at, now or datetime.now(UTC)))
    return " · ".join(facts)


def job_facts(job: JobOut, now: datetime | None = None) -> str:
    """Attempts and age of a job in one line."""
    return f"{count(max(job.attempts, 1), 'attempt')} · {age_text(job.updated_at, now or datetime.now(UTC))}"


def source_state(source: SourceOut) -> tuple[str, Colour]:
    """The state of a source in words, and its colour."""
    if source.status == "idle" and source.counts.get("failed"):
        return "Not all taken", "orange"
    states: dict[str, tuple[str, Colour]] = {
        "idle": ("Up to date", "green"),
        "queued": ("Waiting", "blue"),
        "syncing": ("Looking", "blue"),
        "failed": ("Failed", "red"),
    }
    return states[source.status]


def source_facts(source: SourceOut, now: datetime | None = None) -> str:
    """What came of a source, when it was looked at last, and how often it is, in one line."""
    facts = [count(sum(source.documents.values()), "document")]
    if source.tried_at:
        facts.append(f"looked at {age_text(source.tried_at, now or datetime.now(UTC))}")
    if source.interval_s:
        facts.append(EVERY_WORDS.get(source.interval_s, f"every {source.interval_s:,} s").lower())
    if failed := source.counts.get("failed"):
        facts.append(f"{failed:,} not taken")
    return " · ".join(facts)


def size_text(size: int) -> str:
    """A size in bytes as people read it."""
    if size < 1000:
        return count(size, "byte")
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5 or unit == "GB":
            break
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def age_text(then: datetime, now: datetime) -> str:
    """How long ago something was."""
    seconds = max((now - then).total_seconds(), 0)
    if seconds < 60:
        return "just now"
    for unit, length, next_length in (
        ("minute", 60, 3600),
        ("hour", 3600, 86_400),
        ("day", 86_400, 30 * 86_400),
    ):
        if seconds < next_length:
            return f"{count(int(seconds // length), unit)} ago"
    return then.strftime("%-d %B %Y")


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 page, 1,204 pages."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def place_text(citation: CitationOut) -> str:
    """Where in its document a quote stands: page and section."""
    place = [f"Page {citation.page}"] if citation.page else []
    if citation.section:
        place.append(" › ".join(citation.section))
    return " · ".join(place)


def waiting_text(health: Health, needed: Set[str]) -> str | None:
    """Which of the needed parts are not ready, and why; none when all are."""
    waiting = [
        f"{_PART_WORDS[name]} {_state(part.status)}{_because(part.detail)}"
        for name, part in health.parts.items()
        if part.status != "ready" and name in needed
    ]
    return ". ".join(waiting) + "." if waiting else None


def has_failed(health: Health, needed: Set[str]) -> bool:
    """Whether one of the needed parts has failed and does not merely start."""
    return any(part.status == "failed" for name, part in health.parts.items() if name in needed)


def _because(detail: str) -> str:
    return f": {detail.rstrip('.')}" if detail else ""


def _state(status: Literal["ready", "starting", "failed"]) -> str:
    return "has failed" if status == "failed" else "is starting"
