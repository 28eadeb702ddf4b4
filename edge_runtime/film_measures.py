"""What can be measured of a film's quality, whatever model looks at it.

Everything is measured on a small look at the film, at most :data:`LOOK` pixels long, which is about
what a network sees: blur that is not seen there costs no network anything. Grain of the detector is
averaged away on the way there, as it is on the way into a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.preprocess import DisplayImage, UInt8Image

LOOK = 256
"""Longest side of the look, pixels."""

# Display levels of 256 that count as nothing but black, or white: JPEG shifts them by a few.
BLACK, WHITE = 3, 250
# A row of which more than this is pure black or white shows no limb, but what shutters covered.
COVERED = 0.95
# Air may be one grey from end to end of a film, but is the darkest thing on it, and shutters leave
# black or white. A fill is so much brighter than the dark twentieth of the rest, and no more.
FILL_ABOVE_DARK, FILL_BELOW = 16, 240

# Structure is measured in so many blocks each way, and in those above this quantile. A margin on
# each side is left out: under shutters lies a soft edge of scatter.
BLOCKS, RICH, MARGIN = 8, 0.7, 0.15
# Of a block more than this in pure white holds a marker or metal, and says nothing of the limb.
BURNED_IN = 0.02
# Mean grey of a block above which its grain was not cut off with the black.
LIT = 8
# Energy of a block that shows nothing at all, grey levels squared.
FLAT = 1e-6

# Air is looked for on fewer pixels, in the lowest quarter of the greys that the film spans.
AIR_LOOK, AIR_LEVEL, AIR_SLOPE = 96, 0.25, 0.005

Real = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FilmMeasures:
    """What a look at a film gives.

    Attributes
    ----------
    grey
        Mean of the field, 0..255: without what shutters or air cover around it.
    black_film
        Share of the film that is nothing but black, 0..1.
    black, white
        The same for black and white in the field.
    detail
        How far the limb stands out: root mean square of what lies between 1 and 3 pixels (sigma)
        of the look, grey levels of 256; the median of the blocks that show most.
    sharpness
        What is finer than 1 pixel, less the grain of the film's quietest part, over what lies
        between 1 and 3 pixels, along rows or columns, whichever is less: 0.5 for a real film, 0.2
        for one blurred (sigma) by 0.8 % of its sides.
    grain
        The same in all directions and with the grain: 0.6 for a real film, 3 for noise alone.
    empty_band
        Longest run of rows or columns, from one edge of the film, that hold a single grey: share of
        the film's side, 0..1.
    missing_band
        The same for a grey that neither air nor a shutter leaves.
    air
        Share of the film that is dark and without any structure, 0..1: what lies beside a limb.
    """

    grey: float
    black_film: float
    black: float
    white: float
    detail: float
    sharpness: float
    grain: float
    empty_band: float
    missing_band: float
    air: float


def measure_film(display: DisplayImage) -> FilmMeasures:
    """Measure a film.

    Parameters
    ----------
    display
        (rows, columns), uint8 or uint16, dark is 0.
    """
    look = small_look(display)
    empty, missing = _bands(look)
    field = _field(look)
    detail, sharpness, grain = _structure(field)
    return FilmMeasures(
        grey=float(field.mean()),
        black_film=_share(look < BLACK),
        black=_share(field < BLACK),
        white=_share(field > WHITE),
        detail=detail,
        sharpness=sharpness,
        grain=grain,
        empty_band=empty,
        missing_band=missing,
        # Dark shutters make the air between them look bright.
        air=_air(look) if field.shape == look.shape else max(_air(look), _air(field)),
    )


def small_look(display: DisplayImage) -> UInt8Image:
    """Return the film, at most :data:`LOOK` pixels long, 0..255.

    Of a large film whole boxes of columns are averaged and rows are left out, which reads a tenth
    of it and costs a tenth of what averaging all of it does.
    """
    step = min(max(display.shape) // LOOK, min(display.shape) // BLOCKS)
    taken: npt.NDArray[Any] = display
    if step > 1:
        rows, columns = display.shape[0] // step, display.shape[1] // step
        taken = cv2.resize(
            display[: rows * step : step, : columns * step],
            (columns, rows),
            interpolation=cv2.INTER_AREA,
        )
    if taken.dtype == np.uint16:
        taken = taken >> 8
    return _at_most(taken.astype(np.uint8, copy=False), LOOK)


def _at_most(pixels: UInt8Image, longest: int) -> UInt8Image:
    scale = longest / max(pixels.shape)
    if scale >= 1.0:
        return pixels
    rows, columns = (max(1, round(side * scale)) for side in pixels.shape)
    smaller = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    return smaller.astype(np.uint8, copy=False)


def _share(marked: npt.NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(marked)) / marked.size


def _bands(look: UInt8Image) -> tuple[float, float]:
    """Return `empty_band` and `missing_band`."""
    empty = missing = 0.0
    for lines in (look, look[::-1], look.T, look.T[::-1]):
        grey = int(np.median(lines[0]))
        # One level apart is rounding.
        same = (lines.max(axis=1) <= grey + 1) & (lines.min(axis=1) >= grey - 1)
        length = len(same) if same.all() else int(np.argmin(same))
        empty = max(empty, length / len(same))
        # First what costs nothing: most films have no such edge.
        if 0 < length < len(same) and FILL_ABOVE_DARK < grey < FILL_BELOW:
            dark = float(np.percentile(lines[length:], 5))
            if dark + FILL_ABOVE_DARK < grey:
                missing = max(missing, length / len(same))
    return empty, missing


def _field(look: UInt8Image) -> UInt8Image:
    """Return the look without the covered rows and columns around it; all of it if all are."""
    covered = (look < BLACK) | (look > WHITE)
    rows = np.flatnonzero(covered.mean(axis=1) <= COVERED)
    columns = np.flatnonzero(covered.mean(axis=0) <= COVERED)
    if min(len(rows), len(columns)) == 0:
        return look
    return look[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _structure(field: UInt8Image) -> tuple[float, float, float]:
    """Return `detail`, `sharpness` and `grain`.

    Blocks, and the median of them, because a few sharp letters on a blurred film hold more energy
    than all of its bones.
    """
    top, left = (int(side * MARGIN) for side in field.shape)
    inner = field[top : field.shape[0] - top, left : field.shape[1] - left]
    usable = _per_block((inner > WHITE).astype(np.float32)) <= BURNED_IN
    if not usable.any():
        return 0.0, 0.0, 0.0
    grey = inner.astype(np.float32)
    lit = _per_block(grey)[usable] > LIT
    # A Gaussian of 1 pixel and one of 2.83 after it make one of 3.
    across, down = (_smoothed(grey, 1.0, axis) for axis in (1, 0))
    smooth = _smoothed(across, 1.0, 0)
    coarse_across, coarse_down = (_smoothed(smooth, 2.83, axis) for axis in (1, 0))
    smoother = _smoothed(coarse_across, 2.83, 0)

    fine, coarse = (_per_block(band**2)[usable] for band in (grey - smooth, smooth - smoother))
    rich = _richest(coarse)
    grain = np.sqrt(fine[rich] / np.maximum(coarse[rich], FLAT))
    sharpness = []
    # What moved is blurred in one direction. Smoothing in the other one takes grain away.
    for finer, coarser in (
        (down - smooth, smooth - coarse_across),
        (across - smooth, smooth - coarse_down),
    ):
        fine, along = (_per_block(band**2)[usable] for band in (finer, coarser))
        quiet = float(fine[lit].min()) if lit.any() else 0.0
        rich_along = _richest(along)
        fine, along = fine[rich_along], np.maximum(along[rich_along], FLAT)
        # Grain is not the same all over a film: no more than three quarters are taken for it.
        kept = np.maximum(fine - quiet, fine / 4)
        sharpness.append(float(np.median(np.sqrt(kept / along))))
    return float(np.sqrt(np.median(coarse[rich]))), min(sharpness), float(np.median(grain))


def _richest(energy: Real) -> npt.NDArray[np.intp]:
    """Return the blocks that show most."""
    return np.argsort(energy)[int(len(energy) * RICH) :]


def _smoothed(values: Real, sigma: float, axis: int) -> Real:
    """Smooth along one axis: 0 for columns, 1 for rows."""
    length = 2 * round(3 * sigma) + 1
    size = (length, 1) if axis == 1 else (1, length)
    return np.asarray(cv2.GaussianBlur(values, size, sigma), np.float32)


def _per_block(values: Real) -> Real:
    """Return the means of :data:`BLOCKS` x :data:`BLOCKS` blocks."""
    means = cv2.resize(values, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32).ravel()


def _air(look: UInt8Image) -> float:
    """Return `air`."""
    small = _at_most(look, AIR_LOOK).astype(np.float32)
    smooth = cv2.GaussianBlur(small, (0, 0), 1.0)
    dark, bright = np.percentile(smooth, (2, 98))
    unit = (smooth - dark) / max(float(bright - dark), 1.0)
    across, down = (cv2.Sobel(unit, -1, x, 1 - x, scale=1 / 8) for x in (1, 0))
    slope = cv2.magnitude(across, down)
    flat = ((slope < AIR_SLOPE) & (unit < AIR_LEVEL)).astype(np.uint8)
    return float(cv2.morphologyEx(flat, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).mean())
