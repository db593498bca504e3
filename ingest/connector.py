"""The job engine's connection to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable

from procrastinate import PsycopgConnector
from procrastinate.connector import Notify
from procrastinate.exceptions import ConnectorException
from tenacity import AsyncRetrying, retry_if_exception_type, wait_fixed

AGAIN_S = 1.0


class Connector(PsycopgConnector):
    """procrastinate's connector, whose workers hear of new jobs also after the database was away.

    Its own listener ends with the first connection that is refused; from then on jobs are found by polling only.
    """

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Pass on notifications until cancelled."""
        names = list(channels)
        async for attempt in AsyncRetrying(retry=retry_if_exception_type(ConnectorException), wait=wait_fixed(AGAIN_S)):
            with attempt:
                await super().listen_notify(on_notification, names)
