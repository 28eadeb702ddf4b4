"""Metrics of screenings with 95 % intervals, resampled by patient.

Films of one patient are not independent, so patients are drawn, each with all of its films (Efron
and Tibshirani, "An Introduction to the Bootstrap", 1993, percentile intervals). A resample that
lacks a class says nothing of a metric that needs it, and is left out of that metric's interval.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from edge_runtime.bundle import LABELS
from edge_runtime.files import write_atomically

CALIBRATION_BINS = 15
RESAMPLES = 1000

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
    hits = int(positive.sum())
    misses = len(positive) - hits
    if not hits or not misses:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def macro_auc(labels: npt.NDArray[np.int32], probabilities: Doubles) -> float:
    """Return the mean of the three one-vs-rest AUCs: labels (n,) 0..2, probabilities (n, 3)."""
    return float(np.mean([auc(labels == k, probabilities[:, k]) for k in range(len(LABELS))]))


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
        One row a film: patient_id, label (missing: unknown), decision, p_no_tumour, p_benign,
        p_malignant (NaN: the film could not be read), dice (NaN: no reference), painted (of films
        without tumour: whether a lesion was marked).
    operating_points
        Each adds NAME.sensitivity, .specificity, .ppv, .npv and .referral_rate. A film that is
        `unable` counts as referred: a person must look at it.

    Returns
    -------
    dict
        Keys as in DESIGN: ``auc_macro`` and so on; ``coverage`` is the share of films that were
        not `unable`.
    """
    known = predictions[predictions["label"].notna()].reset_index(drop=True)
    films = _Films.of(known)

    def measure(rows: npt.NDArray[np.int64]) -> dict[str, float]:
        return _measure(films.take(rows), operating_points)

    return _with_intervals(known["patient_id"].to_numpy(), measure, resamples, seed)


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> Metric:
    """Return auc_macro of ``first`` less that of ``second``, on the same resamples of patients.

    Raises
    ------
    ValueError
        The two do not hold the same films in the same order.
    """
    if not first["image_id"].equals(second["image_id"]):
        raise ValueError("paired predictions must hold the same films in the same order")
    known = first["label"].notna()
    one, two = _Films.of(first[known]), _Films.of(second[known])

    def measure(rows: npt.NDArray[np.int64]) -> dict[str, float]:
        a, b = one.take(rows).readable(), two.take(rows).readable()
        return {"d": macro_auc(a.labels, a.probabilities) - macro_auc(b.labels, b.probabilities)}

    return _with_intervals(first.loc[known, "patient_id"].to_numpy(), measure, resamples, seed)["d"]


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
    unable: Flags
    dice: Doubles
    painted: Doubles

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Films:
        codes = {label: number for number, label in enumerate(LABELS)}
        return cls(
            labels=np.asarray(frame["label"].map(codes), np.int32),
            probabilities=np.asarray(frame[[f"p_{label}" for label in LABELS]], np.float64),
            unable=np.asarray(frame["decision"].eq("unable").fillna(False), bool),
            dice=np.asarray(frame["dice"].astype(float), np.float64),
            painted=np.asarray(frame["painted"].astype(float), np.float64),
        )

    def take(self, rows: npt.NDArray[np.int64] | Flags) -> _Films:
        return _Films(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def readable(self) -> _Films:
        """Return the films that have probabilities."""
        return self.take(~np.isnan(self.probabilities[:, 0]))


def _measure(films: _Films, points: Sequence[Threshold]) -> dict[str, float]:
    read = films.readable()
    labels, probabilities = read.labels, read.probabilities
    tumour, tumour_score = labels > 0, 1.0 - probabilities[:, 0]
    by_class = {
        f"auc_{name}": auc(labels == k, probabilities[:, k]) for k, name in enumerate(LABELS)
    }
    found = {
        "auc_macro": float(np.mean(list(by_class.values()))),
        **by_class,
        "auc_tumour": auc(tumour, tumour_score),
        "accuracy": _mean(probabilities.argmax(axis=1) == labels),
        "dice_tumour": _mean(films.dice[~np.isnan(films.dice)]),
        "false_mask_rate": _mean(films.painted[~np.isnan(films.painted)]),
        "ece": _expected_calibration_error(labels, probabilities),
        "brier": _mean(((probabilities - np.eye(len(LABELS))[labels]) ** 2).sum(axis=1)),
        "spec_at_sens90": _specificity_at(tumour, tumour_score, 0.90),
        "coverage": _mean(~films.unable),
    }
    for point in points:
        found |= _at(point, films)
    return found


def _at(point: Threshold, films: _Films) -> dict[str, float]:
    """Count referrals at an operating point; unreadable films are `unable`, so referred."""
    malignant = point.score == "malignant"
    scores = films.probabilities[:, 2] if malignant else 1.0 - films.probabilities[:, 0]
    positive = films.labels == LABELS.index("malignant") if malignant else films.labels > 0
    referred = films.unable | (np.nan_to_num(scores, nan=1.0) >= point.threshold)
    return {
        f"{point.name}.sensitivity": _mean(referred[positive]),
        f"{point.name}.specificity": _mean(~referred[~positive]),
        f"{point.name}.ppv": _mean(positive[referred]),
        f"{point.name}.npv": _mean(~positive[~referred]),
        f"{point.name}.referral_rate": _mean(referred),
    }


def _specificity_at(positive: Flags, score: Doubles, sensitivity: float) -> float:
    """Return the best specificity of any threshold that finds enough of the positives."""
    hits = np.sort(score[positive])[::-1]
    if not len(hits) or positive.all():
        return float("nan")
    threshold = hits[int(np.ceil(sensitivity * len(hits) - 1e-9)) - 1]
    return float((score[~positive] < threshold).mean())


def _expected_calibration_error(labels: npt.NDArray[np.int32], probabilities: Doubles) -> float:
    """Return the mean gap between confidence and accuracy of the top class.

    In bins of equal numbers of films, as equal widths leave most bins empty: Nixon et al.,
    "Measuring calibration in deep learning", 2019.
    """
    if not len(labels):
        return float("nan")
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(CALIBRATION_BINS, len(order)))
    return float(sum(abs(confidence[b].sum() - right[b].sum()) for b in bins) / len(labels))


def _mean(values: npt.NDArray[np.generic]) -> float:
    return float(np.mean(values.astype(np.float64))) if len(values) else float("nan")


def _with_intervals(
    patients: npt.NDArray[np.generic],
    measure: Callable[[npt.NDArray[np.int64]], dict[str, float]],
    resamples: int,
    seed: int,
) -> dict[str, Metric]:
    point = measure(np.arange(len(patients)))
    order = np.argsort(patients, kind="stable")
    groups = np.split(order, np.flatnonzero(patients[order][1:] != patients[order][:-1]) + 1)
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        chosen = generator.integers(0, len(groups), len(groups))
        draws.append(measure(np.concatenate([groups[number] for number in chosen])))
    metrics = {}
    for name, value in point.items():
        drawn = np.array([draw[name] for draw in draws])
        drawn = drawn[~np.isnan(drawn)]
        if np.isnan(value) or not len(drawn):
            metrics[name] = Metric(None, None, None)
            continue
        low, high = np.percentile(drawn, (2.5, 97.5))
        metrics[name] = Metric(value, float(low), float(high))
    return metrics
