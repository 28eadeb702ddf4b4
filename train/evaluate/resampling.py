"""Intervals by resampling patients, and the sums that resampled metrics are made of.

Films of one patient are not independent, so patients are drawn, each with all of its films (Efron
and Tibshirani, "An Introduction to the Bootstrap", 1993, percentile intervals). A resample that
lacks a class says nothing of a metric that needs it, and is left out of that metric's interval.

A resample is a row of weights: how often each film was drawn. Metrics are computed from weights
(r, n), for r resamples at once; the value itself is the row in which each film counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

RESAMPLES = 1000
# Resamples go in batches whose arrays, 0.8 MB each, stay in a processor's cache.
_WEIGHTS_AT_ONCE = 100_000

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Measure = Callable[[Doubles], dict[str, Doubles]]


@dataclass(frozen=True)
class Metric:
    """A figure and its 95 % interval; None where the films do not allow one."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Ranking:
    """Films by falling score. Films of equal score are one step: no order may part them."""

    order: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]

    @classmethod
    def of(cls, score: Doubles) -> Ranking:
        """Rank scores (n,)."""
        order = np.argsort(-score, kind="stable")
        return cls(order, np.flatnonzero(np.diff(-score[order], prepend=-np.inf)))

    def steps(self, weights: Doubles) -> Doubles:
        """Sum weights (r, n) by step: (r, steps)."""
        if not len(self.order):
            return np.zeros((len(weights), 0))
        sums: Doubles = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        return sums


def mean(weights: Doubles, values: npt.NDArray[np.generic], among: Flags | None = None) -> Doubles:
    """Return the mean of values (n,) over all films, or some (n,), of each resample, (r,)."""
    chosen = np.ones(len(values), bool) if among is None else among
    known = np.where(chosen, values.astype(np.float64), 0.0)
    return divide(weights @ known, weights @ chosen.astype(np.float64))


def divide(part: Doubles, whole: Doubles) -> Doubles:
    """Return part / whole, NaN where the whole is nothing."""
    quotient = np.full(part.shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def with_intervals(
    patients: pd.Series,
    measure: Measure,
    resamples: int = RESAMPLES,
    seed: int = 0,
    *,
    shares: Mapping[str, Flags] | None = None,
) -> dict[str, Metric]:
    """Return the value and the 95 % interval of everything that ``measure`` computes.

    Parameters
    ----------
    patients
        (n,), whose film it is.
    measure
        Takes weights (r, n) and returns arrays (r,), NaN where a resample does not allow a figure.
    resamples
        Draws of patients behind each interval, at least 1.
    shares
        Figures that are shares of films, and the films (n,) that they are shares of. Where such a
        share is 0 or 1 every resample repeats it; its interval is then Clopper and Pearson's, as
        if each patient with such a film were one trial.
    """
    point = measure(np.ones((1, len(patients))))
    draws = [measure(weights) for weights in _resampled(patients, resamples, seed)]
    metrics = {}
    for name, (value,) in point.items():
        drawn = np.concatenate([draw[name] for draw in draws])
        drawn = drawn[~np.isnan(drawn)]
        if np.isnan(value):
            metrics[name] = Metric(None, None, None)
        elif not len(drawn):
            metrics[name] = Metric(float(value), None, None)
        else:
            low, high = np.percentile(drawn, (2.5, 97.5))
            metrics[name] = Metric(float(value), float(low), float(high))
    for name, among in (shares or {}).items():
        share = metrics[name].value
        if share in (0.0, 1.0):
            trials = int(patients[among].nunique())
            exact = binomtest(int(share) * trials, trials).proportion_ci(0.95)
            metrics[name] = Metric(share, float(exact.low), float(exact.high))
    return metrics


def _resampled(patients: pd.Series, resamples: int, seed: int) -> Iterator[Doubles]:
    """Yield weights (r, n): how often each film was drawn, with all others of its patient."""
    # Sorted, so that the order of the films changes no interval.
    patient, names = pd.factorize(patients, sort=True, use_na_sentinel=False)
    count = len(names)
    generator = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // max(1, len(patient)))
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = generator.integers(0, max(1, count), (rows, count))
        cells = drawn + count * np.arange(rows)[:, None]
        times = np.bincount(cells.ravel(), minlength=rows * count).reshape(rows, count)
        yield times[:, patient].astype(np.float64)
