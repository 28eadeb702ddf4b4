"""Metrics of screenings with 95 % intervals, resampled by patient: see :mod:`resampling`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import LABELS
from edge_runtime.files import write_atomically
from train.evaluate.resampling import (
    RESAMPLES,
    Doubles,
    Flags,
    Metric,
    Ranking,
    divide,
    mean,
    with_intervals,
)

CALIBRATION_BINS = 15
REFERRALS = ("urgent_review", "routine_review", "unable")


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


@dataclass(frozen=True)
class Films:
    """The columns that metrics need, as arrays of one length.

    Attributes
    ----------
    labels
        0..2, no_tumour, benign, malignant.
    tumour_score
        Rises with suspicion: 1 - p_no_tumour, or a reader's own score; NaN where there is none.
    decided, referred, unable
        Whether the film has a decision, whether it is one for a person, whether it is `unable`.
    """

    labels: npt.NDArray[np.int32]
    probabilities: Doubles
    tumour_score: Doubles
    decided: Flags
    referred: Flags
    unable: Flags
    dice: Doubles
    iou: Doubles
    hd95: Doubles
    painted: Doubles

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Films:
        """Take the films of a table of predictions, all of whose labels are known."""
        codes = {label: number for number, label in enumerate(LABELS)}
        return cls(
            labels=np.asarray(frame["label"].map(codes), np.int32),
            probabilities=np.asarray(frame[[f"p_{label}" for label in LABELS]], np.float64),
            tumour_score=tumour_score(frame),
            decided=np.asarray(frame["decision"].notna(), bool),
            referred=np.asarray(frame["decision"].isin(REFERRALS), bool),
            unable=np.asarray(frame["decision"].eq("unable").fillna(False), bool),
            dice=_column(frame, "dice"),
            iou=_column(frame, "iou"),
            hd95=_column(frame, "hd95"),
            painted=_column(frame, "painted"),
        )


def tumour_score(frame: pd.DataFrame) -> Doubles:
    """Return what ranks the films of a table by suspicion of a tumour, (n,), NaN for none."""
    score = 1.0 - np.asarray(frame["p_no_tumour"], np.float64)
    own = _column(frame, "score")
    return np.where(np.isnan(own), score, own)


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
    """Compute the metrics of `metrics.json` that are sums over films.

    Parameters
    ----------
    predictions
        One row a film: patient_id, label (missing: unknown, left out), decision (missing: the
        model makes none), p_no_tumour, p_benign, p_malignant (NaN: the film could not be read, or
        the model gives none), score (optional: a reader's, in place of 1 - p_no_tumour), dice, iou,
        hd95 (NaN: no reference), painted (of films without tumour: whether a lesion was marked).
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
        or none). Over films that have them: dice_tumour, iou_tumour, hd95_tumour (pixels of the
        256 grid), marked_rate (of tumours with a reference, those on which anything was marked),
        false_mask_rate. coverage: the share of films that are not `unable`. benign_referred and
        malignant_referred: the share of such tumours that a person is asked to look at.
        Over films with a decision: referred.sensitivity and so on, of the decision itself. All but
        brier and hd95_tumour are 0..1.

        Every key is always there; a value is None where the films do not allow one. Resampling
        adds noise that ece cannot tell from miscalibration: its interval leans upward, and may lie
        wholly above its value where the model is well calibrated.
    """
    known = predictions[predictions["label"].notna()]
    films = Films.of(known)

    def measure(weights: Doubles) -> dict[str, Doubles]:
        return _measure(films, weights, operating_points)

    shares = {
        "marked_rate": ~np.isnan(films.dice),
        "false_mask_rate": ~np.isnan(films.painted),
        "coverage": films.decided,
        "benign_referred": films.decided & (films.labels == 1),
        "malignant_referred": films.decided & (films.labels == 2),
        **denominators("referred", films.labels > 0, films.referred, films.decided),
    }
    for point in operating_points:
        positive, referred = at_point(point, films)
        shares |= denominators(point.name, positive, referred, np.ones(len(known), bool))
    return with_intervals(known["patient_id"], measure, resamples, seed, shares=shares)


def tumour_auc(predictions: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> Metric:
    """Return auc_tumour alone, over the labelled films with a score."""
    read = predictions[predictions["label"].notna() & ~np.isnan(tumour_score(predictions))]
    films = Films.of(read)

    def measure(weights: Doubles) -> dict[str, Doubles]:
        return {"auc": _areas(films.labels > 0, films.tumour_score, weights)}

    return with_intervals(read["patient_id"], measure, resamples, seed)["auc"]


def discrimination(predictions: pd.DataFrame, *, resamples: int = RESAMPLES) -> dict[str, Metric]:
    """Return auc_macro and auc_tumour alone, as :func:`evaluate` does."""
    known = predictions[predictions["label"].notna()]
    films = Films.of(known)
    readable, scored = ~np.isnan(films.probabilities[:, 0]), ~np.isnan(films.tumour_score)

    def measure(weights: Doubles) -> dict[str, Doubles]:
        by_class = _class_areas(
            films.labels[readable], films.probabilities[readable], weights[:, readable]
        )
        tumour, score = films.labels[scored] > 0, films.tumour_score[scored]
        return {
            "auc_macro": _macro(by_class),
            "auc_tumour": _areas(tumour, score, weights[:, scored]),
        }

    return with_intervals(known["patient_id"], measure, resamples)


def calibration(predictions: pd.DataFrame, *, resamples: int = RESAMPLES) -> dict[str, Metric]:
    """Return ece and brier alone, as :func:`evaluate` does."""
    read = predictions[predictions["label"].notna() & predictions["p_no_tumour"].notna()]
    films = Films.of(read)

    def measure(weights: Doubles) -> dict[str, Doubles]:
        return _calibration(films.labels, films.probabilities, weights)

    return with_intervals(read["patient_id"], measure, resamples)


def paired_differences(
    first: pd.DataFrame, second: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Metric]:
    """Return auc_macro and auc_tumour of ``first`` less ``second``, on the same resamples.

    Over the films to which both give probabilities.

    Raises
    ------
    ValueError
        The two do not hold the same films, patients and labels in the same order.
    """
    one, two = same_films(first, second)
    shared = one["p_no_tumour"].notna() & two["p_no_tumour"].notna()
    pair = (Films.of(one[shared]), Films.of(two[shared]))

    def measure(weights: Doubles) -> dict[str, Doubles]:
        macro = [_macro(_class_areas(f.labels, f.probabilities, weights)) for f in pair]
        tumour = [_areas(f.labels > 0, f.tumour_score, weights) for f in pair]
        return {"auc_macro": macro[0] - macro[1], "auc_tumour": tumour[0] - tumour[1]}

    return with_intervals(one.loc[shared, "patient_id"], measure, resamples, seed)


def all_differences(
    first: pd.DataFrame,
    second: pd.DataFrame,
    points: tuple[Sequence[Threshold], Sequence[Threshold]],
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Metric]:
    """Return every metric of :func:`evaluate` of ``first`` less ``second``, on the same resamples.

    ``points`` are the operating points of the first and of the second, alike in number and name.

    Raises
    ------
    ValueError
        The two do not hold the same films, patients and labels in the same order.
    """
    pair = same_films(first, second)
    films = [Films.of(frame) for frame in pair]

    def measure(weights: Doubles) -> dict[str, Doubles]:
        one, two = (_measure(f, weights, p) for f, p in zip(films, points, strict=True))
        return {name: one[name] - two[name] for name in one}

    return with_intervals(pair[0]["patient_id"], measure, resamples)


def same_films(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the labelled films of two tables of predictions, row by row the same.

    Raises
    ------
    ValueError
        The two do not hold the same films, patients and labels in the same order.
    """
    keys = ["image_id", "patient_id", "label"]
    one, two = first.reset_index(drop=True), second.reset_index(drop=True)
    if not one[keys].equals(two[keys]):
        raise ValueError("paired predictions must hold the same films in the same order")
    return one[one["label"].notna()], two[two["label"].notna()]


def rates(
    name: str, positive: Flags, referred: Flags, among: Flags, weights: Doubles
) -> dict[str, Doubles]:
    """Return NAME.sensitivity, .specificity, .ppv, .npv and .referral_rate of each resample.

    Parameters
    ----------
    positive, referred, among
        (n,): what is to be found, what a person is to look at, and the films that count.
    """
    right = (referred, ~referred, positive, ~positive, referred)
    films = denominators(name, positive, referred, among)
    return {key: mean(weights, r, of) for r, (key, of) in zip(right, films.items(), strict=True)}


def denominators(name: str, positive: Flags, referred: Flags, among: Flags) -> dict[str, Flags]:
    """Return the films (n,) that each of :func:`rates` is a share of, by name."""
    return {
        f"{name}.sensitivity": positive & among,
        f"{name}.specificity": ~positive & among,
        f"{name}.ppv": referred & among,
        f"{name}.npv": ~referred & among,
        f"{name}.referral_rate": among,
    }


def at_point(point: Threshold, films: Films) -> tuple[Flags, Flags]:
    """Return what an operating point is to find, and what it refers, (n,) each.

    Unreadable films are `unable`, so referred.
    """
    malignant = point.score == "malignant"
    scores = films.probabilities[:, 2] if malignant else films.tumour_score
    positive = films.labels == LABELS.index("malignant") if malignant else films.labels > 0
    return positive, films.unable | (np.nan_to_num(scores, nan=1.0) >= point.threshold)


def write_metrics(
    path: Path,
    *,
    predictions: pd.DataFrame,
    metrics: Mapping[str, Metric],
    bundle: str,
    dataset: str,
    where: str | None,
    sections: Mapping[str, Any] | None = None,
) -> None:
    """Write `metrics.json` atomically.

    Parameters
    ----------
    sections
        What stands beside the metrics, each under its own key, as JSON takes it.
    """
    unlabelled = predictions["label"].isna()
    document = {
        "n": int((~unlabelled).sum()),
        "patients": int(predictions.loc[~unlabelled, "patient_id"].nunique()),
        "unlabelled": int(unlabelled.sum()),
        "bundle": bundle,
        "dataset": dataset,
        "where": where,
        "metrics": {name: asdict(metric) for name, metric in metrics.items()},
        **(sections or {}),
    }
    write_atomically(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def _column(frame: pd.DataFrame, name: str) -> Doubles:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return np.asarray(frame[name].astype(float), np.float64)


def _measure(films: Films, weights: Doubles, points: Sequence[Threshold]) -> dict[str, Doubles]:
    readable = ~np.isnan(films.probabilities[:, 0])
    labels, probabilities = films.labels[readable], films.probabilities[readable]
    read = weights[:, readable]
    by_class = _class_areas(labels, probabilities, read)
    scored = ~np.isnan(films.tumour_score)
    tumour, score = films.labels[scored] > 0, films.tumour_score[scored]
    found = {
        "auc_macro": _macro(by_class),
        **{f"auc_{name}": areas for name, areas in zip(LABELS, by_class, strict=True)},
        "auc_tumour": _areas(tumour, score, weights[:, scored]),
        "accuracy": mean(read, probabilities.argmax(axis=1) == labels),
        "dice_tumour": mean(weights, films.dice, ~np.isnan(films.dice)),
        "iou_tumour": mean(weights, films.iou, ~np.isnan(films.iou)),
        "hd95_tumour": mean(weights, films.hd95, ~np.isnan(films.hd95)),
        # A film on which nothing is marked has no distance, and would flatter hd95 in silence.
        "marked_rate": mean(weights, ~np.isnan(films.hd95), ~np.isnan(films.dice)),
        "false_mask_rate": mean(weights, films.painted, ~np.isnan(films.painted)),
        **_calibration(labels, probabilities, read),
        "spec_at_sens90": _specificity_at(0.90, tumour, score, weights[:, scored]),
        "coverage": mean(weights, ~films.unable, films.decided),
        "benign_referred": mean(weights, films.referred, films.decided & (films.labels == 1)),
        "malignant_referred": mean(weights, films.referred, films.decided & (films.labels == 2)),
        **rates("referred", films.labels > 0, films.referred, films.decided, weights),
    }
    for point in points:
        found |= rates(
            point.name, *at_point(point, films), np.ones(len(films.labels), bool), weights
        )
    return found


def _areas(positive: Flags, score: Doubles, weights: Doubles) -> Doubles:
    """Return the AUC of each resample, (r,)."""
    ranking = Ranking.of(score)
    hits, misses = ranking.steps(weights * positive), ranking.steps(weights * ~positive)
    # Pairs of a hit and a miss in which the hit scores higher, or, counted half, the same.
    won = ((hits.cumsum(axis=1) - hits / 2) * misses).sum(axis=1)
    return divide(won, hits.sum(axis=1) * misses.sum(axis=1))


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
    ranking = Ranking.of(score)
    hits, misses = ranking.steps(weights * positive), ranking.steps(weights * ~positive)
    wanted = sensitivity * hits.sum(axis=1, keepdims=True)
    # Weights are whole numbers; the slack undoes the rounding of the product.
    enough = (wanted > 0) & (hits.cumsum(axis=1) >= wanted - 1e-9)
    flagged = np.where(enough, misses.cumsum(axis=1), np.nan)
    return 1.0 - divide(np.fmin.reduce(flagged, axis=1, initial=np.nan), misses.sum(axis=1))


def _calibration(
    labels: npt.NDArray[np.int32], probabilities: Doubles, weights: Doubles
) -> dict[str, Doubles]:
    squares = ((probabilities - np.eye(len(LABELS))[labels]) ** 2).sum(axis=1)
    return {
        "ece": _calibration_error(labels, probabilities, weights),
        "brier": mean(weights, squares),
    }


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
    ranking = Ranking.of(confidence)
    mass, gaps = ranking.steps(weights), ranking.steps(weights * (confidence - right))
    total = mass.sum(axis=1)
    share = (mass.cumsum(axis=1) - mass / 2) / np.maximum(total, 1)[:, None]
    # A share of 1 belongs to a last step that was not drawn; it weighs nothing in any bin.
    bins = np.minimum((CALIBRATION_BINS * share).astype(np.intp), CALIBRATION_BINS - 1)
    cells = bins + CALIBRATION_BINS * np.arange(len(weights))[:, None]
    sums = np.bincount(cells.ravel(), gaps.ravel(), CALIBRATION_BINS * len(weights))
    return divide(np.abs(sums).reshape(-1, CALIBRATION_BINS).sum(axis=1), total)
