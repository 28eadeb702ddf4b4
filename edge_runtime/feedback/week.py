"""A week by ISO 8601, by the unit's clock: Monday 0:00 to Monday 0:00, local time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from edge_runtime.errors import ConfigError


@dataclass(frozen=True)
class Week:
    """One week.

    Attributes
    ----------
    monday
        Its first day.
    """

    monday: date

    @property
    def name(self) -> str:
        """Like ``2026-W47``."""
        year, week, _ = self.monday.isocalendar()
        return f"{year}-W{week:02d}"

    @property
    def begins(self) -> float:
        """UTC seconds since 1970."""
        return datetime.combine(self.monday, time.min).timestamp()

    @property
    def ends(self) -> float:
        """UTC seconds since 1970: when the next one begins."""
        return self.before(-1).begins

    def before(self, weeks: int) -> Week:
        """Return the week so many weeks earlier."""
        return Week(self.monday - timedelta(weeks=weeks))


def week_at(at: float) -> Week:
    """Return the week of a moment in UTC seconds since 1970."""
    day = datetime.fromtimestamp(at).date()
    return Week(day - timedelta(days=day.weekday()))


def parse_week(text: str) -> Week:
    """Return the week that is meant by ``2026-W47``.

    Raises
    ------
    ConfigError
        It is no week.
    """
    match = re.fullmatch(r"(\d{4})-W(\d\d)", text.strip(), re.ASCII)
    try:
        if match is not None and 1971 <= int(match[1]) <= 9000:
            return Week(date.fromisocalendar(int(match[1]), int(match[2]), 1))
    except ValueError:
        pass
    raise ConfigError(f"{text!r} is no week", "Write it by ISO 8601, such as 2026-W47")
