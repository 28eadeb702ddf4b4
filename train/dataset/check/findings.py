"""What a check found, as typed records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# leak: a figure measured on this split cannot be believed; exit code 3.
# warning: a person must decide. info: worth knowing, nothing to do.
Severity = Literal["leak", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("leak", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    check
        The check that found it, as a short name that scripts can rely on.
    what
        One sentence with the figures.
    remedy
        What to do about it, as an imperative sentence.
    films
        image_id of every film concerned.
    """

    severity: Severity
    check: str
    what: str
    remedy: str
    films: tuple[str, ...] = ()

    def first_films(self, count: int = 6) -> str:
        """Return the first films as text, and how many more there are."""
        named = ", ".join(self.films[:count])
        more = len(self.films) - count
        return f"{named} and {more} more" if more > 0 else named


def plural(count: int, noun: str) -> str:
    """Return ``1 film``, ``2 films``."""
    return f"{count} {noun}" + ("" if count == 1 else "s")
