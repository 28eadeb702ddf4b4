"""Tests of two models, or a model and a reader, on the same films."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest, norm, rankdata

from edge_runtime.bundle import LABELS
from train.evaluate.metrics import (
    Films,
    Threshold,
    at_point,
    paired_differences,
    same_films,
)
from train.evaluate.resampling import RESAMPLES, Doubles, Flags


@dataclass(frozen=True)
class DeLong:
    """Areas under correlated ROC curves.

    Attributes
    ----------
    areas
        (k,), 0..1.
    covariance
        (k, k) of the areas.
    """

    areas: Doubles
    covariance: Doubles

    def difference(self, first: int, second: int) -> tuple[float, float, float, float]:
        """Return first area less second, its 95 % interval, and the two-sided p value."""
        gap = float(self.areas[first] - self.areas[second])
        c = self.covariance
        variance = float(c[first, first] + c[second, second] - 2.0 * c[first, second])
        # Two curves with the same ranking differ by nothing, and rounding may leave less.
        if variance <= 1e-18:
            return gap, gap, gap, 1.0 if gap == 0.0 else 0.0
        error = variance**0.5
        reach = float(norm.ppf(0.975)) * error
        return gap, gap - reach, gap + reach, float(2.0 * norm.sf(abs(gap) / error))


def delong(
    positive: Flags, scores: Doubles, patients: npt.NDArray[np.generic] | None = None
) -> DeLong:
    """Compare areas under ROC curves that were measured on the same films.

    DeLong et al., Biometrics 44:837, 1988, by midranks: Sun and Xu, "Fast implementation of
    DeLong's algorithm", IEEE Signal Processing Letters 21:1389, 2014. Where films share a patient,
    placements are summed by patient before their covariance is taken: Obuchowski, "Nonparametric
    analysis of clustered ROC curve data", Biometrics 53:567, 1997, which is DeLong's where every
    patient has one film.

    Parameters
    ----------
    positive
        (n,), both values present.
    scores
        (k, n), one row a model.
    patients
        (n,), whose film it is; every film its own by default.

    Raises
    ------
    ValueError
        Fewer than two films of a class: there is no variance to estimate.
    """
    hits, misses = int(positive.sum()), int((~positive).sum())
    if min(hits, misses) < 2:
        raise ValueError("two films of each class are the least")
    # A film's placement: the share of the other class that it is ranked above, ties counted half.
    placements = np.empty(scores.shape)
    for row, score in enumerate(scores):
        among_all = rankdata(score)
        placements[row, positive] = (among_all[positive] - rankdata(score[positive])) / misses
        placements[row, ~positive] = (
            1.0 - (among_all[~positive] - rankdata(score[~positive])) / hits
        )
    areas = placements[:, positive].mean(axis=1)
    cluster = np.arange(len(positive)) if patients is None else pd.factorize(patients)[0]
    centred = placements - areas[:, None]
    of_hits = _by_cluster(centred * positive, cluster)
    of_misses = _by_cluster(centred * ~positive, cluster)
    # The factor counts the clusters that hold a class: as many as films where each is its own.
    with_hits, with_misses = len(set(cluster[positive])), len(set(cluster[~positive]))
    everyone = len(set(cluster))
    cross = of_hits @ of_misses.T * everyone / max(everyone - 1, 1) / (hits * misses)
    covariance = (
        of_hits @ of_hits.T * with_hits / max(with_hits - 1, 1) / hits**2
        + of_misses @ of_misses.T * with_misses / max(with_misses - 1, 1) / misses**2
        + cross
        + cross.T
    )
    return DeLong(areas, covariance)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p value of two counts of discordant films.

    McNemar, Psychometrika 12:153, 1947; exact: a fair coin decides each discordant film.
    """
    discordant = only_first + only_second
    return 1.0 if not discordant else float(binomtest(only_first, discordant).pvalue)


@dataclass(frozen=True)
class Comparison:
    """One figure of the first model less that of another, on the films that both answered.

    Attributes
    ----------
    test
        `delong` (by patient), `mcnemar` (exact, film by film) or `bootstrap` (no p value).
    """

    other: str
    figure: str
    test: str
    films: int
    difference: float
    low: float | None
    high: float | None
    p: float | None


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    other: str,
    points: tuple[Sequence[Threshold], Sequence[Threshold]] = ((), ()),
    *,
    resamples: int = RESAMPLES,
) -> list[Comparison]:
    """Compare two tables of predictions of the same films.

    AUC of each class and of tumour by DeLong's test, macro AUC on paired resamples, sensitivity
    and specificity by McNemar's test: at the operating points that both have under one name, and
    of the decisions themselves. ``points`` are those of the first and of the second.

    Raises
    ------
    ValueError
        The two do not hold the same films in the same order.
    """
    one, two = same_films(first, second)
    a, b = Films.of(one), Films.of(two)
    found = []
    patients = one["patient_id"].to_numpy()
    for name, positive, pair in _curves(a, b):
        scored = ~np.isnan(pair).any(axis=0)
        if min((positive & scored).sum(), (~positive & scored).sum()) < 2:
            continue
        tested = delong(positive[scored], pair[:, scored], patients[scored])
        gap, low, high, p = tested.difference(0, 1)
        found.append(Comparison(other, name, "delong", int(scored.sum()), gap, low, high, p))
    macro = paired_differences(first, second, resamples=resamples)["auc_macro"]
    if macro.value is not None:
        both = ~np.isnan(a.probabilities[:, 0]) & ~np.isnan(b.probabilities[:, 0])
        found.append(
            Comparison(
                other, "auc_macro", "bootstrap", int(both.sum()),
                macro.value, macro.low, macro.high, None,
            )
        )  # fmt: skip
    for name, positive, referred, chosen in _decisions(a, b, points):
        for figure, films, right in (
            ("sensitivity", positive & chosen, referred),
            ("specificity", ~positive & chosen, ~referred),
        ):
            if films.any():
                only = right[:, films]
                better, worse = int((only[0] & ~only[1]).sum()), int((~only[0] & only[1]).sum())
                count = int(films.sum())
                found.append(
                    Comparison(
                        other, f"{name}.{figure}", "mcnemar", count, (better - worse) / count,
                        None, None, mcnemar(better, worse),
                    )
                )  # fmt: skip
    return found


def _curves(a: Films, b: Films) -> list[tuple[str, Flags, Doubles]]:
    by_class = [
        (f"auc_{label}", a.labels == k, np.stack([a.probabilities[:, k], b.probabilities[:, k]]))
        for k, label in enumerate(LABELS)
    ]
    return [("auc_tumour", a.labels > 0, np.stack([a.tumour_score, b.tumour_score])), *by_class]


def _decisions(
    a: Films, b: Films, points: tuple[Sequence[Threshold], Sequence[Threshold]]
) -> list[tuple[str, Flags, Flags, Flags]]:
    """Return name, what is to be found (n,), what each referred (2, n), and the films (n,)."""
    found = []
    decided = a.decided & b.decided
    if decided.any():
        found.append(("referred", a.labels > 0, np.stack([a.referred, b.referred]), decided))
    others = {point.name: point for point in points[1]}
    for point in points[0]:
        other = others.get(point.name)
        if other is not None and other.score == point.score:
            positive, one = at_point(point, a)
            referred = np.stack([one, at_point(other, b)[1]])
            found.append((point.name, positive, referred, np.ones(len(positive), bool)))
    return found


def _by_cluster(values: Doubles, cluster: npt.NDArray[np.intp]) -> Doubles:
    """Sum values (k, n) by cluster: (k, clusters)."""
    return np.stack([np.bincount(cluster, row) for row in values])
