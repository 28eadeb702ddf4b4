"""From the model's int8 outputs to probabilities, a decision and lesions: arithmetic only.

Export fits the calibration with these very functions, so that what was measured on the workstation
is what the device does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import LABELS, ConformalQuantile, Fusion, OperatingPoint, ScoreName
from edge_runtime.phrases import Phrase
from edge_runtime.preprocess import InputSpec, Placement

Decision = Literal["urgent_review", "routine_review", "not_flagged", "unable"]
FloatArray = npt.NDArray[np.float32]
_SCORES: tuple[ScoreName, ...] = get_args(ScoreName)

# A lesion smaller than this share of the network's input is a speck of the decoder.
MIN_LESION_FRACTION = 0.0004


class Evidence(NamedTuple):
    """What the heads say of a film, or of several (...).

    `classes` (..., 3): class logits. `lesion` (...): log odds of a lesion anywhere, 0 without a
    head of masks. `malignancy` (...): log odds of malignant against benign subtypes, 0 without a
    head of subtypes.
    """

    classes: FloatArray
    lesion: FloatArray
    malignancy: FloatArray


def average_mirrored(
    outputs: Mapping[str, FloatArray], mirrored: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Return the mean of a film's outputs and of those of the film mirrored left to right.

    Maps (..., rows, columns, channels). Errors that depend on the side average out.
    """
    averaged = {}
    for head, output in outputs.items():
        averaged[head] = output + mirrored[head][..., ::-1, :]
        # In place: these are the largest arrays after the network.
        averaged[head] *= np.float32(0.5)
    return averaged


def logits_from_cam(cam: FloatArray) -> FloatArray:
    """Return class logits (..., 3) as the mean of class-activation maps (..., rows, columns, 3).

    The mean is taken here, in float: an int8 logit has 256 levels, the mean of 49 int8 values has
    thousands, and keeps the ranking of the float model.
    """
    return np.asarray(cam.mean(axis=(-3, -2), dtype=np.float32))


def lesion_evidence(mask_logits: FloatArray) -> FloatArray:
    """Return how much of a lesion the mask head sees, (...), of mask logits (..., rows, columns).

    The log of the mean odds over all cells: a maximum that notices the second best, too.
    """
    peak = mask_logits.max(axis=(-2, -1), keepdims=True)
    odds = np.exp(mask_logits - peak).mean(axis=(-2, -1), dtype=np.float32)
    return np.asarray(np.log(odds) + peak[..., 0, 0], np.float32)


def subtype_logits(subtype: FloatArray, mask_logits: FloatArray) -> FloatArray:
    """Return logits of the subtypes (..., s): their map's mean where the mask head sees a lesion.

    Parameters
    ----------
    subtype
        (..., rows, columns, s), activation map.
    mask_logits
        (..., k * rows, k * columns).
    """
    rows, columns = subtype.shape[-3:-1]
    seen = mask_probability(mask_logits)
    cells = seen.reshape(*seen.shape[:-2], rows, seen.shape[-2] // rows, columns, -1)
    weights = cells.mean(axis=(-3, -1))
    total = weights.sum(axis=(-2, -1))[..., np.newaxis]
    return np.asarray((subtype * weights[..., np.newaxis]).sum(axis=(-3, -2)) / total, np.float32)


def weigh(outputs: Mapping[str, FloatArray], malignant_subtypes: Sequence[int]) -> Evidence:
    """Return the evidence of a network's real outputs.

    Parameters
    ----------
    outputs
        `cam` (..., rows, columns, 3), where there is one `mask` (..., k * rows, k * columns, 1)
        and, if any of its channels is in ``malignant_subtypes``, `subtype` (..., rows, columns, s).
    """
    classes = logits_from_cam(outputs["cam"])
    mask = outputs.get("mask")
    lesion = np.zeros_like(classes[..., 0]) if mask is None else lesion_evidence(mask[..., 0])
    malignancy = np.zeros(lesion.shape, np.float32)
    if malignant_subtypes:
        logits = subtype_logits(outputs["subtype"], outputs["mask"][..., 0])
        malignant = np.zeros(logits.shape[-1], bool)
        malignant[list(malignant_subtypes)] = True
        malignancy = np.asarray(
            np.logaddexp.reduce(logits[..., malignant], axis=-1)
            - np.logaddexp.reduce(logits[..., ~malignant], axis=-1),
            np.float32,
        )
    return Evidence(classes, lesion, malignancy)


def context_logits(words: Mapping[str, str], fusion: Fusion) -> npt.NDArray[np.float64]:
    """Return what is known beside the pixels as class logits (3,), float64.

    Parameters
    ----------
    words
        Of :func:`edge_runtime.context.context_words`. Words that the fusion does not know, and
        facts that it takes but that are not known, add nothing.
    """
    known = [fusion.context[name][word] for name, word in used_context(words, fusion).items()]
    return np.sum(known, axis=0, dtype=np.float64) if known else np.zeros(len(LABELS))


def used_context(words: Mapping[str, str], fusion: Fusion) -> dict[str, str]:
    """Return the facts among ``words`` that the fusion takes."""
    return {name: word for name, word in words.items() if word in fusion.context.get(name, {})}


def class_logits(
    evidence: Evidence, fusion: Fusion, context: npt.NDArray[np.float64] | float = 0.0
) -> npt.NDArray[np.float64]:
    """Return calibrated class logits (..., 3), float64.

    Parameters
    ----------
    context
        (..., 3), of :func:`context_logits`; 0 without any.
    """
    lesion = evidence.lesion[..., np.newaxis] * np.array(fusion.mask)
    contrast = fusion.subtype * np.array([0.0, -0.5, 0.5])
    malignancy = evidence.malignancy[..., np.newaxis] * contrast
    weighed = fusion.cam * evidence.classes.astype(np.float64)
    return np.asarray(weighed + lesion + malignancy + fusion.bias + context)


def fuse(
    outputs: Mapping[str, FloatArray],
    fusion: Fusion,
    context: npt.NDArray[np.float64] | float = 0.0,
) -> npt.NDArray[np.float64]:
    """Return class probabilities (..., 3), float64, of a network's real outputs.

    Parameters
    ----------
    outputs
        As of :func:`weigh`.
    context
        As of :func:`class_logits`.
    """
    return softmax(class_logits(weigh(outputs, fusion.malignant_subtypes), fusion, context))


def softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return probabilities over the last axis, float64."""
    scaled = logits.astype(np.float64)
    exponents = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def score(probabilities: npt.NDArray[np.float64], name: ScoreName) -> npt.NDArray[np.float64]:
    """Return the score that an operating point cuts, from probabilities (..., 3)."""
    if name == "malignant":
        return np.asarray(probabilities[..., LABELS.index("malignant")])
    return np.asarray(1.0 - probabilities[..., LABELS.index("no_tumour")])


def scores(probabilities: npt.NDArray[np.float64]) -> dict[ScoreName, float]:
    """Return every score of one film, of its probabilities (3,)."""
    return {name: float(score(probabilities, name)) for name in _SCORES}


def study_score(of_films: npt.NDArray[np.float64]) -> float:
    """Return the score of a study, of the scores of its films (n,): the most suspicious view's.

    A lesion that one view shows and another hides is there.
    """
    return float(of_films.max())


def decide(
    probabilities: npt.NDArray[np.float64],
    points: Sequence[OperatingPoint],
    *,
    with_figures: bool = True,
) -> tuple[Decision, tuple[Phrase, ...]]:
    """Return the most urgent action that any operating point triggers, and the points that did.

    Parameters
    ----------
    probabilities
        (3,), of one film.
    with_figures
        Whether the reasons may tell probabilities.
    """
    return decide_scores(scores(probabilities), points, with_figures=with_figures)


def decide_scores(
    of_film_or_study: Mapping[ScoreName, float],
    points: Sequence[OperatingPoint],
    *,
    with_figures: bool = True,
) -> tuple[Decision, tuple[Phrase, ...]]:
    """Return the same of scores, 0..1, by name: a film's, or a study's (:func:`study_score`)."""
    reached = [point for point in points if of_film_or_study[point.score] >= point.threshold]
    reasons = tuple(
        Phrase(
            key=f"reason.{point.score}",
            values={
                "probability": of_film_or_study[point.score],
                "threshold": point.threshold,
                "point": point.name,
            },
        )
        if with_figures
        else Phrase(key="reason.point", values={"point": point.name})
        for point in reached
    )
    for action in ("urgent_review", "routine_review"):
        if any(p.action == action for p in reached):
            return action, reasons
    return "not_flagged", (Phrase(key="reason.no_point"),)


def prediction_set(
    probabilities: npt.NDArray[np.float64], quantiles: Mapping[str, ConformalQuantile]
) -> tuple[str, ...]:
    """Return the classes that class-conditional conformal prediction cannot exclude.

    Vovk, "Conditional validity of inductive conformal predictors", 2013 (label-conditional).
    """
    return tuple(
        label
        for label, probability in zip(LABELS, probabilities, strict=True)
        if 1.0 - float(probability) <= quantiles[label].value
    )


def mask_probability(mask_logits: FloatArray) -> FloatArray:
    """Return lesion probabilities 0..1, float32, of mask logits."""
    return np.asarray(1.0 / (1.0 + np.exp(-mask_logits.astype(np.float32))), np.float32)


def lesion_mask(probability: FloatArray, threshold: float) -> npt.NDArray[np.uint8]:
    """Return 0 or 1 per cell of the mask head, without specks.

    Parameters
    ----------
    probability
        (rows, columns), lesion probability.
    threshold
        Cells at or above it are lesion.
    """
    marked = (probability >= threshold).astype(np.uint8)
    if not marked.any():
        return marked
    count, labels, stats, _ = cv2.connectedComponentsWithStats(marked, connectivity=8)
    smallest = MIN_LESION_FRACTION * marked.size
    for component in range(1, count):
        if stats[component, cv2.CC_STAT_AREA] < smallest:
            marked[labels == component] = 0
    return marked


def lesions(
    mask: npt.NDArray[np.uint8], probability: FloatArray, placement: Placement, spec: InputSpec
) -> list[tuple[tuple[float, float, float, float], float, float]]:
    """Return each lesion of a mask as (box, score, area fraction), best first.

    The box is ``(x0, y0, x1, y1)`` in source pixels, the score the highest lesion probability in
    it, the area fraction its share of the film.
    """
    if not mask.any():
        return []
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    cell_y, cell_x = spec.height / mask.shape[0], spec.width / mask.shape[1]
    film_area = placement.height * placement.width
    found = []
    for component in range(1, count):
        left, top, width, height, area = (int(v) for v in stats[component])
        box = placement.to_source_box(
            (left * cell_x, top * cell_y, (left + width) * cell_x, (top + height) * cell_y)
        )
        inside = np.s_[top : top + height, left : left + width]
        peak = float(probability[inside][labels[inside] == component].max())
        found.append((box, peak, min(1.0, area * cell_x * cell_y / film_area)))
    return sorted(found, key=lambda lesion: -lesion[1])


def to_film(
    mask: npt.NDArray[np.uint8], placement: Placement, spec: InputSpec
) -> npt.NDArray[np.uint8]:
    """Resample a mask of the network (rows, columns) to the film's own rows and columns."""
    full = cv2.resize(mask, (spec.width, spec.height), interpolation=cv2.INTER_NEAREST)
    inside = full[
        placement.top : placement.top + placement.height,
        placement.left : placement.left + placement.width,
    ]
    return np.asarray(
        cv2.resize(
            inside,
            (placement.source_width, placement.source_height),
            interpolation=cv2.INTER_NEAREST,
        ),
        np.uint8,
    )
