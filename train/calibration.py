"""Thresholds from outputs and labels: of the int8 file, or of a float network.

Export fits them on the file that ships; evaluation fits them on a run's float network, so that both
stand in one table with thresholds that neither took from the films of the table.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

from edge_runtime import decision
from edge_runtime.bundle import LABELS, Action, Interval, Level, OperatingPoint, ScoreName
from train.config import ExportConfig

# Even steps of the odds: lesions are a few per cent of a film, and so are the probabilities.
_MASK_THRESHOLDS = 1.0 / (1.0 + np.exp(-np.linspace(-4.0, 2.0, 25)))

Doubles = npt.NDArray[np.float64]


def operating_points(
    probabilities: Doubles, labels: npt.NDArray[np.int32], config: ExportConfig
) -> tuple[OperatingPoint, ...]:
    """Return the two points of films: `malignant` asks for urgent, `tumour` for routine review.

    Parameters
    ----------
    probabilities
        (n, 3), calibrated.
    labels
        (n,), 0..2, all known.
    """
    return tuple(
        operating_point(
            score, score, "image", action, target, decision.score(probabilities, score), found
        )
        for score, action, target, found in _asked(labels, config)
    )


def study_points(
    probabilities: Doubles,
    labels: npt.NDArray[np.int32],
    studies: npt.NDArray[np.object_],
    config: ExportConfig,
) -> tuple[OperatingPoint, ...]:
    """Return the same two points of studies: several films, one question for the clinician.

    A study's label is its worst film's, its score :func:`edge_runtime.decision.study_score`.

    Parameters
    ----------
    studies
        (n,), what each film belongs to.
    """
    films = list(pd.Series(labels).groupby(studies).indices.values())
    worst = np.array([labels[of].max() for of in films], np.int32)
    points = []
    for score, action, target, found in _asked(worst, config):
        own = decision.score(probabilities, score)
        scores = np.array([decision.study_score(own[of]) for of in films])
        points.append(
            operating_point(f"study_{score}", score, "study", action, target, scores, found)
        )
    return tuple(points)


def _asked(
    labels: npt.NDArray[np.int32], config: ExportConfig
) -> tuple[tuple[ScoreName, Action, float, npt.NDArray[np.bool_]], ...]:
    malignant = labels == LABELS.index("malignant")
    return (
        ("malignant", "urgent_review", config.malignant_sensitivity, malignant),
        ("tumour", "routine_review", config.tumour_sensitivity, labels > 0),
    )


def operating_point(
    name: str,
    score: ScoreName,
    level: Level,
    action: Action,
    target: float,
    scores: Doubles,
    positive: npt.NDArray[np.bool_],
) -> OperatingPoint:
    """Return the highest threshold at which at least ``target`` of the positives are found.

    Intervals are Clopper and Pearson's, of films or studies; they hold for films like these.

    Parameters
    ----------
    scores, positive
        (n,).
    """
    ranked = np.sort(scores[positive])
    missed = int(np.floor((1.0 - target) * len(ranked) + 1e-9))
    # A little below the score itself: a manifest is text, and must not lose the film to rounding.
    threshold = float(np.floor(ranked[missed] * 1e6) / 1e6)
    reached = scores >= threshold
    return OperatingPoint(
        name=name,
        score=score,
        level=level,
        action=action,
        threshold=threshold,
        target=f"sensitivity at least {target:.2f}",
        positives=int(positive.sum()),
        negatives=int((~positive).sum()),
        sensitivity=_share(int((reached & positive).sum()), int(positive.sum())),
        specificity=_share(int((~reached & ~positive).sum()), int((~positive).sum())),
    )


def fit_mask_threshold(
    probability: npt.NDArray[np.float32],
    masks: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int32],
    max_false: float,
) -> float:
    """Return the lesion probability from which a cell is marked.

    The one at which marks fit tumours best (mean Dice) among those that leave enough of the
    tumour-free films without any mark.

    Parameters
    ----------
    probability
        (n, rows, columns), 0..1.
    masks
        (n, k * rows, k * columns), lesion coverage 0..255.
    labels
        (n,), 0..2.
    max_false
        Share of tumour-free films that may be marked, 0..1. Where no threshold is high enough for
        it, the highest is taken.
    """
    rows, columns = masks.shape[1] // probability.shape[1], masks.shape[2] // probability.shape[2]
    tumour = labels > 0
    reference = masks[tumour] > 127
    reference_area = reference.sum(axis=(1, 2))

    def false_masks(threshold: float) -> float:
        marked = [decision.lesion_mask(film, threshold).any() for film in probability[~tumour]]
        return float(np.mean(marked)) if marked else 0.0

    def mean_dice(threshold: float) -> float:
        dice = []
        for film, truth, area in zip(probability[tumour], reference, reference_area, strict=True):
            marked = decision.lesion_mask(film, threshold).repeat(rows, 0).repeat(columns, 1)
            dice.append(2.0 * (marked & truth).sum() / max(int(marked.sum() + area), 1))
        return float(np.mean(dice))

    allowed = [t for t in _MASK_THRESHOLDS if false_masks(t) <= max_false]
    return float(max(allowed or _MASK_THRESHOLDS[-1:], key=mean_dice))


def _share(hits: int, of: int) -> Interval:
    interval = binomtest(hits, of).proportion_ci(0.95)
    return Interval(value=hits / of, low=float(interval.low), high=float(interval.high))
