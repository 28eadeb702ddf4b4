"""The weekly report: one document of figures and lists, the JSON `osteoedge.feedback/1`."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.drift.status import DriftStatus, drift_status
from edge_runtime.feedback import figures
from edge_runtime.feedback.figures import Agreement, Coverage, WeekFigures, WeekFilms
from edge_runtime.feedback.headers import keep_missing_headers
from edge_runtime.feedback.reads import link_reads
from edge_runtime.feedback.recall import Cases, false_alarms, misses, open_cases
from edge_runtime.feedback.week import Week
from edge_runtime.screening import STANDING_SENTENCE
from edge_runtime.spool import Spool

CHART_WEEKS = 13


class FeedbackReport(BaseModel):
    """A week of a unit, and what is still open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal["osteoedge.feedback/1"] = Field("osteoedge.feedback/1", alias="schema")
    notice: str
    unit: str
    week: str
    begins: datetime
    ends: datetime
    made_at: datetime
    whole: bool = Field(description="false: the week is not over")
    names: bool = Field(description="whether lists hold patients' names")
    figures: WeekFigures
    weeks: tuple[WeekFilms, ...]
    agreement_week: Agreement = Field(description="of readings that came in the week")
    agreement_so_far: Agreement
    enough_reads: int = Field(description="below that many, a share says next to nothing")
    coverage: Coverage
    verdicts: dict[str, dict[str, int]] = Field(description="given at the unit in the week")
    reads_superseded: int
    reads_unlinked: int
    misses: Cases = Field(description="by readings that came in the week")
    false_alarms: Cases
    recall: Cases = Field(description="open at the time of the report, of all weeks")
    drift: DriftStatus = Field(description="at the time of the report")


def weekly_report(spool: Spool, unit: str, week: Week, *, with_names: bool) -> FeedbackReport:
    """Return the report of a week; reads whose study has come since are linked first.

    Parameters
    ----------
    unit
        Its name.
    with_names
        Whether lists hold patients' names, of films whose file still lies there.
    """
    keep_missing_headers(spool)
    link_reads(spool)
    now = spool.now()
    within = (week.begins, week.ends)
    return FeedbackReport(
        schema="osteoedge.feedback/1",
        notice=STANDING_SENTENCE,
        unit=unit,
        week=week.name,
        begins=_time(week.begins),
        ends=_time(week.ends),
        made_at=_time(now),
        whole=now >= week.ends,
        names=with_names,
        figures=figures.week_figures(spool, week),
        weeks=figures.films_of_weeks(spool, week, CHART_WEEKS),
        agreement_week=figures.agreement(spool, *within),
        agreement_so_far=figures.agreement(spool, -math.inf, math.inf),
        enough_reads=figures.ENOUGH_READS,
        coverage=figures.coverage(spool),
        verdicts=figures.verdicts(spool, week),
        reads_superseded=figures.superseded_reads(spool),
        reads_unlinked=figures.unlinked_reads(spool),
        misses=misses(spool, *within, with_names=with_names),
        false_alarms=false_alarms(spool, *within, with_names=with_names),
        recall=open_cases(spool, with_names=with_names),
        drift=drift_status(spool),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds).astimezone()
