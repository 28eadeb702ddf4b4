"""What several views of one study come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_runtime.bundle import Calibration, load_bundle
from edge_runtime.spool.studies import StudyView
from edge_runtime.unit.study import decide_study


@pytest.fixture(scope="module")
def calibration(tiny_bundle: Path) -> Calibration:
    """With the thresholds of studies at 0.5 (malignant) and 0.6 (tumour)."""
    fitted = load_bundle(tiny_bundle).manifest.calibration
    thresholds = {"malignant": 0.5, "tumour": 0.6}
    points = tuple(
        point.model_copy(update={"threshold": thresholds[point.score]})
        if point.level == "study"
        else point
        for point in fitted.operating_points
    )
    return fitted.model_copy(update={"operating_points": points})


def view(decision: str, tumour: float | None = None, malignant: float | None = None) -> StudyView:
    some: dict[str, Any] = {"film_id": 1, "path": Path(), "content_sha256": "", "document": "{}"}
    return StudyView(**some, result_revision=1, decision=decision, tumour=tumour,
                     malignant=malignant)  # fmt: skip


def test_the_most_suspicious_view_decides(calibration: Calibration) -> None:
    views = [view("not_flagged", 0.1, 0.1), view("not_flagged", 0.7, 0.2)]
    found = decide_study(views, calibration, with_figures=True)
    assert found.decision == "routine_review"
    assert "70.0%" in found.reasons[0]
    views.append(view("not_flagged", 0.55, 0.54))
    assert decide_study(views, calibration, with_figures=True).decision == "urgent_review"


def test_films_are_flagged_and_their_study_by_a_rule_of_its_own(calibration: Calibration) -> None:
    found = decide_study([view("urgent_review", 0.3, 0.3)], calibration, with_figures=True)
    assert found.decision == "not_flagged"


def test_a_view_that_could_not_be_checked_is_no_all_clear(calibration: Calibration) -> None:
    views = [view("not_flagged", 0.1, 0.1), view("unable")]
    found = decide_study(views, calibration, with_figures=True)
    assert found.decision == "unable"
    assert found.reasons[-1] == "1 of 2 films could not be checked"
    views.append(view("not_flagged", 0.9, 0.9))
    found = decide_study(views, calibration, with_figures=True)
    assert found.decision == "urgent_review", "what is urgent stays urgent"
    assert found.reasons[-1] == "1 of 3 films could not be checked"


def test_in_triage_no_reason_tells_a_figure(calibration: Calibration) -> None:
    found = decide_study([view("urgent_review", 0.9, 0.9)], calibration, with_figures=False)
    assert found.decision == "urgent_review"
    assert not any("0." in reason for reason in found.reasons)


def test_without_a_rule_for_studies_the_most_urgent_film_decides(calibration: Calibration) -> None:
    ruleless = calibration.model_copy(update={"operating_points": calibration.at("image")})
    views = [view("not_flagged", 0.1, 0.1), view("routine_review", 0.9, 0.1)]
    assert decide_study(views, ruleless, with_figures=True).decision == "routine_review"
    views.append(view("unable"))
    assert decide_study(views, ruleless, with_figures=True).decision == "unable"
