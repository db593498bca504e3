"""Schedules: when a cron is due, in its time zone. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter
from croniter.croniter import CroniterBadDateError

from core.errors import InvalidInput

LATE = timedelta(hours=1)
"""How late a run may begin; what was due earlier, while nothing ran, is left out."""
ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
NAMES = {*"mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep oct nov dec l".split()}
"""The words that a field may hold; croniter knows others, whose ticks are drawn by lot."""


def check_schedule(schedule: str, zone: str | None) -> None:
    """Refuse a schedule that is none, or that is never due.

    Raises:
        InvalidInput: it is not five fields, or its time zone is not known.
    """
    try:
        zone_of(zone)
    except ValueError as error:
        raise InvalidInput(f"There is no time zone {zone!r}. Use a name such as 'Europe/Berlin'.") from error
    fields = schedule.split()
    known = len(fields) == 5 and {*re.findall(r"[a-z]+", schedule.lower())} <= NAMES
    if not (known or schedule in ALIASES) or not croniter.is_valid(schedule):
        raise InvalidInput(
            f"The schedule {schedule!r} is not possible. It has five fields, minute, hour, day, month and weekday, "
            f"such as '0 9 * * 1-5', or is one of {', '.join(ALIASES)}."
        )
    if next_tick(schedule, zone, datetime.now(UTC)) is None:
        raise InvalidInput(f"The schedule {schedule!r} is never due.")


def zone_of(name: str | None) -> ZoneInfo:
    """The time zone of a schedule; UTC when it names none.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"There is no time zone {name!r}.") from error


def next_tick(schedule: str, zone: str | None, after: datetime) -> datetime | None:
    """The first moment after ``after`` at which the schedule is due, in UTC; ``None`` when there is none.

    What is due at an hour that the clock skips is due when it has skipped it. What is due at a certain hour is due
    once on the day on which the clock goes through that hour twice; what is due every hour, both times.
    """
    place = zone_of(zone)
    ticks = croniter(schedule, after.astimezone(place))
    hour = "*" if schedule == "@hourly" else (*schedule.split(), "")[1]
    while True:
        try:
            tick: datetime = ticks.get_next(datetime)
        except CroniterBadDateError:
            return None
        if hour.startswith("*") or not tick.fold:
            return tick.astimezone(UTC)


def made_up(schedule: str, zone: str | None, due: datetime, now: datetime) -> datetime | None:
    """Of the ticks from ``due`` to ``now``, the one to run: the last, if it is not later than `LATE`."""
    last = due if due >= now - LATE else None
    tick = next_tick(schedule, zone, max(due, now - LATE - timedelta(microseconds=1)))
    while tick is not None and tick <= now:
        last, tick = tick, next_tick(schedule, zone, tick)
    return last
