"""Masks against references, on one grid for every model and film.

The definitions are fixed, so that figures of two models, papers or years can be compared: 256 x 256
cells that cover the film whatever its shape, mask logits brought there bilinearly, cut at the
threshold that was chosen beforehand, regions under 16 cells dropped, means over tumour films.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, distance_transform_edt

from edge_runtime.preprocess import InputSpec, place

GRID = 256
MIN_REGION = 16

FloatGrid = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """How well a marked area fits its reference.

    Attributes
    ----------
    dice, iou
        0..1, 0 where nothing is marked.
    hd95
        Cells of the grid; NaN where nothing is marked.
    """

    dice: float
    iou: float
    hd95: float


def logits_on_grid(logits: FloatGrid, shape: tuple[int, int], spec: InputSpec) -> FloatGrid:
    """Bring mask logits of the network to the film's grid.

    Parameters
    ----------
    logits
        (rows, columns) of the mask head, float32, over the network's whole input.
    shape
        (rows, columns) of the film: tells the film from the black around it.

    Returns
    -------
    numpy.ndarray
        (256, 256) float32.
    """
    placement = place(shape, spec)
    middle = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    # Centres of grid cells, in cells of the mask head, whose own centres are at .5.
    x = (placement.left + middle * placement.width) * (logits.shape[1] / spec.width) - 0.5
    y = (placement.top + middle * placement.height) * (logits.shape[0] / spec.height) - 0.5
    at_x, at_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return np.asarray(
        cv2.remap(logits, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def reference_on_grid(mask: npt.NDArray[np.uint8]) -> Mask:
    """Return the cells (256, 256) of which a film's mask (0 or 255) covers at least half."""
    if mask.shape == (GRID, GRID):
        return mask > 127
    # float32, as an area mean of uint8 would be rounded before it is cut.
    covered = cv2.resize(mask.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
    return np.asarray(covered >= 127.5)


def mark(logits: FloatGrid, threshold: float) -> Mask:
    """Return where lesion logits (256, 256) reach a probability, less regions under 16 cells."""
    marked = logits >= np.float32(np.log(threshold) - np.log1p(-threshold))
    return drop_specks(marked)


def drop_specks(marked: Mask) -> Mask:
    """Return a mask without the 8-connected regions of fewer than 16 cells."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(marked.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= MIN_REGION
    large[0] = False
    return np.asarray(large[labels])


def overlap(marked: Mask, reference: Mask) -> Overlap:
    """Compare two masks of one shape, the reference not empty.

    Dice, Ecology 26:297, 1945; hd95: the larger of the two 95th percentiles of distances from
    one outline to the other (Maier-Hein et al., "Metrics reloaded", Nature Methods 21:195, 2024).
    """
    either = float((marked | reference).sum())
    return Overlap(
        dice=_dice(marked, reference),
        iou=float((marked & reference).sum()) / either,
        hd95=_hd95(marked, reference),
    )


def ceiling(reference: Mask, shape: tuple[int, int]) -> tuple[float, float]:
    """Return the Dice of a perfect mask of ``shape`` (rows, columns): what its resolution costs.

    First of one whose cells are lesion or not, laid on the grid as squares; second of one that
    states how much of each cell is lesion, brought there bilinearly and cut at one half. No region
    is dropped. On BTXRD, 56 x 56 cells: 0.79 and 0.81 on centre 1, 0.93 and 0.98 on centre 2.
    """
    rows, columns = shape
    coverage = cv2.resize(
        reference.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA
    )
    cells = (coverage >= 0.5).astype(np.float32)
    squares = cv2.resize(cells, (GRID, GRID), interpolation=cv2.INTER_NEAREST) >= 0.5
    smooth = cv2.resize(coverage, (GRID, GRID), interpolation=cv2.INTER_LINEAR) >= 0.5
    return _dice(squares, reference), _dice(smooth, reference)


def _dice(marked: Mask, reference: Mask) -> float:
    return 2.0 * float((marked & reference).sum()) / float(marked.sum() + reference.sum())


def _hd95(one: Mask, two: Mask) -> float:
    if not (one.any() and two.any()):
        return float("nan")
    outlines = [mask & ~binary_erosion(mask) for mask in (one, two)]
    away = [distance_transform_edt(~outline) for outline in outlines]
    return float(
        max(np.percentile(away[1][outlines[0]], 95), np.percentile(away[0][outlines[1]], 95))
    )
