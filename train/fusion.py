"""Fit how the evidence of the heads is weighed: the last layer, of five or six parameters.

The class head learns what it can from whole films, which includes what betrays a hospital. The
mask head learns where lesions are, cell by cell, and that holds elsewhere. Neither is trained
through the other: a film's label that flowed into the mask head would teach it the same shortcuts.
They meet here, on films that trained neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from edge_runtime.bundle import Fusion
from edge_runtime.decision import Evidence, class_logits, context_logits, fuse, softmax, weigh
from train.evaluate.metrics import macro_auc

FloatArray = npt.NDArray[np.float32]

# Odds beyond this are not supported by some hundred films.
_CAM_WEIGHTS = (0.02, 20.0)
# More lesion on a film never makes a tumour less likely.
_MASK_WEIGHTS = (0.0, None)
_RIDGE = 1e-3
# A prior of standard deviation 1 on what a word may add, in logits.
_CONTEXT_RIDGE = 0.5
_PIXELS = 6


def fit_fusion(
    outputs: Mapping[str, FloatArray],
    labels: npt.NDArray[np.int32],
    malignant_subtypes: Sequence[int] = (),
    context: Sequence[Mapping[str, str]] = (),
) -> Fusion:
    """Return the fusion of least negative log-likelihood: a multinomial logistic regression.

    Its weight of the class head is an inverse temperature (Guo et al., "On calibration of modern
    neural networks", ICML 2017): the same fit calibrates the probabilities.

    Parameters
    ----------
    outputs
        Real outputs on n films, see :func:`edge_runtime.decision.weigh`.
    labels
        (n,), 0..2, or -1 for films that count for nothing.
    malignant_subtypes
        Channels of the head of subtypes; empty where there is none to be weighed.
    context
        What is known beside the pixels of each of the n films; empty for nothing of any. Each film
        counts once for every choice of its facts, so that a film without them is a usual case.
    """
    known = labels >= 0
    evidence = Evidence(*(part[known] for part in weigh(outputs, malignant_subtypes)))
    design = _Design.of([words for words, k in zip(context, known, strict=bool(context)) if k])
    evidence = Evidence(*(np.repeat(part, design.choices, axis=0) for part in evidence))
    targets = np.repeat(labels[known], design.choices)
    films = np.arange(len(targets))
    centre, spread = float(evidence.lesion.mean()), max(float(evidence.lesion.std()), 1e-6)
    # Half of it goes to malignant and half is taken from benign.
    unit = 2.0 / max(float(evidence.malignancy.std()), 1e-6)

    def fusion(parameters: npt.NDArray[np.float64]) -> Fusion:
        cam, benign, malignant, benign_bias, malignant_bias, subtype = map(
            float, parameters[:_PIXELS]
        )
        slopes = (0.0, benign / spread, malignant / spread)
        biases = (0.0, benign_bias, malignant_bias)
        bias = tuple(b - slope * centre for b, slope in zip(biases, slopes, strict=True))
        return Fusion(
            cam=cam,
            mask=slopes,
            bias=(bias[0], bias[1], bias[2]),
            subtype=subtype * unit,
            malignant_subtypes=tuple(malignant_subtypes),
            context=design.named(parameters[_PIXELS:]),
        )

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        context = design.logits(parameters[_PIXELS:])
        probabilities = softmax(class_logits(evidence, fusion(parameters), context))
        ridge = _RIDGE * float(np.square(parameters[[1, 2, 5]]).sum())
        ridge += _CONTEXT_RIDGE * float(np.square(parameters[_PIXELS:]).sum()) / len(targets)
        return float(-np.log(np.maximum(probabilities[films, targets], 1e-12)).mean()) + ridge

    free = (None, None)
    lesion = _MASK_WEIGHTS if "mask" in outputs else (0.0, 0.0)
    subtype = _MASK_WEIGHTS if malignant_subtypes else (0.0, 0.0)
    words = 2 * len(design.words)
    bounds = [_CAM_WEIGHTS, lesion, lesion, free, free, subtype, *([free] * words)]
    start = [1.0, *([0.1 if "mask" in outputs else 0.0] * 2), 0.0, 0.0, 0.0, *([0.0] * words)]
    return fusion(minimize(loss, start, method="L-BFGS-B", bounds=bounds).x)


@dataclass(frozen=True)
class _Design:
    """Which words are known: (n, words) 0 or 1, ``choices`` rows a film in its place."""

    words: tuple[tuple[str, str], ...]
    known: npt.NDArray[np.float64]
    choices: int

    @classmethod
    def of(cls, context: Sequence[Mapping[str, str]]) -> _Design:
        words = tuple(sorted({pair for film in context for pair in film.items()}))
        names = sorted({name for name, _ in words})
        choices = list(product((False, True), repeat=len(names)))
        rows = [
            [film.get(name) == word and chosen[names.index(name)] for name, word in words]
            for film in context
            for chosen in choices
        ]
        return cls(words, np.array(rows, np.float64).reshape(len(rows), len(words)), len(choices))

    def logits(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | float:
        """Return what the words add, (n, 3), of two weights a word: benign, malignant."""
        if not self.words:
            return 0.0
        return np.asarray(self.known @ np.pad(weights.reshape(-1, 2), ((0, 0), (1, 0))))

    def named(
        self, weights: npt.NDArray[np.float64]
    ) -> dict[str, dict[str, tuple[float, float, float]]]:
        """Return the weights by fact and word."""
        named: dict[str, dict[str, tuple[float, float, float]]] = {}
        for (name, word), (benign, malignant) in zip(
            self.words, weights.reshape(-1, 2).tolist(), strict=True
        ):
            named.setdefault(name, {})[word] = (0.0, benign, malignant)
        return named


def fused_probabilities(
    outputs: Mapping[str, FloatArray], fusion: Fusion, context: Sequence[Mapping[str, str]] = ()
) -> npt.NDArray[np.float64]:
    """Return class probabilities (n, 3) of real outputs, as the device computes them.

    ``context`` is that of :func:`fit_fusion`.
    """
    added = np.array([context_logits(words, fusion) for words in context]) if context else 0.0
    return fuse(outputs, fusion, added)


def fused_auc(
    outputs: Mapping[str, FloatArray],
    labels: npt.NDArray[np.int32],
    malignant_subtypes: Sequence[int] = (),
) -> float:
    """Return the macro AUC over the films whose label is known, fused by a fit to these films.

    Few parameters on hundreds of films: a little optimistic, and alike for all that are compared.
    """
    probabilities = fused_probabilities(outputs, fit_fusion(outputs, labels, malignant_subtypes))
    known = labels >= 0
    return macro_auc(labels[known], probabilities[known])
