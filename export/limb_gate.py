"""Fit what refuses films that show no limb, on films that do and on a folder of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edge_runtime.bundle import LimbLimits
from edge_runtime.errors import DatasetError, RadiographError
from edge_runtime.limb_gate import LimbGate
from edge_runtime.preprocess import InputSpec, to_network_pixels
from edge_runtime.radiograph import find_radiographs, read_radiograph

# Few enough for one folder of chest films, enough that five folds of them mean something.
MIN_FILMS = 25
# Of limbs no more than this may be refused, of others no less than that should be.
LIMBS_REFUSED, OTHERS_REFUSED = 0.01, 0.95
# Strong: thousands of features for hundreds of films. 1e-4 to 1e-1 gave the same on real films.
_REGULARISATION = 1e-3
_FOLDS = 5

Floats = npt.NDArray[np.float32]


def read_others(folder: Path, spec: InputSpec) -> npt.NDArray[np.uint8]:
    """Return network pixels (n, height, width) of the films in a folder, DICOM, PNG or JPEG.

    Raises
    ------
    DatasetError
        Fewer than :data:`MIN_FILMS` of them can be read.
    """
    pixels = []
    for file in find_radiographs(folder):
        try:
            pixels.append(to_network_pixels(read_radiograph(file).display, spec)[0])
        except RadiographError:
            # The device would refuse it anyway, and for a reason of its own.
            continue
    if len(pixels) < MIN_FILMS:
        raise DatasetError(
            f"{len(pixels)} readable films that show no limb",
            f"Give a folder of at least {MIN_FILMS}: chests, skulls, spines, test exposures",
            str(folder),
        )
    return np.stack(pixels)


def fit_limb_gate(
    limbs: Floats, others: Floats, held_out: Floats, centres: pd.Series, seed: int
) -> tuple[LimbGate, LimbLimits]:
    """Fit the gate and its threshold.

    Parameters
    ----------
    limbs, others
        Features (n, d) of training films and of films that show no limb.
    held_out, centres
        Features (m, d) of calibration films, and the hospital of each.

    Returns
    -------
    gate, limits
        The threshold refuses 95 % of the others, each scored by a gate that was fitted without it,
        but not more than 1 % of the calibration films of any hospital.
    """
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    features = np.concatenate([limbs, others])
    is_other = np.repeat([0, 1], [len(limbs), len(others)])
    left_out = np.zeros(len(others))
    for train, test in folds.split(features, is_other):
        fitted = _fit(features[train], is_other[train])
        chosen = test[test >= len(limbs)]
        left_out[chosen - len(limbs)] = fitted.score(features[chosen])
    gate = _fit(features, is_other)
    scores = gate.score(held_out)
    names = centres.astype(str).to_numpy()
    least = max(
        float(np.quantile(scores[names == name], 1.0 - LIMBS_REFUSED)) for name in set(names)
    )
    threshold = max(float(np.quantile(left_out, 1.0 - OTHERS_REFUSED)), least)
    both = np.concatenate([scores, left_out])
    truth = np.repeat([0, 1], [len(scores), len(left_out)])
    return gate, LimbLimits(
        threshold=threshold,
        auroc=float(roc_auc_score(truth, both)),
        limbs=len(scores),
        others=len(left_out),
        limbs_refused={
            name: float((scores[names == name] > threshold).mean()) for name in sorted(set(names))
        },
        others_refused=float((left_out > threshold).mean()),
    )


def _fit(features: Floats, is_other: npt.NDArray[np.int64]) -> LimbGate:
    """Return a logistic regression on standardised features, as one on the features themselves."""
    scaled = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=_REGULARISATION, class_weight="balanced", max_iter=2000),
    ).fit(features, is_other)
    scaler, regression = (step for _, step in scaled.steps)
    weights = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_[0] - weights @ scaler.mean_
    return LimbGate(weights.astype(np.float32), np.array(bias, np.float32))
