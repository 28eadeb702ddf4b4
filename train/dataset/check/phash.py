"""Perceptual hash of a film, and of what the film would be mirrored, turned or inverted.

The DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010:
the film at 32 x 32, its discrete cosine transform, the 8 x 8 lowest frequencies, and of each
whether it is above their median. The constant term, how bright the film is, is left out.

Mirroring an image flips the sign of its odd coefficients, and transposing it transposes them, so
the hashes of all eight symmetric copies come from one transform. Inverting the grey scale negates
all coefficients: the distance of an inverted copy is close to ``BITS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt

_SIDE, _KEPT = 32, 8
BITS = _KEPT * _KEPT - 1

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Symmetry:
    """A way to turn or mirror a film: transposed first, then its rows and columns reversed."""

    transpose: bool
    rows: bool
    columns: bool

    def apply(self, image: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return a square image, turned."""
        turned = image.T if self.transpose else image
        return turned[:: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def apply_to_coefficients(self, coefficients: Floats) -> Floats:
        """Return the coefficients (n, 8, 8) of the turned images."""
        alternating = np.where(np.arange(_KEPT) % 2, -1.0, 1.0).astype(np.float32)
        turned = coefficients.swapaxes(1, 2) if self.transpose else coefficients
        if self.rows:
            turned = turned * alternating[:, None]
        if self.columns:
            turned = turned * alternating
        return np.asarray(turned, np.float32)

    def __str__(self) -> str:
        flips = int(self.rows) + int(self.columns)
        if self.transpose:
            return "turned by 90°" if flips == 1 else "turned by 90° and mirrored"
        if flips == 2:
            return "turned by 180°"
        return "upside down" if self.rows else "mirrored" if self.columns else ""


SYMMETRIES = tuple(Symmetry(*flags) for flags in product((False, True), repeat=3))


def low_frequencies(image: npt.NDArray[np.uint8]) -> Floats:
    """Return the lowest DCT coefficients (8, 8) of an image (rows, columns), uint8."""
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.dct(small.astype(np.float32))[:_KEPT, :_KEPT], np.float32)


def hashes(coefficients: Floats) -> Floats:
    """Return hashes (n, 63) of coefficients (n, 8, 8), as -1 and 1.

    The Hamming distance of two hashes is ``(BITS - a @ b) / 2``: one matrix product compares all.
    """
    flat = coefficients.reshape(len(coefficients), -1)[:, 1:]
    above = flat > np.median(flat, axis=1, keepdims=True)
    return np.where(above, 1.0, -1.0).astype(np.float32)
