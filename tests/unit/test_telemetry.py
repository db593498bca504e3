"""What of an error goes into the log."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from core.settings import LogSettings
from core.telemetry import configure_logging


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged while the test runs, as a process of ours writes it."""
    root, written = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging(LogSettings())
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)


def failed(logger: logging.Logger) -> None:
    try:
        int("the text of a document")
    except ValueError as error:
        logger.error("Job ingest[7](document='4f1c') ended with status: Error", exc_info=error)  # noqa: TRY400 (the engine's way)


def test_the_job_engine_tells_of_an_error_in_one_line_without_its_message(log: io.StringIO) -> None:
    failed(logging.getLogger("procrastinate.worker.worker"))
    (line,) = log.getvalue().splitlines()
    assert "ingest[7](document='4f1c') ended with status: Error: ValueError < unit/test_telemetry.py:" in line
    assert "the text" not in line


def test_what_we_log_ourselves_keeps_its_traceback(log: io.StringIO) -> None:
    failed(logging.getLogger("app.runs"))
    assert "Traceback" in log.getvalue()
