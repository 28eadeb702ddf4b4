"""The figures of calibration films that a unit compares its own with."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime import decision
from edge_runtime.bundle import LABELS, Calibration
from edge_runtime.drift.reference import (
    LEAST_FILMS,
    MOST_FILMS,
    DriftReference,
    Measure,
    film_values,
    reference_of,
)
from edge_runtime.familiarity import FamiliarFilms, film_features
from edge_runtime.film_measures import FilmMeasures, measure_film
from edge_runtime.limb_gate import LimbGate
from edge_runtime.quality import check_quality
from edge_runtime.radiograph import read_radiograph
from export.conversion import Real
from export.gate import CalibrationFilms
from train.fusion import fused_probabilities


def drift_reference(
    given: CalibrationFilms,
    outputs: Real,
    calibration: Calibration,
    familiar: FamiliarFilms | None,
    limb_gate: LimbGate | None,
) -> DriftReference | None:
    """Measure calibration films as a unit measures those that come.

    Parameters
    ----------
    outputs
        Of the int8 file on the calibration films by head, as the device uses them.

    Returns
    -------
    DriftReference or None
        Of one film without a tumour for each patient, :data:`MOST_FILMS` of them at most; None
        where there are fewer than :data:`LEAST_FILMS` such patients.
    """
    chosen = chosen_films(
        given.films.labels, given.rows["patient_id"].to_numpy(object), given.run.recipe.seed
    )
    if len(chosen) < LEAST_FILMS:
        return None
    context = given.films.context
    real = {head: output[chosen] for head, output in outputs.items()}
    probabilities = fused_probabilities(
        real, calibration.fusion, tuple(context[film] for film in chosen) if context else ()
    )
    tumour = decision.score(probabilities, "tumour")
    distances: list[float | None] = [None] * len(chosen)
    no_limb = np.zeros(len(chosen), bool)
    if "embedding" in real:
        features = film_features(real["embedding"])
        if familiar is not None:
            # As the document of a film has it.
            distances = [round(float(far), 4) for far in familiar.distance(features)]
        if limb_gate is not None and calibration.limb is not None:
            no_limb = limb_gate.score(features) > calibration.limb.threshold
    paths = [given.dataset.image_path(given.rows.iloc[film]) for film in chosen]
    with ThreadPoolExecutor() as pool:
        measured = list(pool.map(_measure, paths))
    films: list[Mapping[Measure, float]] = [
        film_values(measures, distance, float(score))
        for (measures, _), distance, score in zip(measured, distances, tumour, strict=True)
    ]
    unable = np.array([refused for _, refused in measured]) | no_limb
    return reference_of(films, int(unable.sum()))


def chosen_films(
    labels: npt.NDArray[np.int32], patients: npt.NDArray[np.object_], seed: int
) -> npt.NDArray[np.int64]:
    """Return one film without a tumour for each patient, some of them where there are many.

    Parameters
    ----------
    labels, patients
        (n,) of films.

    Returns
    -------
    numpy.ndarray
        (m,) positions, ascending.
    """
    (free,) = np.nonzero(labels == LABELS.index("no_tumour"))
    _, first = np.unique(patients[free].astype(str), return_index=True)
    picked = np.random.default_rng(seed).permutation(first)[:MOST_FILMS]
    return np.sort(free[picked])


def _measure(path: Path) -> tuple[FilmMeasures, bool]:
    """Return a film's measures, and whether its quality is refused."""
    film = read_radiograph(path)
    measures = measure_film(film.display)
    return measures, any(finding.refuses for finding in check_quality(film, measures))
