"""Split films into training, validation and calibration so that no patient is on two sides."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import pandas as pd

from edge_runtime.errors import DatasetError
from train.dataset.schema import label_index

Part = Literal["train", "validation", "calibration"]
PARTS: tuple[Part, ...] = ("train", "validation", "calibration")


def split_patients(
    films: pd.DataFrame, *, validation: float, calibration: float, seed: int
) -> pd.DataFrame:
    """Assign every film to a part, by patient, stratified by the patient's worst label and centre.

    Parameters
    ----------
    validation, calibration
        Shares of the patients, 0..1. Validation chooses the model; calibration is kept for the
        temperature and the operating points of the exported file.

    Returns
    -------
    pandas.DataFrame
        Columns image_id, patient_id, part; in the order of ``films``.

    Raises
    ------
    DatasetError
        Too few patients of a class to have one of them in each part.
    """
    worst = pd.Series(label_index(films)).groupby(films["patient_id"].to_numpy()).max()
    centre = films.groupby("patient_id")["centre"].first().astype(str)
    strata = pd.DataFrame({"label": worst, "centre": centre})
    part_of: dict[str, Part] = {}
    generator = np.random.default_rng(seed)
    for _, patients in strata.groupby(["label", "centre"], sort=True):
        shuffled = generator.permutation(np.sort(patients.index.to_numpy(str)))
        # Boundaries are rounded on the running share, so that small strata do not all lose the
        # same part.
        cuts = np.floor(np.cumsum([validation, calibration]) * len(shuffled) + generator.random())
        cuts = np.minimum(cuts.astype(int), len(shuffled))
        for rank, patient in enumerate(shuffled):
            part_of[str(patient)] = (
                "validation" if rank < cuts[0] else "calibration" if rank < cuts[1] else "train"
            )
    split = films[["image_id", "patient_id"]].copy()
    split["part"] = films["patient_id"].map(part_of)
    _require_classes(split, films)
    return split


def split_sha256(split: pd.DataFrame) -> str:
    """Return the hash that names a split."""
    return hashlib.sha256(split.to_csv(index=False).encode()).hexdigest()


def _require_classes(split: pd.DataFrame, films: pd.DataFrame) -> None:
    for part in PARTS:
        present = set(films.loc[(split["part"] == part).to_numpy(), "label"].dropna())
        missing = {"no_tumour", "benign", "malignant"} - present
        if missing:
            raise DatasetError(
                f"the {part} part has no film labelled {' or '.join(sorted(missing))}",
                "Add patients of that class, or change the shares under [data] in the recipe",
                "radiographs.csv",
            )
