"""What goes wrong when a film is taken, drawn into films that are sound.

Exposure, motion, noise, missing parts and careless crops, each in known steps, mildest first.
Lengths are shares of the film, so that a film of 256 pixels is spoilt like one of 2,500.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from train.evaluate.corruption import Corruption, Kind, corrupt

Film = npt.NDArray[np.uint8]
Spoil = Callable[[Film, float, int], Film]


@dataclass(frozen=True)
class Defect:
    """One way to spoil a film; ``spoil`` takes a film, a strength and a seed."""

    name: str
    meaning: str
    strengths: tuple[float, ...]
    spoil: Spoil


def _bright_part(film: Film) -> Film:
    """Return the values of bone and thick flesh: those above Otsu's threshold."""
    threshold, _ = cv2.threshold(film, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    bright = film[film > threshold]
    return bright if bright.size else film.ravel()


def _rescaled(film: Film, low: float, high: float) -> Film:
    unit = (film.astype(np.float32) - low) / max(high - low, 1.0)
    return np.asarray(np.rint(np.clip(unit, 0.0, 1.0) * 255.0), np.uint8)


def _burnt(film: Film, share: float, seed: int) -> Film:
    bright = _bright_part(film)
    low, high = np.percentile(bright, (100.0 * share, 99.8))
    return _rescaled(film, float(low), float(high))


def _too_light(film: Film, share: float, seed: int) -> Film:
    return _rescaled(film, 0.0, float(np.percentile(_bright_part(film), 100.0 * (1.0 - share))))


def _no_object(film: Film, deviation: float, seed: int) -> Film:
    """Return the beam alone: the heel effect from left to right, the shutters' frame, and grain."""
    rows, columns = film.shape
    beam = np.tile(np.linspace(100.0, 130.0, columns), (rows, 1))
    beam += np.random.default_rng(seed).normal(0.0, 255.0 * deviation, beam.shape)
    edge = max(rows, columns) // 20
    shown = np.zeros(film.shape, np.uint8)
    inside = (slice(edge, rows - edge), slice(edge, columns - edge))
    shown[inside] = np.rint(np.clip(beam, 0, 255)).astype(np.uint8)[inside]
    return shown


def _motion(film: Film, length: float, seed: int) -> Film:
    taps = max(1, round(length * film.shape[1]))
    return np.asarray(cv2.blur(film, (taps, 1), borderType=cv2.BORDER_REPLICATE), np.uint8)


def _middle(film: Film) -> tuple[float, float]:
    """Return the limb's middle, row and column as shares of the film."""
    threshold, _ = cv2.threshold(film, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    rows, columns = np.nonzero(film > threshold)
    if not len(rows):
        return 0.5, 0.5
    return float(np.median(rows)) / film.shape[0], float(np.median(columns)) / film.shape[1]


def _crop(film: Film, kept: float, seed: int) -> Film:
    sides = [max(8, int(side * kept**0.5)) for side in film.shape]
    corner = [
        int(np.clip(middle * whole - side / 2, 0, whole - side))
        for middle, whole, side in zip(_middle(film), film.shape, sides, strict=True)
    ]
    return film[corner[0] : corner[0] + sides[0], corner[1] : corner[1] + sides[1]]


def _cut(film: Film, share: float, seed: int) -> Film:
    """Leave out the top, down to a row so far from the limb's middle; at 0, half of the limb."""
    row = int(film.shape[0] * max(_middle(film)[0] - share, 0.0))
    return film[row:]


def _strip(film: Film, aspect: float, seed: int) -> Film:
    width = max(8, int(film.shape[0] / aspect))
    left = int(np.clip(_middle(film)[1] * film.shape[1] - width / 2, 0, film.shape[1] - width))
    return film[:, left : left + width]


def _filled(level: int) -> Spoil:
    def fill(film: Film, share: float, seed: int) -> Film:
        filled = film.copy()
        filled[int(film.shape[0] * (1.0 - share)) :] = level
        return filled

    return fill


def _corrupted(kind: Kind) -> Spoil:
    def spoil(film: Film, strength: float, seed: int) -> Film:
        return np.asarray(corrupt(film, Corruption(kind, strength), seed), np.uint8)

    return spoil


DEFECTS = (
    Defect("no object", "grain, of full scale", (0.0, 0.01, 0.05, 0.2), _no_object),
    Defect("faint", "times the contrast", (0.2, 0.1, 0.05, 0.02), _corrupted("contrast")),
    Defect("burnt through", "of the limb black", (0.3, 0.5, 0.7, 0.9), _burnt),
    Defect("too light", "of the limb white", (0.3, 0.5, 0.7, 0.9), _too_light),
    Defect("noise", "of full scale", (0.06, 0.09, 0.12, 0.2, 0.3), _corrupted("noise")),
    Defect("blur", "sigma, pixels of 256", (1.0, 1.5, 2.0, 3.0, 5.0), _corrupted("blur")),
    Defect("motion", "of the width", (0.01, 0.02, 0.04, 0.08), _motion),
    Defect("grey fill", "of the film, from below", (0.15, 0.3, 0.5), _filled(128)),
    Defect("black fill", "of the film, from below", (0.3, 0.5, 0.6), _filled(0)),
    Defect("crop", "of the area kept", (0.4, 0.25, 0.15, 0.08), _crop),
    Defect("top cut off", "of the film above the middle kept", (0.2, 0.1, 0.0), _cut),
    Defect("strip", "times as long as wide", (3.0, 5.0), _strip),
)
