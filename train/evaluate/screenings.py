"""Predictions for the films of a dataset: by a bundle through the device's code, or by Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from edge_runtime.bundle import LABELS
from edge_runtime.decision import to_film
from edge_runtime.errors import DatasetError, OsteoedgeError, RadiographError
from edge_runtime.files import write_atomically
from edge_runtime.preprocess import InputSpec, place
from edge_runtime.radiograph import Radiograph, read_radiograph
from edge_runtime.reports.overlay import overlay_png
from edge_runtime.screener import Screener, Screening
from train.dataset.dicom_writer import PatientFacts, StudyFacts, radiograph_dataset
from train.dataset.schema import Dataset

# Carried along for the strata of the report.
STRATA = ("age", "sex", "region", "view", "subtype")
# What is worth looking at: caption, label is a tumour, film was flagged.
EXAMPLES = (
    ("tumour, flagged", True, True),
    ("tumour, missed", True, False),
    ("no tumour, flagged", False, True),
    ("no tumour, not flagged", False, False),
)
EXAMPLES_EACH = 3

Report = Callable[[int, int], None]


def screen_dataset(
    screener: Screener,
    dataset: Dataset,
    *,
    through_dicom: bool = False,
    progress: Report | None = None,
) -> tuple[pd.DataFrame, list[OsteoedgeError]]:
    """Screen every film of a dataset as the device would.

    Parameters
    ----------
    through_dicom
        Wrap films that are pictures as DICOM first and read that: the way a device gets them.

    Returns
    -------
    predictions, errors
        One row a film, also for one that cannot be read (`unable`, no probabilities), and what
        was wrong with those.
    """
    rows: list[dict[str, Any]] = []
    errors: list[OsteoedgeError] = []
    spec = screener.bundle.manifest.input_spec
    for number, (_, film) in enumerate(dataset.films.iterrows(), start=1):
        row = _identity(film)
        try:
            radiograph = _read(dataset.image_path(film), through_dicom)
        except RadiographError as error:
            errors.append(error)
            rows.append({**row, "decision": "unable"})
        else:
            screening = screener.screen(radiograph)
            row.update(_answer(screening))
            try:
                row.update(_marking(dataset, film, radiograph, screening, spec))
            except DatasetError as error:
                errors.append(error)
            rows.append(row)
        if progress:
            progress(number, len(dataset.films))
    return pd.DataFrame(rows), errors


def probability_table(dataset: Dataset, probabilities: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return predictions that are probabilities (n, 3) alone, without decisions."""
    rows = [_identity(film) for _, film in dataset.films.iterrows()]
    frame = pd.DataFrame(rows)
    for number, label in enumerate(LABELS):
        frame[f"p_{label}"] = probabilities[:, number]
    frame["decision"] = pd.NA
    frame["dice"], frame["painted"] = np.nan, np.nan
    return frame


def write_examples(
    screener: Screener, dataset: Dataset, predictions: pd.DataFrame, folder: Path
) -> Iterator[tuple[str, Path]]:
    """Write overlays of a few films of each kind and yield (caption, file)."""
    folder.mkdir(parents=True, exist_ok=True)
    flagged = predictions["decision"].isin(["urgent_review", "routine_review"])
    tumour = predictions["label"].isin(LABELS[1:])
    readable = predictions["p_no_tumour"].notna() & predictions["label"].notna()
    for caption, is_tumour, is_flagged in EXAMPLES:
        chosen = np.flatnonzero(readable & (tumour == is_tumour) & (flagged == is_flagged))
        for number in chosen[:EXAMPLES_EACH]:
            film = dataset.films.iloc[int(number)]
            radiograph = _read(dataset.image_path(film), through_dicom=False)
            screening = screener.screen(radiograph)
            file = folder / f"{film['image_id']}.png"
            spec = screener.bundle.manifest.input_spec
            write_atomically(file, overlay_png(radiograph, screening, spec))
            yield f"{film['image_id']}: {caption}", file


def _identity(film: pd.Series) -> dict[str, Any]:
    kept = ("image_id", "patient_id", "centre", "label", *(s for s in STRATA if s in film.index))
    blank = {f"p_{label}": np.nan for label in LABELS}
    return {**{name: film[name] for name in kept}, **blank, "dice": np.nan, "painted": np.nan}


def _answer(screening: Screening) -> dict[str, Any]:
    probabilities = screening.probabilities or {}
    return {
        "decision": screening.decision,
        **{f"p_{label}": probability for label, probability in probabilities.items()},
    }


def _marking(
    dataset: Dataset, film: pd.Series, radiograph: Radiograph, screening: Screening, spec: InputSpec
) -> dict[str, Any]:
    """Compare what the result marks with the reference, at the film's own size."""
    shape = (radiograph.display.shape[0], radiograph.display.shape[1])
    reference = dataset.mask(film, shape)
    if film["label"] == "no_tumour":
        return {"painted": bool(screening.lesions)}
    if reference is None or not reference.any() or screening.mask is None:
        return {}
    marked = to_film(screening.mask, place(shape, spec), spec) > 0
    truth = reference > 0
    return {"dice": 2.0 * (marked & truth).sum() / (marked.sum() + truth.sum())}


def _read(path: Path, through_dicom: bool) -> Radiograph:
    radiograph = read_radiograph(path)
    if not through_dicom or radiograph.modality is not None:
        return radiograph
    bits = 8 * radiograph.display.dtype.itemsize
    wrapped = radiograph_dataset(
        radiograph.display,
        bits_stored=bits,
        photometric="MONOCHROME2",
        patient=PatientFacts(patient_id=path.stem, name=""),
        # The picture does not say; the spacing changes nothing in the screening.
        study=StudyFacts(study_id=path.stem, image_id=path.stem, spacing_mm=0.2),
    )
    return read_radiograph(wrapped)
