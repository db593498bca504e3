"""Requests that may be sent again: the answer to an ``Idempotency-Key`` is kept, and given to whoever repeats it."""
