"""What is decided on the file that ships: fusion of the heads, thresholds, prediction sets.

Everything is fitted on the int8 file's own outputs, computed by the device's code, on films that
neither trained the network nor chose it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binom

from edge_runtime import decision
from edge_runtime.bundle import (
    LABELS,
    Calibration,
    ConformalQuantile,
    ModelSpec,
)
from edge_runtime.delegates.base import LoadedModel
from edge_runtime.errors import GateError
from edge_runtime.preprocess import InputSpec
from train.calibration import fit_mask_threshold, operating_points, study_points
from train.config import ExportConfig
from train.dataset.pipeline import FilmSet
from train.fusion import fit_fusion, fused_probabilities

Int8 = npt.NDArray[np.int8]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DeviceOutputs:
    """int8 outputs of the file on n films, by head: (n, rows, columns, channels)."""

    stored: dict[str, Int8]
    spec: ModelSpec

    def real(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return what they stand for, float32, same shapes."""
        tensors = self.spec.outputs.items()
        return {head: tensor.dequantize(self.stored[head]) for head, tensor in tensors}


def run_films(
    model: LoadedModel, spec: ModelSpec, input_spec: InputSpec, pixels: npt.NDArray[np.uint8]
) -> DeviceOutputs:
    """Run network pixels (n, height, width) uint8 through a loaded model, one by one."""
    stored: dict[str, list[Int8]] = {head: [] for head in spec.outputs}
    for film in pixels:
        for head, output in model.run(spec.quantize(film, input_spec)).items():
            stored[head].append(output[0])
    return DeviceOutputs({head: np.stack(stored[head]) for head in spec.outputs}, spec)


def shown_outputs(
    model: LoadedModel,
    spec: ModelSpec,
    input_spec: InputSpec,
    pixels: npt.NDArray[np.uint8],
    *,
    mirror: bool,
    plain: DeviceOutputs | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the file's outputs for films as the device uses them: averaged with the mirrored ones.

    Parameters
    ----------
    pixels
        (n, height, width), the network's.
    plain
        Of :func:`run_films` on the same films, where they are at hand.
    """
    found = (plain or run_films(model, spec, input_spec, pixels)).real()
    if not mirror:
        return found
    mirrored = run_films(model, spec, input_spec, pixels[:, :, ::-1])
    return decision.average_mirrored(found, mirrored.real())


def require_levels(outputs: DeviceOutputs, minimum: int) -> dict[str, int]:
    """Return how many of the 256 int8 levels each head uses.

    Raises
    ------
    GateError
        Fewer than ``minimum``: the head's scores would be steps, not a ranking.
    """
    levels: dict[str, int] = {h: len(np.unique(stored)) for h, stored in outputs.stored.items()}
    for head, used in levels.items():
        if used < minimum:
            raise GateError(
                f"head {head} uses only {used} of 256 int8 levels on the calibration films",
                f"Train longer or with more films; at least {minimum} are needed "
                "(export.min_levels)",
            )
    return levels


@dataclass(frozen=True)
class Scored:
    """n films, and what an int8 file that never saw them in training says of them.

    Attributes
    ----------
    probabilities
        (n, 3), calibrated.
    labels
        (n,), 0..2, all known.
    patients, studies
        (n,), whom and which examination each shows.
    folds
        How many files answered, each the films that it had left out; None for one.
    """

    probabilities: Doubles
    labels: npt.NDArray[np.int32]
    patients: npt.NDArray[np.object_]
    studies: npt.NDArray[np.object_]
    folds: int | None = None

    @classmethod
    def of(
        cls, probabilities: Doubles, labels: npt.NDArray[np.int32], rows: pd.DataFrame
    ) -> Scored:
        """Take patients and studies from the films' rows of the dataset."""
        patients = rows["patient_id"].to_numpy(object)
        studies = patients
        if "study_id" in rows.columns:
            studies = rows["study_id"].fillna(rows["patient_id"]).to_numpy(object)
        return cls(probabilities, labels, patients, studies)


def calibrate(
    real: Mapping[str, npt.NDArray[np.float32]],
    films: FilmSet,
    rows: pd.DataFrame,
    config: ExportConfig,
) -> Calibration:
    """Fit everything that the manifest's calibration holds.

    Parameters
    ----------
    real
        Outputs by head as the device computes them, averaged with those of the mirrored films
        where it will average.
    films
        The n films, all labels known.
    rows
        Their (n,) rows of the dataset: who and which study they show.
    """
    labels = films.labels
    fusion = fit_fusion(real, labels, films.malignant_subtypes, films.context)
    scored = Scored.of(fused_probabilities(real, fusion, films.context), labels, rows)
    mask_threshold = None
    if "mask" in real:
        masks = np.asarray(films.cache.masks[films.rows])
        lesion = decision.mask_probability(real["mask"][..., 0])
        mask_threshold = fit_mask_threshold(lesion, masks, labels, config.max_false_masks)
    return Calibration(
        fusion=fusion,
        mirror=config.mirror,
        mask_threshold=mask_threshold,
        **_thresholds(scored, config),
    )


def with_thresholds(calibration: Calibration, scored: Scored, config: ExportConfig) -> Calibration:
    """Return a calibration whose thresholds are those of other films.

    What the heads weigh and where a lesion begins stay as they are.
    """
    changed = _thresholds(scored, config)
    return Calibration.model_validate(calibration.model_copy(update=changed).model_dump())


def _thresholds(scored: Scored, config: ExportConfig) -> dict[str, Any]:
    probabilities, labels = scored.probabilities, scored.labels
    malignant = labels == LABELS.index("malignant")
    return {
        "folds": scored.folds,
        "films": len(labels),
        "patients": len(set(scored.patients)),
        "malignant_patients": len(set(scored.patients[malignant])),
        "studies": len(set(scored.studies)),
        "operating_points": (
            *operating_points(probabilities, labels, config),
            *study_points(probabilities, labels, scored.studies, config),
        ),
        "conformal_alpha": config.conformal_alpha,
        "conformal_quantiles": {
            label: conformal_quantile(1.0 - probabilities[labels == k, k], config.conformal_alpha)
            for k, label in enumerate(LABELS)
        },
    }


def conformal_quantile(nonconformity: Doubles, alpha: float) -> ConformalQuantile:
    """Return the finite-sample quantile of split conformal prediction for one class.

    With too few films for ``alpha`` the class can never be excluded, which is 1.

    Parameters
    ----------
    nonconformity
        (n,), 1 - probability of the films' own class.
    """
    return upper_quantile(nonconformity, alpha, beyond=1.0)


def upper_quantile(values: Doubles, alpha: float, beyond: float) -> ConformalQuantile:
    """Return the value that a new film exceeds with a probability of at most ``alpha``.

    Its 95 % interval is that of an order statistic, whose rank among n films is binomial (David
    and Nagaraja, "Order statistics", 2003, section 7.1).

    Parameters
    ----------
    values
        (n,).
    beyond
        The answer where n is too small for one.
    """
    ranked, n = np.sort(values), len(values)

    def at(rank: int) -> float:
        return beyond if not n or rank > n else float(ranked[max(rank, 1) - 1])

    low, high = (int(binom.ppf(edge, n, 1.0 - alpha)) for edge in (0.025, 0.975))
    value = at(int(np.ceil((n + 1) * (1.0 - alpha))))
    return ConformalQuantile(
        value=value, films=n, low=min(at(low), value), high=max(at(high + 1), value)
    )
