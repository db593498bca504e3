"""The API as the pages use it: typed answers, and one kind of error that carries a sentence for the reader.

ApiError        the API refused the request; ``status`` says how
├── KeyRefusedError  no key was given, or one that is not known
└── ApiDownError     the API did not answer
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.schema import RunCreateMetadata, StreamPart
from pydantic import BaseModel, Field, ValidationError

from app.schemas import (
    CollectionList,
    CollectionOut,
    DocumentList,
    DocumentsAccepted,
    Health,
    JobPage,
    JobsRetried,
    SourceDetail,
    SourceList,
    SourceOut,
    Strategy,
    TextOut,
    UploadedDocument,
)

Out = TypeVar("Out", bound=BaseModel)
Page = TypeVar("Page", CollectionList, SourceList)
ASSISTANT = "rag"
STREAM_MODES: Any = ["values", "messages-tuple", "custom"]
_FIELDS: Any = ["thread_id", "updated_at", "metadata", "status"]


class ApiError(Exception):
    """The API refused the request; the message is the API's own sentence."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class KeyRefusedError(ApiError):
    """No key was given, or one that is not known."""


class ApiDownError(ApiError):
    """The API did not answer."""


class ThreadEntry(BaseModel):
    """A conversation as the list shows it."""

    thread_id: str
    updated_at: str = ""
    status: str = "idle"
    metadata: dict[str, Any] | None = Field(default_factory=dict)

    @property
    def title(self) -> str:
        """The title that the first question gave it."""
        return str((self.metadata or {}).get("title") or "Untitled conversation")


class Api:
    """Ragstone's API with one key. Safe to share between threads."""

    def __init__(self, url: str, key: str | None) -> None:
        # No retries on connect: a page that waits seconds to say that the API is down helps nobody.
        self._http = httpx.Client(
            base_url=url,
            headers={"x-api-key": key} if key else {},
            timeout=httpx.Timeout(connect=5, read=300, write=300, pool=5),
            # The environment's proxies and .netrc are for other people's machines.
            trust_env=False,
        )
        self._agents = SyncLangGraphClient(self._http)
        self.url = url
        self.key = key

    def health(self) -> Health:
        """The state of every part, also when some of them are not ready."""
        return _read(Health, self._send("GET", "/health/ready", accept=(200, 503), timeout=5))

    def collections(self) -> list[CollectionOut]:
        """The collections that the key may read."""
        found: list[CollectionOut] = []
        for page in self._pages(CollectionList, "/collections"):
            found += page.collections
        return found

    def create_collection(self, name: str, strategy: Strategy | None = None) -> None:
        """Make a collection; its documents are cut by the strategy, or as the server's settings say."""
        chunker = {"strategy": strategy} if strategy else None
        self._send("POST", "/collections", json={"name": name, "chunker": chunker})

    def documents(self, *, limit: int, cursor: str | None = None, **filters: str | None) -> DocumentList:
        """A page of documents, newest first; filters are ``collection``, ``status`` and ``name``."""
        params = {"limit": limit, "cursor": cursor, **filters}
        wanted = {name: value for name, value in params.items() if value}
        return _read(DocumentList, self._send("GET", "/documents", params=wanted))

    def upload(self, name: str, content: BinaryIO, media_type: str, collection: str | None) -> UploadedDocument:
        """Send one file; the answer says whether it was there already."""
        files = {"files": (name, content, media_type or "application/octet-stream")}
        data = {"collection": collection} if collection else {}
        answer = self._send("POST", "/documents", files=files, data=data)
        return _read(DocumentsAccepted, answer).documents[0]

    def delete_document(self, document_id: UUID) -> None:
        """Remove a document; search does not find it from now on."""
        self._send("DELETE", f"/documents/{document_id}")

    def retry_document(self, document_id: UUID) -> None:
        """Read a failed document again."""
        self._send("POST", f"/documents/{document_id}/retry")

    def cancel_document(self, document_id: UUID) -> None:
        """Stop the reading of a document."""
        self._send("POST", f"/documents/{document_id}/cancel")

    def ended_jobs(self, *, limit: int) -> JobPage:
        """The newest jobs that failed or were cancelled."""
        pages = [
            _read(JobPage, self._send("GET", "/jobs", params={"status": status, "limit": limit}))
            for status in ("failed", "cancelled")
        ]
        jobs = sorted((job for page in pages for job in page.jobs), key=lambda job: job.id, reverse=True)
        more = next((page.next_cursor for page in pages if page.next_cursor), None)
        return JobPage(jobs=jobs[:limit], next_cursor=more or ("more" if len(jobs) > limit else None))

    def sources(self) -> list[SourceOut]:
        """The places that documents are taken from, newest first."""
        found: list[SourceOut] = []
        for page in self._pages(SourceList, "/sources"):
            found += page.sources
        return found

    def source(self, source_id: UUID) -> SourceDetail:
        """A source with what could not be taken of it."""
        return _read(SourceDetail, self._send("GET", f"/sources/{source_id}"))

    def add_source(self, address: str, *, sitemap: bool, collection: str, mirror: bool, interval_s: int | None) -> None:
        """Take documents from a web address, now and at each interval."""
        kind = "sitemap" if sitemap else "web"
        wish = {"address": address, "collection": collection, "mirror": mirror, "interval_s": interval_s}
        self._send("POST", "/sources", json={"kind": kind, **wish})

    def sync_source(self, source_id: UUID) -> None:
        """Look at a source now."""
        self._send("POST", f"/sources/{source_id}/sync")

    def delete_source(self, source_id: UUID, documents: bool) -> None:
        """Take nothing from a source any more, and perhaps delete what came only from it."""
        self._send("DELETE", f"/sources/{source_id}", params={"documents": documents})

    def retry_job(self, job_id: int) -> None:
        """Try a job again."""
        self._send("POST", f"/jobs/{job_id}/retry")

    def retry_jobs(self) -> int:
        """Try all that failed or were cancelled again; how many they are."""
        return _read(JobsRetried, self._send("POST", "/jobs/retry")).retried

    def clear_job(self, job_id: int) -> None:
        """Clear a job from the list."""
        self._send("DELETE", f"/jobs/{job_id}")

    def pause_collection(self, name: str) -> None:
        """Let the new documents of a collection wait."""
        self._send("POST", f"/collections/{quote(name)}/pause")

    def resume_collection(self, name: str) -> None:
        """Let a paused collection go on."""
        self._send("POST", f"/collections/{quote(name)}/resume")

    def text(self, document_id: UUID, start: int, end: int) -> TextOut:
        """The stretch ``start:end`` (characters) of a document's text."""
        return _read(TextOut, self._send("GET", f"/documents/{document_id}/text", params={"start": start, "end": end}))

    def content(self, document_id: UUID) -> tuple[bytes, str]:
        """A document's original bytes and their media type."""
        answer = self._send("GET", f"/documents/{document_id}/content")
        return answer.content, answer.headers.get("content-type", "").partition(";")[0]

    def threads(self, limit: int) -> list[ThreadEntry]:
        """The latest conversations, newest first."""
        with _translated():
            found = self._agents.threads.search(limit=limit, sort_by="updated_at", sort_order="desc", select=_FIELDS)
            return [ThreadEntry.model_validate(entry) for entry in found]

    def create_thread(self, title: str) -> str:
        """Begin a conversation; the answer is its id."""
        with _translated():
            return str(self._agents.threads.create(metadata={"title": title})["thread_id"])

    def delete_thread(self, thread_id: str) -> None:
        """Remove a conversation and all that it holds."""
        with _translated():
            self._agents.threads.delete(thread_id)

    def thread_values(self, thread_id: str) -> dict[str, Any]:
        """What a conversation holds now: ``messages`` and ``citations``."""
        with _translated():
            values = self._agents.threads.get_state(thread_id)["values"]
            return values if isinstance(values, dict) else {}

    def active_run(self, thread_id: str) -> str | None:
        """The run that works on a conversation now; it can only be the newest."""
        with _translated():
            for run in self._agents.runs.list(thread_id, limit=1):
                if run["status"] in ("pending", "running"):
                    return str(run["run_id"])
            return None

    def ask(
        self, thread_id: str, question: str, collections: Sequence[str], on_run: Callable[[str], None]
    ) -> Iterator[StreamPart]:
        """Ask a question and stream what happens; ``on_run`` hears the run's id before the first event."""

        def created(run: RunCreateMetadata) -> None:
            on_run(run["run_id"])

        question_in: dict[str, Any] = {"messages": [{"type": "human", "content": question}]}
        context: dict[str, Any] | None = {"collections": list(collections)} if collections else None
        with _translated():
            yield from self._agents.runs.stream(
                thread_id,
                ASSISTANT,
                input=question_in,
                context=context,
                stream_mode=STREAM_MODES,
                stream_resumable=True,
                on_disconnect="continue",
                # A question asked meanwhile in another window is said, not answered behind the person's back.
                multitask_strategy="reject",
                on_run_created=created,
            )

    def join(self, thread_id: str, run_id: str) -> Iterator[StreamPart]:
        """Stream what a run has done from its start, and what it does until it ends."""
        with _translated():
            yield from self._agents.runs.join_stream(thread_id, run_id, stream_mode=STREAM_MODES, last_event_id="-1")

    def cancel(self, thread_id: str, run_id: str) -> None:
        """Stop a run; what it has written so far is kept. A run that has ended already is left as it is."""
        try:
            with _translated():
                self._agents.runs.cancel(thread_id, run_id, action="interrupt")
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    def _pages(self, kind: type[Page], path: str) -> Iterator[Page]:
        """Every page of a list."""
        cursor: str | None = None
        while True:
            page = _read(kind, self._send("GET", path, params={"cursor": cursor} if cursor else {}))
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    def _send(
        self,
        method: str,
        path: str,
        *,
        accept: tuple[int, ...] = (),
        timeout: float | None = None,
        **request: Any,
    ) -> httpx.Response:
        with _translated():
            if timeout is not None:
                request["timeout"] = timeout
            answer = self._http.request(method, path, **request)
            if answer.status_code not in accept:
                answer.raise_for_status()
            return answer


def _read(kind: type[Out], answer: httpx.Response) -> Out:
    with _translated():
        return kind.model_validate_json(answer.content)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what httpx, the SDK and pydantic raise into the errors of this module."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise _refusal(error) from error
    except httpx.TimeoutException as error:
        raise ApiDownError("The API took too long to answer.") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ApiDownError("The API does not answer.") from error
    except ValidationError as error:
        raise ApiError(
            "The API answered in a form that this page does not know. Update both to one version."
        ) from error


def _refusal(error: httpx.HTTPStatusError) -> ApiError:
    status = error.response.status_code
    kind = KeyRefusedError if status == httpx.codes.UNAUTHORIZED else ApiError
    return kind(_sentence(error), status)


def _sentence(error: httpx.HTTPStatusError) -> str:
    """The ``detail`` of problem+json, or a sentence with the status when the answer has none."""
    body = getattr(error, "body", None)
    if body is None:
        try:
            body = error.response.json()
        except (ValueError, httpx.ResponseNotRead, httpx.StreamClosed):
            body = None
    detail = body.get("detail") or body.get("message") if isinstance(body, dict) else None
    if isinstance(detail, str):
        return detail
    return f"The API answered with status {error.response.status_code} and did not say why."
