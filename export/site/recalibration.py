"""What a bundle's probabilities mean at a site: one temperature and two shifts of logits.

Three parameters, by evidence. On simulated sites (other equipment, less signal, both; 60 to 300
tumours) they had the least log loss on fresh films of what was tried: a temperature alone cannot
move the share of tumours, shifts alone cannot mend overconfidence, and with 60 tumours a weight for
each class (5) or a matrix (11) only adds noise. The figures stand in docs/calibrate.md.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from edge_runtime.bundle import Recalibration
from edge_runtime.decision import softmax

Doubles = npt.NDArray[np.float64]

# A prior of standard deviation 1 on each parameter: a class of which there are three films must
# not be told by them what it is.
_RIDGE = 0.5
# Below it a probability is the network's certainty, and its logarithm means no more.
_LEAST = 1e-9


def fit_recalibration(probabilities: Doubles, labels: npt.NDArray[np.int32]) -> Recalibration:
    """Return the recalibration of least negative log-likelihood, drawn to the bundle's own.

    Parameters
    ----------
    probabilities
        (n, 3), the bundle's.
    labels
        (n,), 0..2, all known.
    """
    films = np.arange(len(labels))

    def loss(parameters: Doubles) -> float:
        found = recalibrated(probabilities, _of(parameters))[films, labels]
        ridge = _RIDGE * float(np.square(parameters).sum()) / len(labels)
        return float(-np.log(np.maximum(found, 1e-12)).mean()) + ridge

    return _of(minimize(loss, np.zeros(3), method="L-BFGS-B").x)


def recalibrated(probabilities: Doubles, recalibration: Recalibration) -> Doubles:
    """Return what the device says with a recalibration, (n, 3), of what it says without.

    Parameters
    ----------
    probabilities
        (n, 3); NaN stays NaN.
    """
    logits = np.log(np.maximum(probabilities, _LEAST))
    return softmax(recalibration.scale * logits + np.array(recalibration.bias))


def _of(parameters: Doubles) -> Recalibration:
    log_scale, benign, malignant = map(float, parameters)
    return Recalibration(scale=float(np.exp(log_scale)), bias=(0.0, benign, malignant))
