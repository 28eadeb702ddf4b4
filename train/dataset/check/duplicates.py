"""Films that are in a dataset twice: as they are, re-encoded, mirrored, turned or inverted.

Three steps, each cheaper per pair than the next. Decoded pixels that are equal are exact
duplicates. Perceptual hashes propose near duplicates: one matrix product compares all films. Limb
films on a black ground have like hashes whoever is on them, so each candidate is verified by the
correlation of its local detail, after a small shift.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from train.dataset.check.films import THUMBNAIL, Films, Report
from train.dataset.check.phash import BITS, SYMMETRIES, Symmetry, hashes, low_frequencies

Floats = npt.NDArray[np.float32]

# Of 63 bits. On 200 films of BTXRD, copies that were JPEG-coded, halved, brightened, equalised,
# or turned by 1 degree stay within 10 in at least 94 of 100 cases.
HASH_DISTANCE = 10
# On BTXRD, two films of different people reach 0.57; copies that were re-encoded or retouched
# reach 0.72 and more, and one patient in the same pose on the same day is in between.
CORRELATION = 0.65
# A film has fifteen turned, mirrored and inverted copies, each a chance that the shutter's edges
# of another film fall on its own. Real copies of that kind are made by software and keep detail.
CHANGED_CORRELATION = 0.80
# Largest shift of a copy, in pixels of the thumbnail.
_SHIFT = 8
# Of the local mean, and of the local contrast by which detail is divided, in pixels.
_MEAN_SIGMA, _CONTRAST_SIGMA = 3.0, 6.0
# Grey levels: contrast below it is noise, and is not blown up.
_NOISE = 2.0
_BLOCK = 1024
# 64 KiB each.
_DETAILS_KEPT = 4096


@dataclass(frozen=True)
class Pair:
    """Two films that show the same picture.

    Attributes
    ----------
    first, second
        Rows of the dataset, first < second.
    change
        How the second differs: "", "mirrored", "inverted", "mirrored, inverted" ...
    correlation
        Of the local detail, 0.65..1.
    """

    first: int
    second: int
    kind: Literal["exact", "near"]
    change: str
    correlation: float


def find_duplicates(films: Films, progress: Report | None = None) -> list[Pair]:
    """Return the pairs of films that show the same picture, in the order of the dataset."""
    exact = [Pair(a, b, "exact", "", 1.0) for a, b in _equal_content(films)]
    best: dict[tuple[int, int], Pair] = {}
    known = {(pair.first, pair.second) for pair in exact}

    @lru_cache(_DETAILS_KEPT)
    def detail(row: int) -> Floats:
        return _detail(films.thumbnails[row])

    for first, second, symmetry, inverted in _candidates(films, progress):
        if (first, second) in known:
            continue
        turned = np.ascontiguousarray(symmetry.apply(detail(second)), np.float32)
        score = _correlation(detail(first), -turned if inverted else turned)
        change = ", ".join(filter(None, (str(symmetry), "inverted" if inverted else "")))
        before = best.get((first, second))
        enough = CHANGED_CORRELATION if change else CORRELATION
        if score >= enough and (before is None or score > before.correlation):
            best[first, second] = Pair(first, second, "near", change, round(score, 3))
    return sorted([*exact, *best.values()], key=lambda pair: (pair.first, pair.second))


def _equal_content(films: Films) -> Iterator[tuple[int, int]]:
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row in np.flatnonzero(films.comparable):
        rows_of[films.content[row]].append(int(row))
    for rows in rows_of.values():
        yield from combinations(rows, 2)


def _candidates(films: Films, progress: Report | None) -> Iterator[tuple[int, int, Symmetry, bool]]:
    """Yield row, later row, how the later one is turned, and whether it is inverted."""
    rows = np.flatnonzero(films.comparable)
    if len(rows) < 2:
        return
    coefficients = np.stack([low_frequencies(films.thumbnails[row]) for row in rows])
    plain = hashes(coefficients)
    near = BITS - 2 * HASH_DISTANCE
    turned = [(each, hashes(each.apply_to_coefficients(coefficients))) for each in SYMMETRIES]
    for start in range(0, len(rows), _BLOCK):
        block = plain[start : start + _BLOCK]
        for symmetry, others in turned:
            agreement = block @ others[start:].T
            for sign in (1.0, -1.0):
                for a, b in np.argwhere(sign * agreement >= near):
                    if a < b:
                        yield int(rows[start + a]), int(rows[start + b]), symmetry, sign < 0
        if progress:
            progress(min(start + _BLOCK, len(rows)), len(rows))


def _detail(thumbnail: npt.NDArray[np.uint8]) -> Floats:
    """Return what is left of an image without its local mean, divided by its local contrast.

    Black ground, exposure, window and gamma drop out; edges, trabeculae and letters stay.
    """
    pixels = thumbnail.astype(np.float32)
    fine = pixels - cv2.GaussianBlur(pixels, (0, 0), _MEAN_SIGMA)
    contrast = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), _CONTRAST_SIGMA))
    return np.asarray(fine / (contrast + _NOISE), np.float32)


def _correlation(one: Floats, other: Floats) -> float:
    """Return the correlation of two details, where one may be shifted a little."""
    straight = _pearson(one, other)
    if straight >= CORRELATION:
        return straight
    # Copies: OpenCV 5 multiplies the window into the images that it is given.
    (dx, dy), _ = cv2.phaseCorrelate(one.copy(), other.copy(), _window())
    if max(abs(dx), abs(dy)) > _SHIFT:
        return straight
    moved = cv2.warpAffine(one, np.array([[1, 0, dx], [0, 1, dy]], np.float32), one.shape)
    inside = slice(_SHIFT + 1, -_SHIFT - 1)
    return max(straight, _pearson(moved[inside, inside], other[inside, inside]))


@lru_cache(1)
def _window() -> Floats:
    return np.asarray(cv2.createHanningWindow((THUMBNAIL, THUMBNAIL), cv2.CV_32F), np.float32)


def _pearson(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> float:
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0
