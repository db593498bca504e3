"""Errors as ``application/problem+json`` (RFC 9457): the one place that knows the HTTP status of an error."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from app.schemas import Problem
from core import errors

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[errors.PlatformError], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unauthorised: 401,
    errors.Forbidden: 403,
    errors.InvalidInput: 422,
    errors.TooLarge: 413,
    errors.UnsupportedType: 415,
    errors.LimitExceeded: 429,
    errors.Unavailable: 503,
    errors.PlatformError: 500,
}


def status_of(error: errors.PlatformError) -> int:
    """The status of the error's nearest kind."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(request: Request, status: int, code: str, title: str, detail: str) -> JSONResponse:
    """The response to a failed request."""
    body = Problem(
        type=f"/problems/{code}",
        title=title,
        status=status,
        detail=detail,
        message=detail,
        instance=request.url.path,
    )
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    if status == 503:
        headers = {"Retry-After": "5"}
    return JSONResponse(body.model_dump(), status, headers, MEDIA_TYPE)


async def _platform(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.PlatformError)  # noqa: S101 (registered for it alone)
    response = problem(request, status_of(error), error.code, error.title, str(error))
    if isinstance(error, errors.LimitExceeded):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for it alone)
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = f"There is no route {request.url.path!r}. /docs lists all routes."
    if error.status_code == 405:
        detail = f"{request.method} is not possible on {request.url.path!r}. /docs lists all routes."
    return problem(request, error.status_code, f"http-{error.status_code}", "The request failed", detail)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for it alone)
    return problem(request, 422, "invalid-input", "The request is not valid", explain(error.errors()))


async def _database(request: Request, error: Exception) -> JSONResponse:
    logger.warning("the database did not answer: %s", type(error).__name__)
    return problem(
        request,
        503,
        "unavailable",
        "A part of the platform is not available",
        "The database does not answer. Try again.",
    )


async def _unstorable(request: Request, error: Exception) -> JSONResponse:
    logger.info("the database refused a value: %s", type(error).__name__)
    detail = (
        "A value in the request cannot be stored: a text with the control character U+0000 or half of a surrogate "
        "pair, or a number that JSON does not have. Remove it and try again."
    )
    return problem(request, 422, "invalid-input", "The request is not valid", detail)


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    logger.error("unforeseen error on %s %s", request.method, request.url.path, exc_info=error)
    detail = "An unexpected error. The server's log has the reason."
    return problem(request, 500, "internal", "Internal error", detail)


def explain(found: Sequence[Any]) -> str:
    """Validation errors in a sentence each: where, and what was expected."""
    lines = []
    for item in found:
        place = ".".join(str(part) for part in item["loc"][1:]) or f"the {item['loc'][0]}"
        if item["type"] == "json_invalid":
            return f"The body is not valid JSON: {item['ctx']['error']} at character {item['loc'][-1]}."
        lines.append(f"{place}: {item['msg']}")
    return "; ".join(lines)


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[JSONResponse]]] = {
    errors.PlatformError: _platform,
    HTTPException: _http,
    RequestValidationError: _validation,
    psycopg.OperationalError: _database,
    psycopg.DataError: _unstorable,
    PoolTimeout: _database,
    Exception: _unforeseen,
}


async def respond(request: Request, error: Exception) -> JSONResponse:
    """The response to an error that no handler of the app sees, because it stands before them."""
    return await next(HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS)(request, error)


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the app as a problem."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
