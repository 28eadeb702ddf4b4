"""Fit how the evidence of the heads is weighed: the last, five-parameter layer of the network.

The class head learns what it can from whole films, which includes what betrays a hospital. The
mask head learns where lesions are, cell by cell, and that holds elsewhere. Neither is trained
through the other: a film's label that flowed into the mask head would teach it the same shortcuts.
They meet here, on films that trained neither.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from edge_runtime.bundle import Fusion
from edge_runtime.decision import class_logits, lesion_evidence, logits_from_cam, softmax
from train.evaluate.metrics import macro_auc

FloatArray = npt.NDArray[np.float32]

# Odds beyond this are not supported by some hundred films.
_CAM_WEIGHTS = (0.02, 20.0)
# More lesion on a film never makes a tumour less likely.
_MASK_WEIGHTS = (0.0, None)
_RIDGE = 1e-3


def fit_fusion(outputs: Mapping[str, FloatArray], labels: npt.NDArray[np.int32]) -> Fusion:
    """Return the fusion of least negative log-likelihood: a multinomial logistic regression.

    Its weight of the class head is an inverse temperature (Guo et al., "On calibration of modern
    neural networks", ICML 2017): the same fit calibrates the probabilities.

    Parameters
    ----------
    outputs
        Real outputs on n films: `cam` (n, rows, columns, 3) and `mask` (n, rows, columns, 1).
    labels
        (n,), 0..2, or -1 for films that count for nothing.
    """
    known = labels >= 0
    classes = logits_from_cam(outputs["cam"][known]).astype(np.float64)
    evidence = lesion_evidence(outputs["mask"][known, ..., 0]).astype(np.float64)
    films, targets = np.arange(known.sum()), labels[known]
    centre, spread = float(evidence.mean()), max(float(evidence.std()), 1e-6)

    def fusion(parameters: npt.NDArray[np.float64]) -> Fusion:
        cam, benign, malignant, benign_bias, malignant_bias = map(float, parameters)
        slopes = (0.0, benign / spread, malignant / spread)
        biases = (0.0, benign_bias, malignant_bias)
        bias = tuple(b - slope * centre for b, slope in zip(biases, slopes, strict=True))
        return Fusion(cam=cam, mask=slopes, bias=(bias[0], bias[1], bias[2]))

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        probabilities = softmax(class_logits(classes, evidence, fusion(parameters)))
        ridge = _RIDGE * float(np.square(parameters[1:3]).sum())
        return float(-np.log(np.maximum(probabilities[films, targets], 1e-12)).mean()) + ridge

    bounds = [_CAM_WEIGHTS, _MASK_WEIGHTS, _MASK_WEIGHTS, (None, None), (None, None)]
    return fusion(minimize(loss, [1.0, 0.1, 0.1, 0.0, 0.0], method="L-BFGS-B", bounds=bounds).x)


def fused_probabilities(
    outputs: Mapping[str, FloatArray], fusion: Fusion
) -> npt.NDArray[np.float64]:
    """Return class probabilities (n, 3) of real outputs, as the device computes them."""
    logits = logits_from_cam(outputs["cam"])
    return softmax(class_logits(logits, lesion_evidence(outputs["mask"][..., 0]), fusion))


def fused_auc(outputs: Mapping[str, FloatArray], labels: npt.NDArray[np.int32]) -> float:
    """Return the macro AUC over the films whose label is known, fused by a fit to these films.

    Five parameters on hundreds of films: a little optimistic, and alike for all that are compared.
    """
    probabilities = fused_probabilities(outputs, fit_fusion(outputs, labels))
    known = labels >= 0
    return macro_auc(labels[known], probabilities[known])
