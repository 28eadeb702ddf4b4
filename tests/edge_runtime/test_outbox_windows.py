"""When a destination may be reached, also on the days that clocks are put forward or back."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.outbox.windows import seconds_until_open
from edge_runtime.unit.config import TransferWindow

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 6, 1, 12, tzinfo=BERLIN)


def window(text: str) -> TransferWindow:
    opens, closes = (time.fromisoformat(part) for part in text.split("-"))
    return TransferWindow(opens=opens, closes=closes)


def wait(windows: list[str], moment: datetime) -> float:
    return seconds_until_open([window(w) for w in windows], moment.timestamp(), BERLIN)


def open_minutes(text: str, day: datetime) -> list[str]:
    """Minutes of 20 hours from a day's start, in UTC, in which a window is open."""
    start = day.astimezone(UTC)
    minutes = (start + timedelta(minutes=n) for n in range(20 * 60))
    return [f"{m:%d %H:%M}" for m in minutes if wait([text], m) == 0]


@pytest.mark.parametrize(
    ("windows", "at", "seconds"),
    [
        ([], "12:00", 0),
        (["06:00-08:00"], "05:59", 60),
        (["06:00-08:00"], "06:00", 0),
        (["06:00-08:00"], "07:59", 0),
        (["06:00-08:00"], "08:00", 22 * 3600),
        (["06:00-08:00", "18:00-20:00"], "12:00", 6 * 3600),
        (["22:00-02:00"], "23:30", 0),
        (["22:00-02:00"], "01:30", 0),
        (["22:00-02:00"], "02:00", 20 * 3600),
    ],
)
def test_waits_for_the_next_opening(windows: list[str], at: str, seconds: float) -> None:
    moment = datetime.combine(NOON.date(), time.fromisoformat(at), BERLIN)
    assert wait(windows, moment) == seconds


def test_a_window_in_the_hour_that_is_left_out_opens_after_it() -> None:
    # 29 March 2026: 02:00 is 03:00, at 01:00 UTC.
    minutes = open_minutes("02:15-02:45", datetime(2026, 3, 29, tzinfo=BERLIN))
    assert (minutes[0], minutes[-1], len(minutes)) == ("29 01:15", "29 01:44", 30)


def test_a_window_in_the_hour_that_comes_twice_is_not_cut_short() -> None:
    # 25 October 2026: 02:00 to 03:00 comes at 00:00 and again at 01:00 UTC.
    minutes = open_minutes("02:15-02:45", datetime(2026, 10, 25, tzinfo=BERLIN))
    assert (minutes[0], minutes[-1], len(minutes)) == ("25 00:15", "25 01:44", 90)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
    st.times(),
    st.times(),
)
def test_a_window_opens_within_a_day_and_an_hour(at: datetime, opens: time, closes: time) -> None:
    windows = [TransferWindow(opens=opens.replace(fold=0), closes=closes.replace(fold=0))]
    moment = at.replace(tzinfo=UTC).timestamp()
    seconds = seconds_until_open(windows, moment, BERLIN)
    assert 0 <= seconds <= 25 * 3600
    if seconds:
        # Rounded up: a float of seconds since 1970 has microseconds.
        assert seconds_until_open(windows, moment + seconds + 1e-5, BERLIN) < 1e-5 or (
            opens == closes
        )
