"""Fit what makes a film familiar: features of training films, and a distance for each hospital."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import Familiarity
from edge_runtime.familiarity import FamiliarFilms
from export.calibrate import upper_quantile

FILMS = 600
DIRECTIONS = 32
SHARE = 0.05

Floats = npt.NDArray[np.float32]


def summarise(features: Floats) -> FamiliarFilms:
    """Return the principal directions of features (n, d) of training films, n at least 2."""
    centre = features.mean(axis=0, dtype=np.float64)
    away = features.astype(np.float64) - centre
    _, lengths, directions = np.linalg.svd(away, full_matrices=False)
    count = min(DIRECTIONS, len(lengths) - 1)
    variances = np.square(lengths) / max(len(features) - 1, 1)
    rest = variances[count:].sum() / max(features.shape[1] - count, 1)
    floor = 1e-12 + 1e-6 * variances.sum() / features.shape[1]
    return FamiliarFilms(
        centre=centre.astype(np.float32),
        directions=directions[:count].T.astype(np.float32),
        variances=np.maximum(np.append(variances[:count], rest), floor).astype(np.float32),
        films=np.array(len(features)),
    )


def fit_familiarity(familiar: FamiliarFilms, features: Floats, centres: pd.Series) -> Familiarity:
    """Return the distance beyond which :data:`SHARE` of the films of any centre lie, at most.

    Parameters
    ----------
    features, centres
        (n, d) and (n,) of calibration films.
    """
    distances = familiar.distance(features)
    names = centres.astype(str).to_numpy()
    by_centre = {
        name: upper_quantile(distances[names == name], SHARE, beyond=float(distances.max()))
        for name in sorted(set(names))
    }
    return Familiarity(
        threshold=max(quantile.value for quantile in by_centre.values()),
        share=SHARE,
        centres=by_centre,
        trained_on=int(familiar.films),
    )
