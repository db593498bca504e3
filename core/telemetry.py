"""Logs: structured, on standard error, without keys, questions or document text."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog

from core.settings import LogSettings

NOISY = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "openai",
    "sentence_transformers",
    "procrastinate",
    "uvicorn.access",
    "langsmith",
)
"""Libraries that would write requests, texts or every job into the log."""
PLACES = 3
"""Calls that are named of an error, the innermost first."""


def configure_logging(settings: LogSettings) -> None:
    """Send every logger of the process through one formatter."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.json_lines
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    handler.addFilter(in_one_line)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def in_one_line(record: logging.LogRecord) -> bool:
    """Have the job engine tell of an error by its kind and place: its message may quote a document or a row."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and record.name.startswith("procrastinate"):
        record.msg, record.args = f"{record.getMessage()}: {_kind_and_place(error)}", ()
        record.exc_info = record.exc_text = None
    return True


def _kind_and_place(error: BaseException) -> str:
    frames = reversed(traceback.extract_tb(error.__traceback__)[-PLACES:])
    places = [f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno}" for frame in frames]
    return " < ".join([type(error).__name__, *places])
