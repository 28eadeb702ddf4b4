"""Fit a site's recalibration, operating points and prediction sets, by the arithmetic of export.

A threshold that finds 90 % of the tumours that it was fitted on finds a little less of those to
come: of n exchangeable patients, the one who sets it counts against it. So the share to be found is
raised to target * (n + 1) / n, as split conformal prediction does (Vovk et al., "Algorithmic
learning in a random world", 2005). What is then found on fresh films is a Beta variable, whatever
the scores are like (Vovk, "Conditional validity of inductive conformal predictors", 2013): at or
above the target on average, and that often as the site file says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import beta

from edge_runtime.bundle import (
    LABELS,
    Calibration,
    ConformalQuantile,
    Interval,
    OperatingPoint,
    Promise,
    Recalibration,
    ScoreName,
)
from edge_runtime.errors import CalibrationError
from export.calibrate import Scored, with_thresholds
from export.site.films import patients_with
from export.site.recalibration import fit_recalibration, recalibrated
from train.config import ExportConfig

_TARGETS = (0.5, 1.0)
# The least severe label that a score is to find, and the option that says how many of them.
_FOUND: dict[ScoreName, int] = {"tumour": 1, "malignant": LABELS.index("malignant")}
_OPTIONS = {"tumour": "--target-sensitivity", "malignant": "--malignant-sensitivity"}
# Of a kind of patients, so that each fold of a cross-validation is left some.
_FEWEST = 10


@dataclass(frozen=True)
class Targets:
    """What share of what each score is to find the thresholds are fitted for, 0.5..1 exclusive.

    Raises
    ------
    CalibrationError
        One is no such share.
    """

    tumour: float
    malignant: float

    def __post_init__(self) -> None:
        low, high = _TARGETS
        for target in (self.tumour, self.malignant):
            if not low < target < high:
                raise CalibrationError(
                    f"a sensitivity of {target:g} is no aim for a screening",
                    f"Choose one between {low:g} and {high:g}, for example 0.90",
                )

    def of(self, score: ScoreName) -> float:
        """Return the target of the points that cut a score."""
        return self.malignant if score == "malignant" else self.tumour


@dataclass(frozen=True)
class Fit:
    """What a site file holds beside its name, fitted to some films."""

    recalibration: Recalibration
    operating_points: tuple[OperatingPoint, ...]
    conformal_quantiles: Mapping[str, ConformalQuantile]


def fit_site(scored: Scored, own: Calibration, targets: Targets) -> Fit:
    """Fit a bundle to a site's films.

    Parameters
    ----------
    scored
        The films that could be checked, with the bundle's own probabilities.
    own
        The bundle's calibration: which operating points there are, and the miss rate of its
        prediction sets.

    Raises
    ------
    CalibrationError
        The bundle has operating points of a kind that cannot be fitted here.
    """
    recalibration = fit_recalibration(scored.probabilities, scored.labels)
    here = replace(scored, probabilities=recalibrated(scored.probabilities, recalibration))
    aims = {f"{name}_sensitivity": _aim(scored, name, targets) for name in _FOUND}
    config = ExportConfig.model_validate({**aims, "conformal_alpha": own.conformal_alpha})
    fitted = with_thresholds(own, here, config)
    found = {(p.name, p.score, p.level, p.action): p for p in fitted.operating_points}
    points = []
    for point in own.operating_points:
        theirs = found.get((point.name, point.score, point.level, point.action))
        if theirs is None:
            raise CalibrationError(
                f"the operating point {point.name} is none of those that are fitted here",
                "Use an osteoedge of the version that exported the bundle",
            )
        words = f"sensitivity at least {targets.of(point.score):.2f}, expected on fresh films"
        points.append(theirs.model_copy(update={"target": words}))
    quantiles = {label: _a_little_above(q) for label, q in fitted.conformal_quantiles.items()}
    return Fit(recalibration, tuple(points), quantiles)


def require_reachable(scored: Scored, targets: Targets) -> None:
    """Refuse a target that so few patients cannot promise, whatever the threshold.

    Raises
    ------
    CalibrationError
        Even the lowest score of all would be expected to miss more.
    """
    for score, label in _FOUND.items():
        target, patients = targets.of(score), patients_with(scored, label)
        # With fewer the share to be found, target * (n + 1) / n, is more than all.
        needed = max(_FEWEST, math.ceil(target / (1.0 - target) - 1e-9))
        if patients < needed:
            whose = "tumour" if score == "tumour" else "malignant tumour"
            raise CalibrationError(
                f"{patients} patients with a {whose} cannot promise a sensitivity of {target:g}",
                f"Collect {needed} of them, or lower {_OPTIONS[score]} where that suffices",
            )


def require_useful(fit: Fit) -> None:
    """Refuse thresholds that reach their target by referring everything.

    Raises
    ------
    CalibrationError
        A point refers every film, or study, that shows nothing of what it is to find.
    """
    for point in fit.operating_points:
        if point.specificity.value == 0.0:
            raise CalibrationError(
                f"{point.name} reaches its target only by referring everything",
                "The bundle does not tell tumours on these films: choose a lower target, or "
                "another bundle",
            )


def promise(point: OperatingPoint, scored: Scored, target: float) -> Promise:
    """Return what a fitted threshold promises of fresh films: a Beta variable.

    Films of one patient count as one, which is cautious where they differ.

    Parameters
    ----------
    point
        As fitted, with the sensitivity found on the very films.
    """
    patients = patients_with(scored, _FOUND[point.score])
    missed = (1.0 - point.sensitivity.value) * patients
    fresh = beta(patients - missed, missed + 1.0)
    return Promise(
        sensitivity=Interval(
            value=float(fresh.mean()), low=float(fresh.ppf(0.025)), high=float(fresh.ppf(0.975))
        ),
        assurance=float(fresh.sf(target)),
    )


def _a_little_above(quantile: ConformalQuantile) -> ConformalQuantile:
    """Return a quantile that rounding on the device does not put below the film that set it."""
    return quantile.model_copy(update={"value": min(1.0, math.ceil(quantile.value * 1e6) / 1e6)})


def _aim(scored: Scored, score: ScoreName, targets: Targets) -> float:
    """Return the share of these films to be found, so that the target is expected of fresh ones."""
    patients = patients_with(scored, _FOUND[score])
    raised = targets.of(score) * (patients + 1) / patients
    # Where a fold leaves few patients: the lowest score of all.
    return float(np.nextafter(min(raised, 1.0), 0.0))
