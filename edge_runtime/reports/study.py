"""What a report says of a study: its films, its decision, and which report it supersedes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from edge_runtime.decision import Decision
from edge_runtime.phrases import Phrase
from edge_runtime.screening import Screening


@dataclass(frozen=True)
class ReportedFilm:
    """A film of the study as it is now.

    Attributes
    ----------
    header
        Its data set, with or without pixels.
    screening
        Its result; it may have been read again from its JSON document.
    """

    header: Dataset
    screening: Screening


@dataclass(frozen=True)
class StudySummary:
    """The answer to the clinician's one question.

    Attributes
    ----------
    decision, reasons
        By the bundle's operating points of studies.
    revision
        1 for the study's first report, one more for each that superseded it.
    films
        How many films the decision rests on.
    summary
        Of :mod:`edge_runtime.summary`.
    """

    decision: Decision
    reasons: tuple[str, ...]
    revision: int
    films: int
    summary: tuple[Phrase, ...]


@dataclass(frozen=True)
class Predecessor:
    """A delivered report that this one supersedes."""

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    revision: int
    made_at: datetime
