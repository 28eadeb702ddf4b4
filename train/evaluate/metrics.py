"""Metrics of screenings with 95 % intervals, resampled by patient.

Films of one patient are not independent, so patients are drawn, each with all of its films (Efron
and Tibshirani, "An Introduction to the Bootstrap", 1993, percentile intervals). A resample that
lacks a class says nothing of a metric that needs it, and is left out of that metric's interval.

A resample is a row of weights: how often each film was drawn. Metrics are computed from weights
(r, n), for r resamples at once; the value itself is the row in which each film counts once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import LABELS
from edge_runtime.files import write_atomically

CALIBRATION_BINS = 15
RESAMPLES = 1000
# Resamples go in batches whose arrays, 0.8 MB each, stay in a processor's cache.
_WEIGHTS_AT_ONCE = 100_000

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Metric:
    """A figure and its 95 % interval; None where the films do not allow one."""

    value: float | None
    low: float | None
    high: float | None


class Threshold(Protocol):
    """What a metric needs to know of an operating point."""

    @property
    def name(self) -> str:
        """Return the point's name."""

    @property
    def score(self) -> Literal["tumour", "malignant"]:
        """Return the probability that it cuts."""

    @property
    def threshold(self) -> float:
        """Return the least probability that refers a film."""


def auc(positive: Flags, score: Doubles) -> float:
    """Return the area under the ROC curve, ties counted half; NaN where one class is absent.

    Mann and Whitney's U: Hanley and McNeil, Radiology 143:29, 1982.
    """
    return float(_areas(positive, score, np.ones((1, len(score))))[0])


def macro_auc(labels: npt.NDArray[np.int32], probabilities: Doubles) -> float:
    """Return the mean of the three one-vs-rest AUCs: labels (n,) 0..2, probabilities (n, 3)."""
    return float(_macro(_class_areas(labels, probabilities, np.ones((1, len(labels)))))[0])


def evaluate(
    predictions: pd.DataFrame,
    operating_points: Sequence[Threshold],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Metric]:
    """Compute every metric of `metrics.json`.

    Parameters
    ----------
    predictions
        One row a film: patient_id, label (missing: unknown, left out), decision (missing: the
        model makes none), p_no_tumour, p_benign, p_malignant (NaN: the film could not be read),
        dice (NaN: no reference), painted (of films without tumour: whether a lesion was marked).
    operating_points
        Each adds NAME.sensitivity, .specificity, .ppv, .npv and .referral_rate. A film that is
        `unable` counts as referred: a person must look at it.
    resamples
        Draws of patients behind each interval, at least 1.

    Returns
    -------
    dict
        Over films with probabilities, `unable` or not: auc_no_tumour, auc_benign and auc_malignant
        (that class against the rest), auc_macro (their mean), auc_tumour (1 - p_no_tumour, tumour
        or none), accuracy (of the most probable class), ece (expected calibration error of the
        most probable class, 15 bins of equal mass), brier (squares summed over the classes, 0..2),
        spec_at_sens90 (best specificity of a threshold with a sensitivity of at least 0.90, tumour
        or none). Over films that have them: dice_tumour, false_mask_rate. coverage: the share of
        films that are not `unable`. All but brier are 0..1.

        Every key is always there; a value is None where the films do not allow one. Resampling
        adds noise that ece cannot tell from miscalibration: its interval leans upward, and may lie
        wholly above its value where the model is well calibrated.
    """
    known = predictions[predictions["label"].notna()]
    films = _Films.of(known)

    def measure(weights: Doubles) -> dict[str, Doubles]:
        return _measure(films, weights, operating_points)

    return _with_intervals(known["patient_id"], measure, resamples, seed)


def tumour_auc(predictions: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> Metric:
    """Return auc_tumour alone, over the labelled films with probabilities."""
    read = predictions[predictions["label"].notna() & predictions["p_no_tumour"].notna()]
    films = _Films.of(read)

    def measure(weights: Doubles) -> dict[str, Doubles]:
        return {"auc": _areas(films.labels > 0, films.tumour_score, weights)}

    return _with_intervals(read["patient_id"], measure, resamples, seed)["auc"]


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> Metric:
    """Return auc_macro of ``first`` less that of ``second``, on the same resamples of patients.

    Over the films to which both give probabilities.

    Raises
    ------
    ValueError
        The two do not hold the same films, patients and labels in the same order.
    """
    keys = ["image_id", "patient_id", "label"]
    one, two = first.reset_index(drop=True), second.reset_index(drop=True)
    if not one[keys].equals(two[keys]):
        raise ValueError("paired predictions must hold the same films in the same order")
    shared = one["label"].notna() & one["p_no_tumour"].notna() & two["p_no_tumour"].notna()
    pair = (_Films.of(one[shared]), _Films.of(two[shared]))

    def measure(weights: Doubles) -> dict[str, Doubles]:
        a, b = (_macro(_class_areas(f.labels, f.probabilities, weights)) for f in pair)
        return {"difference": a - b}

    return _with_intervals(one.loc[shared, "patient_id"], measure, resamples, seed)["difference"]


def write_metrics(
    path: Path,
    *,
    predictions: pd.DataFrame,
    metrics: Mapping[str, Metric],
    bundle: str,
    dataset: str,
    where: str | None,
) -> None:
    """Write `metrics.json` atomically."""
    unlabelled = predictions["label"].isna()
    document = {
        "n": int((~unlabelled).sum()),
        "patients": int(predictions.loc[~unlabelled, "patient_id"].nunique()),
        "unlabelled": int(unlabelled.sum()),
        "bundle": bundle,
        "dataset": dataset,
        "where": where,
        "metrics": {name: asdict(metric) for name, metric in metrics.items()},
    }
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())


@dataclass(frozen=True)
class _Films:
    """The columns that metrics need, as arrays of one length."""

    labels: npt.NDArray[np.int32]
    probabilities: Doubles
    decided: Flags
    unable: Flags
    dice: Doubles
    painted: Doubles

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Films:
        codes = {label: number for number, label in enumerate(LABELS)}
        return cls(
            labels=np.asarray(frame["label"].map(codes), np.int32),
            probabilities=np.asarray(frame[[f"p_{label}" for label in LABELS]], np.float64),
            decided=np.asarray(frame["decision"].notna(), bool),
            unable=np.asarray(frame["decision"].eq("unable").fillna(False), bool),
            dice=np.asarray(frame["dice"].astype(float), np.float64),
            painted=np.asarray(frame["painted"].astype(float), np.float64),
        )

    @property
    def tumour_score(self) -> Doubles:
        return 1.0 - self.probabilities[:, 0]


@dataclass(frozen=True)
class _Ranking:
    """Films by falling score. Films of equal score are one step: no order may part them."""

    order: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]

    @classmethod
    def of(cls, score: Doubles) -> _Ranking:
        order = np.argsort(-score, kind="stable")
        return cls(order, np.flatnonzero(np.diff(-score[order], prepend=-np.inf)))

    def steps(self, weights: Doubles) -> Doubles:
        """Sum weights (r, n) by step: (r, steps)."""
        sums: Doubles = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        return sums


def _measure(films: _Films, weights: Doubles, points: Sequence[Threshold]) -> dict[str, Doubles]:
    readable = ~np.isnan(films.probabilities[:, 0])
    labels, probabilities = films.labels[readable], films.probabilities[readable]
    tumour, tumour_score = labels > 0, films.tumour_score[readable]
    read = weights[:, readable]
    by_class = _class_areas(labels, probabilities, read)
    squares = ((probabilities - np.eye(len(LABELS))[labels]) ** 2).sum(axis=1)
    found = {
        "auc_macro": _macro(by_class),
        **{f"auc_{name}": areas for name, areas in zip(LABELS, by_class, strict=True)},
        "auc_tumour": _areas(tumour, tumour_score, read),
        "accuracy": _mean(read, probabilities.argmax(axis=1) == labels),
        "dice_tumour": _mean(weights, films.dice, ~np.isnan(films.dice)),
        "false_mask_rate": _mean(weights, films.painted, ~np.isnan(films.painted)),
        "ece": _calibration_error(labels, probabilities, read),
        "brier": _mean(read, squares),
        "spec_at_sens90": _specificity_at(0.90, tumour, tumour_score, read),
        "coverage": _mean(weights, ~films.unable, films.decided),
    }
    for point in points:
        found |= _at(point, films, weights)
    return found


def _at(point: Threshold, films: _Films, weights: Doubles) -> dict[str, Doubles]:
    """Count referrals at an operating point; unreadable films are `unable`, so referred."""
    malignant = point.score == "malignant"
    scores = films.probabilities[:, 2] if malignant else films.tumour_score
    positive = films.labels == LABELS.index("malignant") if malignant else films.labels > 0
    referred = films.unable | (np.nan_to_num(scores, nan=1.0) >= point.threshold)
    return {
        f"{point.name}.sensitivity": _mean(weights, referred, positive),
        f"{point.name}.specificity": _mean(weights, ~referred, ~positive),
        f"{point.name}.ppv": _mean(weights, positive, referred),
        f"{point.name}.npv": _mean(weights, ~positive, ~referred),
        f"{point.name}.referral_rate": _mean(weights, referred),
    }


def _areas(positive: Flags, score: Doubles, weights: Doubles) -> Doubles:
    """Return the AUC of each resample, (r,)."""
    ranking = _Ranking.of(score)
    hits, misses = ranking.steps(weights * positive), ranking.steps(weights * ~positive)
    # Pairs of a hit and a miss in which the hit scores higher, or, counted half, the same.
    won = ((hits.cumsum(axis=1) - hits / 2) * misses).sum(axis=1)
    return _divide(won, hits.sum(axis=1) * misses.sum(axis=1))


def _class_areas(
    labels: npt.NDArray[np.int32], probabilities: Doubles, weights: Doubles
) -> list[Doubles]:
    return [_areas(labels == k, probabilities[:, k], weights) for k in range(len(LABELS))]


def _macro(by_class: list[Doubles]) -> Doubles:
    return np.asarray(np.mean(by_class, axis=0), np.float64)


def _specificity_at(
    sensitivity: float, positive: Flags, score: Doubles, weights: Doubles
) -> Doubles:
    """Return the best specificity of any threshold that finds enough of the positives."""
    ranking = _Ranking.of(score)
    hits, misses = ranking.steps(weights * positive), ranking.steps(weights * ~positive)
    wanted = sensitivity * hits.sum(axis=1, keepdims=True)
    # Weights are whole numbers; the slack undoes the rounding of the product.
    enough = (wanted > 0) & (hits.cumsum(axis=1) >= wanted - 1e-9)
    flagged = np.where(enough, misses.cumsum(axis=1), np.nan)
    return 1.0 - _divide(np.fmin.reduce(flagged, axis=1, initial=np.nan), misses.sum(axis=1))


def _calibration_error(
    labels: npt.NDArray[np.int32], probabilities: Doubles, weights: Doubles
) -> Doubles:
    """Return the mean gap between confidence and accuracy of the most probable class.

    In bins of equal mass, as equal widths leave most bins empty: Nixon et al., "Measuring
    calibration in deep learning", 2019. Films of equal confidence share the bin in which the
    middle of them lies, so the order of the films changes nothing.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    ranking = _Ranking.of(confidence)
    mass, gaps = ranking.steps(weights), ranking.steps(weights * (confidence - right))
    total = mass.sum(axis=1)
    share = (mass.cumsum(axis=1) - mass / 2) / np.maximum(total, 1)[:, None]
    # A share of 1 belongs to a last step that was not drawn; it weighs nothing in any bin.
    bins = np.minimum((CALIBRATION_BINS * share).astype(np.intp), CALIBRATION_BINS - 1)
    cells = bins + CALIBRATION_BINS * np.arange(len(weights))[:, None]
    sums = np.bincount(cells.ravel(), gaps.ravel(), CALIBRATION_BINS * len(weights))
    return _divide(np.abs(sums).reshape(-1, CALIBRATION_BINS).sum(axis=1), total)


def _mean(weights: Doubles, values: npt.NDArray[np.generic], among: Flags | None = None) -> Doubles:
    """Return the mean of values (n,) over all films, or some (n,), of each resample, (r,)."""
    chosen = np.ones(len(values), bool) if among is None else among
    known = np.where(chosen, values.astype(np.float64), 0.0)
    return _divide(weights @ known, weights @ chosen.astype(np.float64))


def _divide(part: Doubles, whole: Doubles) -> Doubles:
    """Return part / whole, NaN where the whole is nothing."""
    quotient = np.full(part.shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def _with_intervals(
    patients: pd.Series,
    measure: Callable[[Doubles], dict[str, Doubles]],
    resamples: int,
    seed: int,
) -> dict[str, Metric]:
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
