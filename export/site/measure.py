"""What an operating point does at a site: with the bundle's calibration, and with the site's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from edge_runtime import decision
from edge_runtime.bundle import (
    LABELS,
    Calibration,
    Interval,
    Level,
    OperatingPoint,
    Rates,
    ScoreName,
)
from export.site.films import SiteFilms
from export.site.fit import Targets, fit_site
from export.site.recalibration import recalibrated
from train.evaluate.metrics import denominators, rates
from train.evaluate.resampling import Doubles, Flags, Metric, with_intervals

FOLDS = 5
# Referred by any point of its level, or `unable`.
REFERRED: dict[Level, str] = {"image": "referred", "study": "study_referred"}


@dataclass(frozen=True)
class _Cases:
    """What the points of one level judge: n films, or n studies, each with its films' positions."""

    films: list[npt.NDArray[np.intp]]
    labels: npt.NDArray[np.int32]
    patients: pd.Series
    unable: Flags

    @classmethod
    def of(cls, films: SiteFilms, level: Level) -> _Cases:
        scored = films.scored
        names = scored.studies if level == "study" else np.arange(len(scored.labels))
        grouped = pd.Series(scored.labels).groupby(names).indices.values()
        members = [np.asarray(of, np.intp) for of in grouped]
        return cls(
            films=members,
            labels=np.array([scored.labels[of].max() for of in members], np.int32),
            patients=pd.Series([scored.patients[of[0]] for of in members]),
            unable=np.array([films.unable[of].any() for of in members]),
        )

    def referred(
        self, probabilities: Doubles, points: Sequence[OperatingPoint], level: Level
    ) -> dict[str, Flags]:
        """Return what each point refers, (n,), and what any of them does."""
        found = {
            point.name: self.unable | (self._scores(probabilities, point.score) >= point.threshold)
            for point in points
        }
        found[REFERRED[level]] = np.any([self.unable, *found.values()], axis=0)
        return found

    def _scores(self, probabilities: Doubles, name: ScoreName) -> Doubles:
        own = decision.score(probabilities, name)
        # Nothing is known of a film that could not be read, and it is `unable` anyway.
        known = [own[of][~np.isnan(own[of])] for of in self.films]
        return np.array([decision.study_score(one) if len(one) else np.nan for one in known])


@dataclass(frozen=True)
class Measured:
    """One calibration on a site's films.

    Attributes
    ----------
    probabilities
        (n, 3) of the films.
    rates
        By operating point, and of all points of a level together: see :data:`REFERRED`.
    """

    probabilities: Doubles
    rates: Mapping[str, Rates]


def measure(films: SiteFilms, own: Calibration) -> Measured:
    """Measure a bundle with its own calibration."""
    probabilities = films.scored.probabilities
    flagged = {
        level: _Cases.of(films, level).referred(probabilities, own.at(level), level)
        for level in REFERRED
    }
    return Measured(probabilities, _rates(films, own, flagged))


def cross_validate(films: SiteFilms, own: Calibration, targets: Targets) -> Measured:
    """Measure a site's calibration: each patient's films by a fit to four fifths of the others.

    That a threshold lies where it does for the sake of the very films, and the noise of a fit to
    few, are in the figures then.
    """
    scored = films.scored
    probabilities = np.full_like(scored.probabilities, np.nan)
    flagged: dict[Level, dict[str, Flags]] = {level: {} for level in REFERRED}
    cases = {level: _Cases.of(films, level) for level in REFERRED}
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for fitted, held in folds.split(scored.labels, scored.labels, scored.patients):
        others = np.isin(np.arange(len(scored.labels)), fitted)
        fit = fit_site(films.take(others).checked(), own, targets)
        said = recalibrated(scored.probabilities, fit.recalibration)
        probabilities[held] = said[held]
        for level, of in cases.items():
            points = [point for point in fit.operating_points if point.level == level]
            mine = np.array([~others[members[0]] for members in of.films])
            for name, flags in of.referred(said, points, level).items():
                whole = flagged[level].setdefault(name, np.zeros(len(flags), bool))
                whole[mine] = flags[mine]
    return Measured(probabilities, _rates(films, own, flagged))


def _rates(
    films: SiteFilms, own: Calibration, flagged: Mapping[Level, Mapping[str, Flags]]
) -> dict[str, Rates]:
    malignant = {point.name for point in own.operating_points if point.score == "malignant"}
    found = {}
    for level, by_point in flagged.items():
        cases = _Cases.of(films, level)
        for name, flags in by_point.items():
            worst = LABELS.index("malignant") if name in malignant else 1
            found[name] = _with_intervals(cases, cases.labels >= worst, flags)
    return found


def _with_intervals(cases: _Cases, positive: Flags, referred: Flags) -> Rates:
    everything = np.ones(len(positive), bool)

    def shares(weights: Doubles) -> dict[str, Doubles]:
        return rates("", positive, referred, everything, weights)

    among = denominators("", positive, referred, everything)
    metrics = with_intervals(cases.patients, shares, shares=among)
    return Rates(
        sensitivity=interval(metrics[".sensitivity"]),
        specificity=interval(metrics[".specificity"]),
        referral_rate=interval(metrics[".referral_rate"]),
    )


def interval(metric: Metric) -> Interval:
    """Return a figure that these films allow, as a manifest keeps it."""
    if metric.value is None or metric.low is None or metric.high is None:
        raise AssertionError("there are films with and without a tumour")
    return Interval(value=metric.value, low=metric.low, high=metric.high)
