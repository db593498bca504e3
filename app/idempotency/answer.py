"""The answers to requests with an ``Idempotency-Key`` as rows: claimed before the work, filled after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from core.database import Pool
from core.domain import PrincipalId
from core.errors import Conflict, InvalidInput

Headers = Sequence[tuple[str, str]]


class Place(NamedTuple):
    """What a key is unique for: who asks, for which path and query."""

    principal: PrincipalId
    route: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request was answered with; ``body`` is ``None`` when it was a stream, too long, or broken off."""

    status: int
    headers: Headers
    body: bytes | None
    fingerprint: bytes


class Answers:
    """The rows of ``idempotency_keys``; those older than ``hours`` do not count."""

    def __init__(self, pool: Pool, hours: float) -> None:
        self._pool = pool
        self._hours = hours

    async def claim(self, place: Place, fingerprint: bytes | None) -> Answer | None:
        """Take the key for a request that is about to be carried out, or find what it was answered with.

        Args:
            place: the key, and what it is for.
            fingerprint: of the request's body; ``None`` when it is known only after the work.

        Raises:
            Conflict: another request with the key is under way, or broke off without a trace of how it ended.
            InvalidInput: the key was used with another body.
        """
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "INSERT INTO idempotency_keys (principal_id, route, key, fingerprint) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (principal_id, route, key) DO UPDATE SET fingerprint = EXCLUDED.fingerprint, "
                "status = NULL, headers = NULL, body = NULL, thread_id = NULL, created_at = now() "
                "WHERE idempotency_keys.created_at < now() - make_interval(secs => 3600 * %s)",
                (*place, fingerprint, self._hours),
            )
            if cursor.rowcount:
                return None
            cursor = await connection.execute(
                "SELECT fingerprint, status, headers, body, created_at FROM idempotency_keys "
                "WHERE principal_id = %s AND route = %s AND key = %s",
                place,
            )
            row = await cursor.fetchone()
        if row is None:
            raise Conflict("The request with this Idempotency-Key has just failed. Send it again.")
        if row["fingerprint"] is not None and fingerprint is not None:
            check_same(fingerprint, row["fingerprint"])
        if row["status"] is None:
            raise Conflict(
                f"A request with this Idempotency-Key was begun at {row['created_at']:%Y-%m-%d %H:%M:%S} UTC and has "
                "not been answered yet. Ask again in a moment. If its server has died since, nobody knows how far it "
                "came: look whether it was carried out before you send it with another key."
            )
        return Answer(
            status=row["status"],
            headers=[(name, value) for name, value in row["headers"]],
            body=None if row["body"] is None else bytes(row["body"]),
            fingerprint=bytes(row["fingerprint"]),
        )

    async def keep(self, place: Place, answer: Answer, thread: UUID | None) -> None:
        """Keep the answer for the key; it goes with its thread."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE idempotency_keys SET status = %s, headers = %s, body = %s, fingerprint = %s, "
                "thread_id = (SELECT id FROM threads WHERE id = %s) "
                "WHERE principal_id = %s AND route = %s AND key = %s",
                (answer.status, Jsonb(list(answer.headers)), answer.body, answer.fingerprint, thread, *place),
            )

    async def release(self, place: Place) -> None:
        """Give the key free: the request failed, and may be tried again."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "DELETE FROM idempotency_keys WHERE principal_id = %s AND route = %s AND key = %s AND status IS NULL",
                place,
            )

    async def sweep(self) -> int:
        """Remove the answers that do not count any more; returns how many there were."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(secs => 3600 * %s)",
                (self._hours,),
            )
            return cursor.rowcount


def check_same(fingerprint: bytes, stored: bytes) -> None:
    """Compare the bodies of two requests with the same key.

    Raises:
        InvalidInput: they differ.
    """
    if fingerprint != stored:
        raise InvalidInput("This Idempotency-Key was used with another body. Send a key of its own with each request.")
