"""Webhooks: the address that a run names is told how it ended, signed, and told again until it has heard."""

from __future__ import annotations

import hashlib
import hmac
import logging
import ssl
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
import procrastinate
from procrastinate import RetryDecision
from procrastinate.jobs import Job

from app.agents import Agents
from app.runs.run import SELECT, Connection, Run, read_run
from app.runs.tasks import QUEUE, RunJobs
from app.wire import plain, to_json
from core.database import Pool
from core.errors import Forbidden, InvalidInput, PlatformError, Unavailable
from core.sections import RunSettings
from ingest.retry import delay
from ingest.sources.address import Resolve, checked, look_up, read_allowed
from ingest.sources.fetch import TRY_LATER, CheckedTransport, read_url

logger = logging.getLogger(__name__)

ATTEMPTS = 8
TIMEOUT_S = 15.0
SIGNATURE = "X-Ragstone-Signature"


class Unheard(Unavailable):
    """The address did not answer, or asked to come back."""


class Again(procrastinate.BaseRetryStrategy):
    """What was not heard is said again, a little later each time: after 2 s, 4 s, … for about four minutes."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """When to say it again; never, when that cannot help."""
        if isinstance(exception, PlatformError) and not isinstance(exception, Unavailable):
            return None
        if job.attempts + 1 >= ATTEMPTS:
            return None
        return RetryDecision(retry_in={"seconds": round(delay(job.attempts + 1))})


class Webhooks:
    """Checks the addresses that runs name, and calls them when the runs have ended."""

    def __init__(
        self, pool: Pool, jobs: RunJobs, agents: Agents, settings: RunSettings, *, resolve: Resolve = look_up
    ) -> None:
        self._pool = pool
        self._jobs = jobs
        self._agents = agents
        self._secret = settings.webhook_secret
        self._allowed = read_allowed(settings.webhook_hosts)
        self._resolve = resolve
        jobs.app.task(name="webhook", queue=QUEUE, retry=Again())(self._call)

    async def check(self, address: str) -> None:
        """See whether an address may be called.

        Raises:
            InvalidInput: it is none, or calls could not be signed.
            Forbidden: it leads into a private network.
            Unavailable: its host is not known.
        """
        if self._secret is None:
            raise InvalidInput("Webhooks are off: an administrator turns them on by setting RUNS__WEBHOOK_SECRET.")
        url = read_url(address)
        try:
            await checked(url.host, url.port or 443, self._allowed, self._resolve)
        except Forbidden as error:
            raise Forbidden(
                f"The webhook's host {url.host!r} does not have a public address. An administrator may allow hosts of "
                "an intranet by RUNS__WEBHOOK_HOSTS."
            ) from error

    async def defer(self, connection: Connection, run: UUID) -> None:
        """Have the run's address called, in the transaction that ends the run."""
        await self._jobs.app.configure_task("webhook", queue=QUEUE, connection=connection).defer_async(run=str(run))

    async def _call(self, *, run: str) -> None:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(f"{SELECT} WHERE r.id = %s".encode(), (UUID(run),))).fetchone()
        if row is None or self._secret is None:
            return  # The run was deleted, or webhooks were turned off.
        ended = read_run(row)
        body = to_json({**ended.wire(), "values": await self._values(ended), "error": ended.error}).encode()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: sign(self._secret.get_secret_value(), body, int(time.time())),
        }
        transport = CheckedTransport(self._allowed, self._resolve, ssl.create_default_context())
        try:
            async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=TIMEOUT_S) as client:
                status = (
                    await client.post(read_url(ended.kwargs["webhook"]), content=body, headers=headers)
                ).status_code
        except httpx.HTTPError as error:
            raise Unheard(f"The webhook of run {run} cannot be reached ({type(error).__name__}).") from error
        if status in TRY_LATER:
            raise Unheard(f"The webhook of run {run} answers {status}.")
        if status >= httpx.codes.MULTIPLE_CHOICES:
            logger.warning("the webhook of run %s answers %s, and is not called again", run, status)

    async def _values(self, run: Run) -> Mapping[str, Any]:
        graph = self._agents.get(run.metadata["graph_id"]).graph
        place = {"thread_id": str(run.thread_id), "checkpoint_ns": "", "checkpoint_id": run.checkpoint_id}
        values: Mapping[str, Any] = plain((await graph.aget_state({"configurable": place})).values)
        return values


def sign(secret: str, body: bytes, seconds: int) -> str:
    """The signature of a call: ``t=SECONDS,v1=HMAC``, the HMAC-SHA-256 of ``SECONDS.BODY`` in hexadecimal digits."""
    signed = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={signed.hexdigest()}"
