"""Detection: are lesions found, and how many false marks stand beside them.

A mark is the box of a region of the mask, scored by the highest lesion probability in it; a lesion
is the box of a region of the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from train.evaluate.resampling import Doubles, Flags, Measure, Ranking, divide
from train.evaluate.segmentation import FloatGrid, Mask

# Small lesions cover few cells of the mask head, whose boxes are off by a cell on each side.
FROC_IOU = 0.2
MAP_IOUS = tuple(np.linspace(0.50, 0.95, 10).round(2).tolist())
# False marks per film at which sensitivity is read: those of the LUNA16 challenge.
FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)

# (m, 5): x0, y0, x1, y1 in cells of the grid, and the score.
Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FilmMarks:
    """The marks on one film against its lesions.

    Attributes
    ----------
    scores
        (m,), falling.
    found
        (11, m): at the IoU of FROC and at those of mAP, whether the mark is the first on a lesion.
    false
        (m,): whether the mark lies on no lesion at all, by the IoU of FROC.
    lesions
        How many there are.
    """

    scores: Doubles
    found: Flags
    false: Flags
    lesions: int


def boxes(mask: Mask, probability: FloatGrid | None = None) -> Boxes:
    """Return the box of each 8-connected region, (m, 5), best first; score 1 without probability.

    Parameters
    ----------
    mask, probability
        (rows, columns); lesion probability 0..1.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    found = np.zeros((count - 1, 5))
    for region in range(1, count):
        left, top, width, height, _ = stats[region]
        peak = 1.0 if probability is None else float(probability[labels == region].max())
        found[region - 1] = (left, top, left + width, top + height, peak)
    return found[np.argsort(-found[:, 4], kind="stable")]


def match(marks: Boxes, lesions: Boxes) -> FilmMarks:
    """Give each mark, best first, the lesion that it overlaps most among those not yet found.

    Everingham et al., "The PASCAL visual object classes challenge", IJCV 88:303, 2010.
    """
    overlaps = _iou(marks, lesions)
    return FilmMarks(
        scores=marks[:, 4],
        found=np.stack([_assign(overlaps, iou) for iou in (FROC_IOU, *MAP_IOUS)]),
        false=np.asarray((overlaps < FROC_IOU).all(axis=1)),
        lesions=len(lesions),
    )


@dataclass(frozen=True)
class Detections:
    """The marks of many films, pooled.

    Attributes
    ----------
    film
        (m,), position of each mark's film.
    known
        (n,), whether the film has a reference.
    lesions
        (n,), 0 where it is not known.
    """

    film: npt.NDArray[np.intp]
    scores: Doubles
    found: Flags
    false: Flags
    known: Flags
    lesions: Doubles

    @classmethod
    def of(cls, films: Sequence[FilmMarks | None]) -> Detections:
        """Pool films, None being one without a reference."""
        given = [film for film in films if film is not None]
        sizes = [0 if film is None else len(film.scores) for film in films]
        empty = np.zeros((1 + len(MAP_IOUS), 0), bool)
        return cls(
            film=np.repeat(np.arange(len(films)), sizes),
            scores=np.concatenate([np.zeros(0), *(film.scores for film in given)]),
            found=np.concatenate([empty, *(film.found for film in given)], axis=1),
            false=np.concatenate([np.zeros(0, bool), *(film.false for film in given)]),
            known=np.array([film is not None for film in films], bool),
            lesions=np.array([0 if film is None else film.lesions for film in films], np.float64),
        )

    def measure(self) -> Measure:
        """Return what computes the detection metrics from weights (r, n).

        froc_mean: sensitivity to lesions, averaged over 1/8 to 8 false marks per film (Setio et
        al., Medical Image Analysis 42:1, 2017; FROC: Bunch et al., 1977). froc_sens_at_1: at one
        false mark per film. ap50, map50_95: area under precision and recall at an IoU of 0.50, and
        its mean over 0.50 to 0.95 (Lin et al., COCO, ECCV 2014). All 0..1, NaN without a lesion.
        """
        ranking = Ranking.of(self.scores)

        def measure(weights: Doubles) -> dict[str, Doubles]:
            lesions = weights @ self.lesions
            rate, sensitivity = self._curve(ranking, weights, lesions)
            nothing = np.where(lesions > 0, 0.0, np.nan)
            at = {
                limit: np.where(rate <= limit, sensitivity, 0.0).max(axis=1, initial=0.0) + nothing
                for limit in FROC_RATES
            }
            marks = weights[:, self.film]
            precise = [
                _average_precision(ranking, marks, found, lesions) for found in self.found[1:]
            ]
            return {
                "froc_mean": np.mean(list(at.values()), axis=0),
                "froc_sens_at_1": at[1.0],
                "ap50": precise[0],
                "map50_95": np.mean(precise, axis=0),
            }

        return measure

    def curve(self) -> tuple[Doubles, Doubles]:
        """Return false marks per film and sensitivity to lesions, threshold by threshold."""
        weights = np.ones((1, len(self.known)))
        rate, sensitivity = self._curve(Ranking.of(self.scores), weights, weights @ self.lesions)
        return np.append(0.0, rate[0]), np.append(0.0, sensitivity[0])

    def _curve(
        self, ranking: Ranking, weights: Doubles, lesions: Doubles
    ) -> tuple[Doubles, Doubles]:
        marks = weights[:, self.film]
        films = weights @ self.known.astype(np.float64)
        false = ranking.steps(marks * self.false).cumsum(axis=1)
        found = ranking.steps(marks * self.found[0]).cumsum(axis=1)
        return (
            false / np.maximum(films, 1.0)[:, None],
            divide(found, np.broadcast_to(lesions[:, None], found.shape)),
        )


def _average_precision(ranking: Ranking, marks: Doubles, found: Flags, lesions: Doubles) -> Doubles:
    true = ranking.steps(marks * found).cumsum(axis=1)
    drawn = ranking.steps(marks).cumsum(axis=1)
    precision = np.nan_to_num(divide(true, drawn))
    # The best precision of any threshold that finds as much or more.
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    area = (np.diff(true, axis=1, prepend=0.0) * best).sum(axis=1)
    return divide(area, lesions)


def _assign(overlaps: Doubles, iou: float) -> Flags:
    free = np.ones(overlaps.shape[1], bool)
    found = np.zeros(len(overlaps), bool)
    for mark, row in enumerate(overlaps):
        candidates = np.where(free & (row >= iou), row, -1.0)
        if len(row) and candidates.max() >= 0.0:
            free[int(candidates.argmax())] = False
            found[mark] = True
    return found


def _iou(one: Boxes, two: Boxes) -> Doubles:
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:4], two[None, :, 2:4])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=2)
    areas = [np.prod(box[:, 2:4] - box[:, :2], axis=1) for box in (one, two)]
    joined: Doubles = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / joined, np.float64)
