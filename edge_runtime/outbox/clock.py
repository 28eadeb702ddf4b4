"""Time, as the outbox sees it: a test may put another clock in its place."""

from __future__ import annotations

import time
from datetime import tzinfo
from typing import Protocol

from edge_runtime.unit.life import Life


class Clock(Protocol):
    """What tells the time and lets it pass.

    Attributes
    ----------
    zone
        In which windows are meant; None for the system's.
    """

    @property
    def zone(self) -> tzinfo | None:
        """Return the time zone."""

    def now(self) -> float:
        """Return UTC seconds since 1970."""

    def sleep(self, seconds: float, life: Life) -> None:
        """Wait, or until the process is asked to stop."""


class SystemClock:
    """The machine's clock."""

    zone: tzinfo | None = None

    def now(self) -> float:
        """Return UTC seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float, life: Life) -> None:
        """Wait, or until the process is asked to stop."""
        life.wait(seconds)
