"""Simulated sites: class logits of patients whose films are not like those of the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.bundle import LABELS, Calibration, ConformalQuantile, Fusion
from edge_runtime.decision import softmax
from export.calibrate import Scored, with_thresholds
from train.config import ExportConfig

Doubles = npt.NDArray[np.float64]

_CENTRES = 1.25 * np.array([[0, 0, 0, 0], [1.6, 0.8, 0.3, 0], [1.6, -0.9, 0, 0.6]])
_PRIOR = np.array([0.6, 0.28, 0.12])


@dataclass(frozen=True)
class Site:
    """A hospital: its films have less signal, and lie beside those of the training.

    ``alike``: how alike the films of one patient are, 0..1.
    """

    signal: float = 1.0
    noise: float = 1.0
    beside: tuple[float, float] = (0.0, 0.0)
    alike: float = 0.0

    def films(self, seed: int, patients: Sequence[int], views: int = 1) -> Scored:
        """Draw films with what a network says that is calibrated at home.

        Parameters
        ----------
        patients
            By class.
        """
        generator = np.random.default_rng(seed)
        labels = np.repeat(np.repeat(np.arange(3), patients), views)
        count = len(labels)
        names = np.array([f"P{number // views:06d}" for number in range(count)], object)
        own = generator.normal(size=(count // views, 4)).repeat(views, axis=0)
        apart = generator.normal(size=(count, 4))
        noise = np.sqrt(self.alike) * own + np.sqrt(1.0 - self.alike) * apart
        seen = self.signal * _CENTRES[labels] + self.noise * noise
        seen[:, :2] += self.beside
        far = np.square(seen[:, None, :] - _CENTRES[None]).sum(axis=-1)
        probabilities = softmax(np.log(_PRIOR) - far / 2.0)
        return Scored(probabilities, labels.astype(np.int32), names, names)


HOME = Site()
AWAY = Site(signal=0.7, noise=1.1, beside=(0.7, 0.2))


def calibrated_at_home() -> Calibration:
    """Return the calibration of a bundle whose thresholds were set on many films of home."""
    never = ConformalQuantile(value=1.0, films=0, low=1.0, high=1.0)
    blank = Calibration(
        films=0, patients=0, malignant_patients=0, studies=0, mirror=False,
        fusion=Fusion(cam=1.0, mask=(0.0, 0.0, 0.0), bias=(0.0, 0.0, 0.0)), mask_threshold=None,
        operating_points=(), conformal_alpha=0.1, conformal_quantiles=dict.fromkeys(LABELS, never),
    )  # fmt: skip
    config = ExportConfig(tumour_sensitivity=0.9, malignant_sensitivity=0.9)
    return with_thresholds(blank, HOME.films(1, (600, 280, 120)), config)
