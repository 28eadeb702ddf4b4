"""Films made worse in known steps: what a poorer unit, exposure or export would do to them.

After Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR 2019: six kinds, five strengths each. Lengths are in pixels of the 256 grid
that covers the film, so that a film of 256 and one of 2,400 pixels are blurred alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.preprocess import DisplayImage
from train.evaluate.segmentation import GRID

Kind = Literal["noise", "blur", "brightness", "contrast", "jpeg", "rotation"]
Unit = npt.NDArray[np.float32]

# Strengths, mildest first.
STRENGTHS: dict[Kind, tuple[float, ...]] = {
    "noise": (0.02, 0.04, 0.06, 0.09, 0.12),
    "blur": (0.7, 1.0, 1.5, 2.0, 3.0),
    "brightness": (0.05, 0.10, 0.15, 0.20, 0.30),
    "contrast": (0.85, 0.70, 0.55, 0.40, 0.30),
    "jpeg": (60.0, 40.0, 25.0, 15.0, 8.0),
    "rotation": (5.0, 10.0, 15.0, 20.0, 30.0),
}
MEANING: dict[Kind, str] = {
    "noise": "standard deviation, of full scale",
    "blur": "standard deviation, pixels of the 256 grid",
    "brightness": "added, of full scale",
    "contrast": "times the distance from mid-grey",
    "jpeg": "quality, at the film's own pixels",
    "rotation": "degrees, black outside",
}


@dataclass(frozen=True)
class Corruption:
    """One kind at one strength."""

    kind: Kind
    strength: float

    @property
    def key(self) -> str:
        """Return the name under which answers are kept."""
        return f"{self.kind} {self.strength:g}"


# Always measured: what resampling or another detector's sharpness does to a film.
BLURS = (Corruption("blur", 0.7), Corruption("blur", 1.0))
ALL = tuple(Corruption(kind, s) for kind, strengths in STRENGTHS.items() for s in strengths)


def corrupt(display: DisplayImage, corruption: Corruption, seed: int) -> DisplayImage:
    """Return a film of the same shape and type, made worse.

    Parameters
    ----------
    display
        (rows, columns), uint8 or uint16, dark is 0.
    seed
        Of the noise: the same seed, the same film.
    """
    if corruption.kind == "jpeg":
        return _jpeg(display, round(corruption.strength))
    full = float(np.iinfo(display.dtype).max)
    changed = _CHANGES[corruption.kind](
        display.astype(np.float32) / np.float32(full), corruption.strength, seed
    )
    scaled = np.rint(np.clip(changed, 0.0, 1.0) * full)
    if display.dtype == np.uint16:
        return np.asarray(scaled, np.uint16)
    return np.asarray(scaled, np.uint8)


def _noise(unit: Unit, deviation: float, seed: int) -> Unit:
    """Add grain as coarse as the 256 grid: finer grain is averaged away before a model sees it."""
    rows, columns = unit.shape
    size = (min(rows, GRID), min(columns, GRID))
    grain = np.random.default_rng(seed).normal(0.0, deviation, size).astype(np.float32)
    return unit + cv2.resize(grain, (columns, rows), interpolation=cv2.INTER_NEAREST)


def _blur(unit: Unit, deviation: float, seed: int) -> Unit:
    rows, columns = unit.shape
    return np.asarray(
        cv2.GaussianBlur(
            unit, (0, 0), sigmaX=deviation * columns / GRID, sigmaY=deviation * rows / GRID
        ),
        np.float32,
    )


def _brightness(unit: Unit, added: float, seed: int) -> Unit:
    return unit + np.float32(added)


def _contrast(unit: Unit, factor: float, seed: int) -> Unit:
    return np.float32(0.5) + (unit - np.float32(0.5)) * np.float32(factor)


def _rotation(unit: Unit, degrees: float, seed: int) -> Unit:
    rows, columns = unit.shape
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1.0)
    return np.asarray(
        cv2.warpAffine(unit, turn, (columns, rows), flags=cv2.INTER_LINEAR), np.float32
    )


def _jpeg(display: DisplayImage, quality: int) -> DisplayImage:
    """Compress as 8 bits, which is all that baseline JPEG holds."""
    deep = display.dtype == np.uint16
    grey = np.rint(display / np.float32(257)).astype(np.uint8) if deep else display
    _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    back = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    return back.astype(np.uint16) * np.uint16(257) if deep else back


_CHANGES: dict[Kind, Callable[[Unit, float, int], Unit]] = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "rotation": _rotation,
}
