"""Shares with their 95 % interval."""

from __future__ import annotations

from math import sqrt

from pydantic import BaseModel, ConfigDict, Field

_Z = 1.959963984540054
"""0.975 quantile of the standard normal distribution."""


class Share(BaseModel):
    """So many of so many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int
    of: int
    value: float | None = Field(description="0..1; None of none")
    low: float | None = Field(description="of Wilson's 95 % interval")
    high: float | None = Field(description="of Wilson's 95 % interval")


def share(count: int, of: int) -> Share:
    """Return a share with its score interval.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927: it stays
    within 0 and 1 and keeps its level where counts are small.
    """
    if of == 0:
        return Share(count=count, of=of, value=None, low=None, high=None)
    value, shrink = count / of, 1 + _Z**2 / of
    middle = (value + _Z**2 / (2 * of)) / shrink
    half = _Z / shrink * sqrt(value * (1 - value) / of + _Z**2 / (4 * of**2))
    return Share(
        count=count, of=of, value=value, low=max(0.0, middle - half), high=min(1.0, middle + half)
    )
