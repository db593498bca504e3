"""Limits on what a request may bring: the size of its body, and the characters of its texts."""

from __future__ import annotations

import unicodedata

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import InvalidInput, TooLarge
from core.settings import ApiSettings

UPLOAD_PATH = "/documents"


class BodyLimit:
    """Refuses a request whose body is above its limit, at once when it says so and on the way when it does not."""

    def __init__(self, app: ASGIApp, *, settings: ApiSettings) -> None:
        self._app = app
        self._upload = settings.max_upload_mb << 20
        self._other = settings.max_body_kb << 10

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that is counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._upload if scope["path"] == UPLOAD_PATH else self._other
        length = Headers(scope=scope).get("content-length", "")
        said = int(length) if length.isdigit() else 0
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if max(said, received) > limit:
                # FastAPI turns any other error in a body into a 400 without our words.
                raise HTTPException(413, above(limit))
            return message

        await self._app(scope, counted, send)


def above(limit: int) -> str:
    """The sentence that says what to do about a body above ``limit`` bytes."""
    size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
    return (
        f"The request is larger than {size}. Send less, or raise API__MAX_UPLOAD_MB (uploads) or API__MAX_BODY_KB "
        "(everything else) on the server."
    )


def check_text(text: str, what: str, limit: int) -> str:
    """A person's text as it may be stored and searched.

    Raises:
        TooLarge: it is longer than ``limit`` characters.
        InvalidInput: it is blank, or holds control characters.
    """
    if len(text) > limit:
        raise TooLarge(
            f"{what} has {len(text):,} characters; at most {limit:,} are possible (API__MAX_QUESTION_CHARS)."
        )
    if not text.strip():
        raise InvalidInput(f"{what} is empty. Write what you want to know.")
    strange = next((char for char in text if unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\r\t"), None)
    if strange is not None:
        raise InvalidInput(f"{what} holds the control character U+{ord(strange):04X}. Remove it and send it again.")
    return text
