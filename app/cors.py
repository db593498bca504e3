"""Which web pages may call the API from a browser (CORS)."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from core.errors import InvalidInput
from core.settings import ApiSettings

SHOWN = (
    "Content-Location",
    "Location",
    "Retry-After",
    "X-Pagination-Total",
    "X-Pagination-Next",
    "Idempotent-Replayed",
)
"""The headers of an answer that a page may read beside the usual ones."""
DAY_S = 86_400


def allow_origins(app: FastAPI, settings: ApiSettings) -> None:
    """Let pages of the origins that are set call every route. Keys travel in headers, cookies are not used.

    Raises:
        InvalidInput: one of them is not an origin.
    """
    origins = [origin.strip() for origin in (settings.cors_origins or "").split(",") if origin.strip()]
    if not origins:
        return
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[check_origin(origin) for origin in origins],
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["*"],
        expose_headers=SHOWN,
        max_age=DAY_S,
    )


def check_origin(text: str) -> str:
    """An origin as browsers send it: a scheme, a host and perhaps a port, or ``*``.

    Raises:
        InvalidInput: it is something else.
    """
    parts = urlsplit(text)
    if text != "*" and (parts.scheme not in ("http", "https") or not parts.hostname or text != _origin(parts.geturl())):
        raise InvalidInput(
            f"API__CORS_ORIGINS: {text!r} is not an origin. Write it like https://chat.example.org, without a path."
        )
    return text


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
