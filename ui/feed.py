"""One answer as it comes in: a thread reads the run's stream, and the page looks at the newest view."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from langgraph_sdk.schema import StreamPart

from ui.client import ApiError
from ui.stream import AnswerView, Message, fold

logger = logging.getLogger(__name__)

OpenStream = Callable[[Callable[[str], None]], Iterable[StreamPart]]


class AnswerFeed:
    """Reads a run's stream in the background, so that the page can redraw, stop or go elsewhere meanwhile.

    ``open_stream`` gets a callback for the run's id; ``cancel`` stops the run of that id on the server.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        cancel: Callable[[str], None],
        *,
        history: tuple[Message, ...],
        question: str | None,
    ) -> None:
        self.history = history
        self.question = question
        self.stopped = False
        self._open_stream = open_stream
        self._cancel = cancel
        # Guards _view, and stopped together with the run id in it: whoever comes second cancels the run.
        self._changed = threading.Condition()
        self._view = AnswerView()

    def start(self) -> AnswerFeed:
        """Begin to read."""
        threading.Thread(target=self._read, name="answer-feed", daemon=True).start()
        return self

    @property
    def view(self) -> AnswerView:
        """What can be shown now."""
        return self._view

    def stop(self) -> None:
        """Stop the run on the server; at once, or as soon as its id is known.

        Raises:
            ApiError: the API did not take the request.
        """
        with self._changed:
            self.stopped = True
            run_id = self._view.run_id
        if run_id:
            self._cancel(run_id)

    def follow(self, pause: float = 0.03) -> Iterator[AnswerView]:
        """Each new view until the answer has ended, at least ``pause`` seconds apart."""
        seen = self._view
        yield seen
        while not seen.ended:
            with self._changed:
                # With a time limit, so that a page that is closed meanwhile comes to a point to end at.
                if self._view is seen:
                    self._changed.wait(timeout=0.5)
                seen = self._view
            yield seen
            time.sleep(pause)

    def _read(self) -> None:
        try:
            for part in self._open_stream(self._learn_run):
                self._show(fold(self._view, part.event, part.data))
        except ApiError as error:
            self._show(replace(self._view, error=str(error)))
        except Exception:  # a reader must not wait for ever for an answer that a mistake has ended
            logger.exception("an answer could not be read")
            self._show(replace(self._view, error="The answer could not be read. The log of this page has the reason."))
        finally:
            self._show(replace(self._view, ended=True))

    def _learn_run(self, run_id: str) -> None:
        with self._changed:
            self._view = replace(self._view, run_id=run_id)
            stopped = self.stopped
        if stopped:
            self._cancel(run_id)

    def _show(self, view: AnswerView) -> None:
        with self._changed:
            self._view = view
            self._changed.notify_all()
