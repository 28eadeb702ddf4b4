"""What quantization cost: head by head, and in the figures that matter, with a gate for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import Head, HeadParity, Interval, ModelSpec, OperatingPoint
from train.config import ExportConfig
from train.evaluate.metrics import all_differences

FloatArray = npt.NDArray[np.float32]

# Of `metrics.json`, those that a quantized file could lose.
COMPARED = (
    "auc_macro", "auc_no_tumour", "auc_benign", "auc_malignant", "auc_tumour", "benign_referred",
    "malignant_referred", "referred.specificity", "spec_at_sens90", "dice_tumour",
    "false_mask_rate", "ece", "brier",
)  # fmt: skip


def head_parity(
    reference: Mapping[str, FloatArray], file: Mapping[str, FloatArray], spec: ModelSpec
) -> dict[Head, HeadParity]:
    """Compare outputs of Keras and of the file on the same films, (n, ...) each, head by head.

    Of the embedding, thousands of features that nothing reads one by one, the mean over each film
    is compared, which is what is used of it.
    """
    found = {}
    for head, tensor in spec.outputs.items():
        exact, stored = (outputs[head].astype(np.float64) for outputs in (reference, file))
        if head == "embedding":
            exact, stored = exact.mean(axis=(1, 2)), stored.mean(axis=(1, 2))
        error = stored - exact
        steps = np.abs(error) / tensor.scale
        found[head] = HeadParity(
            snr_db=signal_to_noise(exact, error),
            cosine=float((exact * stored).sum() / _norm(exact) / _norm(stored)),
            mean_steps=float(steps.mean()),
            max_steps=float(steps.max()),
        )
    return found


def signal_to_noise(signal: npt.NDArray[np.float64], error: npt.NDArray[np.float64]) -> float:
    """Return the ratio of two powers in decibels, at most 200."""
    noise = max(float(np.square(error).sum()), 1e-20 * float(np.square(signal).sum()), 1e-300)
    return float(10.0 * np.log10(max(float(np.square(signal).sum()), 1e-300) / noise))


def differences(
    int8: pd.DataFrame,
    exact: pd.DataFrame,
    points: tuple[Sequence[OperatingPoint], Sequence[OperatingPoint]],
) -> dict[str, Interval]:
    """Return the figures of the int8 file less those of float; what the films do not allow is out.

    Parameters
    ----------
    int8, exact
        Of :func:`export.answers.answers`, the same films in the same order.
    points
        Operating points of each, fitted on its own outputs.
    """
    found = all_differences(int8, exact, points)
    return {
        name: Interval(value=metric.value, low=metric.low, high=metric.high)
        for name in COMPARED
        if (metric := found[name]).value is not None
        and metric.low is not None
        and metric.high is not None
    }


def losses(
    heads: Mapping[Head, HeadParity],
    changed: Mapping[str, Interval],
    config: ExportConfig,
) -> list[str]:
    """Return what was lost beyond the recipe's bounds, one phrase each; empty where all is well.

    The AUC is held by its value. The other figures scatter more on some hundred films: they count
    as lost where their interval excludes that nothing changed.
    """
    found = []
    for head, parity in heads.items():
        if parity.mean_steps > config.max_mean_steps:
            found.append(
                f"head {head} is off by {parity.mean_steps:.1f} steps on average, more than "
                f"{config.max_mean_steps:g} (export.max_mean_steps)"
            )
        if parity.snr_db < config.min_snr_db:
            found.append(
                f"head {head} has {parity.snr_db:.1f} dB of signal to noise, less than "
                f"{config.min_snr_db:g} (export.min_snr_db)"
            )
    bounds = (
        ("auc_macro", "macro AUC", -1, config.max_auc_drop, "max_auc_drop"),
        ("benign_referred", "benign tumours referred", -1, config.max_sensitivity_drop,
         "max_sensitivity_drop"),
        ("malignant_referred", "malignant tumours referred", -1, config.max_sensitivity_drop,
         "max_sensitivity_drop"),
        ("dice_tumour", "Dice", -1, config.max_dice_drop, "max_dice_drop"),
        ("ece", "calibration error", 1, config.max_ece_rise, "max_ece_rise"),
    )  # fmt: skip
    for name, words, worse, bound, key in bounds:
        change = changed.get(name)
        if change is None or worse * change.value <= bound:
            continue
        least = change.low if worse > 0 else -change.high
        if name == "auc_macro" or least > 0.0:
            found.append(
                f"{words} {change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f}) against "
                f"float, more than {bound:g} (export.{key})"
            )
    return found


def _norm(values: npt.NDArray[np.float64]) -> float:
    return max(float(np.linalg.norm(values)), 1e-30)
