"""A circuit breaker: a source that fails again and again is left alone for a while, and then tried by one call."""

from __future__ import annotations

import time
from collections.abc import Callable

from ingest.retry import SourceDown

FAILURES = 5
REST_S = 30.0


class Breaker:
    """Closed while calls succeed; open for ``rest_s`` seconds after ``failures`` of them in a row have failed.

    After the rest one call is let through: its end closes the breaker or opens it again. ``clock`` gives seconds.
    """

    def __init__(
        self,
        source: str,
        *,
        failures: int = FAILURES,
        rest_s: float = REST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._most = failures
        self._rest_s = rest_s
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._trying = False

    def enter(self) -> None:
        """Ask whether a call may be made; each that was made must end in `succeeded`, `failed` or `left`.

        Raises:
            SourceDown: the source is left alone now.
        """
        if self._opened is None:
            return
        left = self._opened + self._rest_s - self._clock()
        if left > 0 or self._trying:
            raise SourceDown(
                f"{self._source} has failed {self._failures} times in a row and is left alone for a while.",
                max(left, 1.0),
            )
        self._trying = True

    def succeeded(self) -> None:
        """The source has answered, be it with a refusal."""
        self._failures, self._opened, self._trying = 0, None, False

    def failed(self) -> None:
        """The source has not answered."""
        self._failures += 1
        self._trying = False
        if self._failures >= self._most:
            self._opened = self._clock()

    def left(self) -> None:
        """The call was given up for a reason that says nothing of the source."""
        self._trying = False
