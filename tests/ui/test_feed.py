from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from langgraph_sdk.schema import StreamPart

from ui.client import ApiError
from ui.feed import AnswerFeed


def token(text: str) -> StreamPart:
    data = [{"type": "AIMessageChunk", "id": "a1", "content": text}, {"langgraph_node": "generate"}]
    return StreamPart("messages", data)  # type: ignore[arg-type]


class Script:
    """A run whose events the test lets through one by one."""

    def __init__(self, *parts: StreamPart, run_id: str = "r1", failure: ApiError | None = None) -> None:
        self.go = threading.Semaphore(0)
        self.named = threading.Semaphore(0)
        self.cancelled: list[str] = []
        self._parts = parts
        self._run_id = run_id
        self._failure = failure

    def open(self, on_run: Callable[[str], None]) -> Iterator[StreamPart]:
        assert self.named.acquire(timeout=10)
        on_run(self._run_id)
        for part in self._parts:
            assert self.go.acquire(timeout=10)
            yield part
        if self._failure:
            raise self._failure

    def feed(self) -> AnswerFeed:
        return AnswerFeed(self.open, self.cancelled.append, history=(), question="Why?").start()


def test_each_view_is_seen_as_it_comes_and_the_last_one_is_the_end() -> None:
    script = Script(token("It "), token("opened"))
    script.named.release()
    texts = []
    for view in script.feed().follow(pause=0):
        texts.append(view.text)
        script.go.release()
    assert texts[-1] == "It opened"
    assert "It " in texts


def test_a_stream_that_ends_without_an_end_event_ends_the_answer() -> None:
    script = Script()
    script.named.release()
    *_, last = script.feed().follow(pause=0)
    assert last.ended
    assert last.error is None


def test_an_error_of_the_api_becomes_the_answers_error() -> None:
    script = Script(token("It"), failure=ApiError("The API does not answer."))
    script.named.release()
    script.go.release()
    *_, last = script.feed().follow(pause=0)
    assert (last.text, last.error, last.ended) == ("It", "The API does not answer.", True)


def test_stop_cancels_the_run() -> None:
    script = Script(token("It"))
    script.named.release()
    feed = script.feed()
    for view in feed.follow(pause=0):
        if view.run_id and not feed.stopped:
            feed.stop()
            script.go.release()
    assert script.cancelled == ["r1"]


def test_a_stop_before_the_runs_id_is_known_cancels_it_once_it_is() -> None:
    script = Script()
    feed = script.feed()
    feed.stop()
    assert script.cancelled == []
    script.named.release()
    *_, last = feed.follow(pause=0)
    assert last.ended
    assert script.cancelled == ["r1"]


def test_a_reader_that_comes_late_gets_the_whole_answer() -> None:
    script = Script(token("It "), token("opened"))
    script.named.release()
    script.go.release(2)
    feed = script.feed()
    list(feed.follow(pause=0))
    assert [view.text for view in feed.follow(pause=0)] == ["It opened"]


def test_a_mistake_of_ours_ends_the_answer_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def open_stream(_on_run: Callable[[str], None]) -> Iterator[StreamPart]:
        raise RuntimeError("a mistake of ours")

    feed = AnswerFeed(open_stream, lambda _run: None, history=(), question=None).start()
    *_, last = feed.follow(pause=0)
    assert last.ended
    assert last.error == "The answer could not be read. The log of this page has the reason."
    assert "a mistake of ours" in caplog.text
