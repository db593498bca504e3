"""The platform's errors.

    PlatformError
    ├── NotFound        the thing does not exist, or not for this principal
    ├── Conflict        the thing is not in a state that allows this
    ├── Unauthorised    no key, or one that is not known
    ├── Forbidden       the principal's role does not allow this
    ├── InvalidInput    the request cannot be carried out as it is
    │   ├── TooLarge    … because it is above a limit
    │   ├── UnsupportedType … because nothing here reads that type of file
    │   └── UnreadableDocument … because its bytes cannot be read as a document
    ├── LimitExceeded   the caller has as much as it may have at once
    └── Unavailable     a part that is needed does not answer now

A message says what happened and what to do, quotes names with ``!r`` and holds neither secrets nor document text.
HTTP statuses belong to ``app.problems``, retries to ``ingest.retry``.
"""

from __future__ import annotations


class PlatformError(Exception):
    """Something went wrong that the caller can understand."""

    code = "platform-error"
    title = "The request failed"


class NotFound(PlatformError):
    """The thing does not exist, or not for this principal."""

    code = "not-found"
    title = "Not found"


class Conflict(PlatformError):
    """The thing is not in a state that allows this."""

    code = "conflict"
    title = "Not possible in this state"


class Unauthorised(PlatformError):
    """No key was given, or one that is not known."""

    code = "unauthorised"
    title = "A valid API key is needed"


class Forbidden(PlatformError):
    """The principal's role does not allow this."""

    code = "forbidden"
    title = "Not allowed for this key"


class InvalidInput(PlatformError):
    """The request cannot be carried out as it is."""

    code = "invalid-input"
    title = "The request is not valid"


class TooLarge(InvalidInput):
    """The request is above a limit."""

    code = "too-large"
    title = "Too large"


class UnsupportedType(InvalidInput):
    """The file is of a type that nothing here reads."""

    code = "unsupported-type"
    title = "This type of file is not supported"


class UnreadableDocument(InvalidInput):
    """The bytes cannot be read as a document of the type that they claim to be."""

    code = "unreadable-document"
    title = "The document cannot be read"


class LimitExceeded(PlatformError):
    """The caller has as much as it may have at once; ``retry_after_s`` (seconds) is when to ask again."""

    code = "limit-exceeded"
    title = "Too much at once"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(PlatformError):
    """A part that is needed does not answer now."""

    code = "unavailable"
    title = "A part of the platform is not available"
