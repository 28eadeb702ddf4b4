"""A result as an instance of its series, with what highdicom takes of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Instance:
    """Which instance a result is, and when it was made.

    Attributes
    ----------
    uid, series_uid
        SOP and Series Instance UID, of :mod:`edge_runtime.reports.uids`.
    number
        Instance Number, from 1.
    made_at
        See :func:`edge_runtime.reports.header.complete`.
    """

    uid: str
    series_uid: str
    number: int
    made_at: datetime
