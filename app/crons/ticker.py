"""Ticks: what is due begins, each tick once whatever the number of processes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import psycopg

from app.crons.schedule import made_up, next_tick
from app.runs.admission import Desk
from app.runs.order import Orders, RunCreate
from app.runs.run import Connection
from core.database import Pool
from core.domain import Principal, PrincipalId, Role, TenantId
from core.errors import PlatformError

logger = logging.getLogger(__name__)


class Ticker:
    """Begins the runs of crons that are due."""

    def __init__(self, pool: Pool, desk: Desk, orders: Orders) -> None:
        self._pool = pool
        self._desk = desk
        self._orders = orders

    async def tick(self) -> int:
        """Begin everything that is due; returns how many runs that made."""
        made = 0
        while (begun := await self._next()) is not None:
            made += begun
        return made

    async def _next(self) -> int | None:
        """Take one cron that is due and that no other process has: its run and its next moment in one transaction."""
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "SELECT c.*, p.name AS principal_name, p.role, now() AS now FROM crons c "
                "JOIN principals p ON p.id = c.principal_id WHERE c.enabled AND c.next_run_at <= now() "
                "ORDER BY c.next_run_at LIMIT 1 FOR UPDATE OF c SKIP LOCKED"
            )
            row = await cursor.fetchone()
            if row is None:
                return None
            try:
                return await self._pass(connection, row)
            except ValueError:
                # The time zone is not known any more, or the schedule not read; it must not hold up those behind it.
                await connection.execute(
                    "UPDATE crons SET enabled = false, last_error = %s WHERE id = %s",
                    ("Its schedule or time zone cannot be read any more. Change it and enable it again.", row["id"]),
                )
                return 0

    async def _pass(self, connection: Connection, row: Mapping[str, Any]) -> int:
        """Begin what is due of a cron, and store its next moment; how many runs that made."""
        schedule, zone = row["schedule"], row["timezone"]
        due = made_up(schedule, zone, row["next_run_at"], row["now"])
        following = next_tick(schedule, zone, row["now"])
        if following and row["end_time"] and following > row["end_time"]:
            following = None
        begun, error = 0, "It was due while nothing ran that begins runs, for longer than an hour."
        if due is not None:
            begun, error = await self._begin(connection, row)
        await connection.execute(
            "UPDATE crons SET next_run_at = %s, last_run_at = coalesce(%s, last_run_at), last_error = %s WHERE id = %s",
            (following, due if begun else None, error or None, row["id"]),
        )
        return begun

    async def _begin(self, connection: Connection, row: Mapping[str, Any]) -> tuple[int, str]:
        """Admit the cron's run; whether there is one, and why there is none."""
        principal = Principal(
            id=PrincipalId(row["principal_id"]),
            tenant=TenantId(row["tenant_id"]),
            name=row["principal_name"],
            role=Role(row["role"]),
        )
        try:
            body = run_of(row["payload"], row["metadata"], row["id"], row["on_run_completed"])
            order = await self._orders.read(principal, body, row["thread_id"])
            async with connection.transaction():
                await self._desk.admit_within(connection, principal, order, offered=False)
        except PlatformError as error:
            logger.warning("cron %s began no run: %s", row["id"], type(error).__name__)
            return 0, str(error)
        except psycopg.OperationalError:
            raise
        except Exception:  # one cron that cannot be begun must not hold up those behind it
            logger.exception("cron %s began no run", row["id"])
            return 0, "The run could not be begun, unexpectedly. The server's log has the reason."
        return 1, ""


def run_of(
    payload: Mapping[str, Any], metadata: Mapping[str, Any], cron: UUID | None, on_run_completed: str
) -> RunCreate:
    """What a run of a cron is asked to do."""
    marks = {**metadata, **({} if cron is None else {"cron_id": str(cron)})}
    return RunCreate.model_validate({**payload, "metadata": marks, "on_completion": on_run_completed})
