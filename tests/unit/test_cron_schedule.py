"""When a cron is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.crons.schedule import LATE, check_schedule, made_up, next_tick, zone_of
from core.errors import InvalidInput

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def ticks(schedule: str, zone: str | None, start: datetime, count: int) -> list[str]:
    """The next ticks, as clocks there show them."""
    found = []
    for _ in range(count):
        tick = next_tick(schedule, zone, start)
        assert tick is not None
        found.append(tick.astimezone(zone_of(zone)).isoformat(timespec="minutes"))
        start = tick
    return found


def test_a_schedule_is_read_in_its_time_zone() -> None:
    monday = at("2026-11-23T00:00:00Z")
    assert ticks("0 9 * * 1-5", "America/New_York", monday, 1) == ["2026-11-23T09:00-05:00"]
    assert ticks("0 9 * * 1-5", None, monday, 1) == ["2026-11-23T09:00+00:00"]
    assert ticks("0 9 * * mon#1", None, monday, 1) == ["2026-12-07T09:00+00:00"]


def test_an_hour_that_the_clock_skips_is_made_up_for_once() -> None:
    assert ticks("30 2 * * *", BERLIN, at("2026-03-28T12:00:00Z"), 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_an_hour_that_comes_twice_counts_once_for_what_is_due_once_a_day() -> None:
    assert ticks("30 2 * * *", BERLIN, at("2026-10-24T12:00:00Z"), 2) == [
        "2026-10-25T02:30+02:00",
        "2026-10-26T02:30+01:00",
    ]
    for schedule in ("0 * * * *", "@hourly"):
        assert ticks(schedule, BERLIN, at("2026-10-24T23:30:00Z"), 3) == [
            "2026-10-25T02:00+02:00",
            "2026-10-25T02:00+01:00",
            "2026-10-25T03:00+01:00",
        ]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["30 2 * * *", "0 * * * *", "*/7 * * * *", "15 1,3 * * *", "0 0 1 * *", "@daily"]),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", None]),
    st.sampled_from(["2026-03-08T00:00Z", "2026-03-28T20:00Z", "2026-04-04T08:00Z", "2026-10-24T20:00Z"]),
    st.integers(0, 36 * 60),
)
def test_the_next_tick_does_not_depend_on_where_one_looks_from(
    schedule: str, zone: str | None, day: str, minutes: int
) -> None:
    start = at(day)
    moment = start + timedelta(minutes=minutes, seconds=30)
    tick = next_tick(schedule, zone, start)
    while tick is not None and tick <= moment:
        tick = next_tick(schedule, zone, tick)
    assert next_tick(schedule, zone, moment) == tick


def test_of_missed_ticks_the_last_is_made_up_for_and_none_that_is_too_late() -> None:
    due, now = at("2026-05-01T10:00:00Z"), at("2026-05-03T10:20:30Z")
    assert made_up("*/15 * * * *", None, due, now) == at("2026-05-03T10:15:00Z")
    assert made_up("0 9 * * *", None, due - timedelta(hours=1), now) is None
    assert made_up("0 10 * * *", None, due, now) == at("2026-05-03T10:00:00Z")
    assert made_up("0 10 * * *", None, due, due) == due
    assert made_up("0 10 * * *", None, due, due + LATE) == due


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "* * * * * *", "61 * * * *", "@every 5m", "@reboot", "R * * * *", "H * * * *", "0 0 30 2 *"],
)
def test_what_is_no_schedule_or_never_due_is_refused(schedule: str) -> None:
    with pytest.raises(InvalidInput, match="schedule"):
        check_schedule(schedule, None)


@pytest.mark.parametrize("zone", ["Mars/Base", "../etc/passwd", "/etc/localtime", "\x00"])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidInput, match="time zone"):
        check_schedule("0 9 * * *", zone)
