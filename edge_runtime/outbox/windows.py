"""The parts of the day in which a destination may be reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta, tzinfo

from edge_runtime.unit.config import TransferWindow


def seconds_until_open(windows: Sequence[TransferWindow], now: float, zone: tzinfo | None) -> float:
    """Return how long it is until a window is open; 0 inside one, or where there are none.

    A window opens and closes when clocks on the wall say so. Where they are put forward or back
    in it, it is never shorter than it reads.

    Parameters
    ----------
    now
        UTC seconds since 1970.
    zone
        Time zone of the windows; None for the system's.
    """
    if not windows:
        return 0.0
    today = datetime.fromtimestamp(now, zone).date()
    openings = []
    for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
        for opens, closes in _on(day, windows, zone):
            if opens <= now < closes:
                return 0.0
            if opens > now:
                openings.append(opens)
    return min(openings) - now


def _on(
    day: date, windows: Sequence[TransferWindow], zone: tzinfo | None
) -> Iterator[tuple[float, float]]:
    """Yield when the windows that open on a day open and close, in UTC seconds since 1970."""
    for window in windows:
        last = day if window.opens < window.closes else day + timedelta(days=1)
        reads = datetime.combine(last, window.closes) - datetime.combine(day, window.opens)
        opens = _instant(day, window.opens, zone, fold=0)
        closes = _instant(last, window.closes, zone, fold=1)
        yield opens, max(closes, opens + reads.total_seconds())


def _instant(day: date, at: time, zone: tzinfo | None, fold: int) -> float:
    return datetime.combine(day, at, zone).replace(fold=fold).timestamp()
