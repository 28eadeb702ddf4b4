"""Several views of one study are one question: what they come to by the bundle's rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime import decision
from edge_runtime.bundle import Calibration, ScoreName
from edge_runtime.decision import Decision
from edge_runtime.phrases import Phrase, say
from edge_runtime.spool.studies import StudyView

_BY_URGENCY: tuple[Decision, ...] = ("urgent_review", "unable", "routine_review", "not_flagged")


@dataclass(frozen=True)
class StudyDecision:
    """What the films of a study come to, and why, as sentences."""

    decision: Decision
    reasons: tuple[str, ...]


def decide_study(
    views: Sequence[StudyView], calibration: Calibration, *, with_figures: bool
) -> StudyDecision:
    """Decide on a study from its films' scores.

    Each operating point of studies cuts the most suspicious view's score
    (:func:`edge_runtime.decision.study_score`). Where none is reached, a view that could not be
    checked makes the study `unable`: a person must look. A bundle without such points leaves the
    study to its most urgent film.

    Parameters
    ----------
    views
        One or more.
    with_figures
        Whether the reasons may tell probabilities.
    """
    unable = sum(view.decision == "unable" for view in views)
    scored = [v for v in views if v.tumour is not None and v.malignant is not None]
    points = calibration.at("study")
    verdict: Decision = "not_flagged"
    reasons: tuple[Phrase, ...] = ()
    if points and scored:
        scores: dict[ScoreName, float] = {
            "tumour": decision.study_score(np.array([v.tumour for v in scored], float)),
            "malignant": decision.study_score(np.array([v.malignant for v in scored], float)),
        }
        verdict, reasons = decision.decide_scores(scores, points, with_figures=with_figures)
    elif not points:
        decisions = {view.decision for view in views}
        verdict = next(one for one in _BY_URGENCY if one in decisions)
        reasons = (Phrase(key="reason.most_urgent"),)
    if unable:
        told = Phrase(key="reason.unable", values={"unable": unable, "films": len(views)})
        reasons = (*reasons, told)
        if verdict == "not_flagged":
            verdict = "unable"
    return StudyDecision(verdict, tuple(say(reason) for reason in reasons))
