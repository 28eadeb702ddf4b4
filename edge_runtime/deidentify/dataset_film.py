"""A film of a hospital -> the film of nobody that goes into a dataset folder, and its columns."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pydicom

from edge_runtime.deidentify.anatomy import anatomy_columns
from edge_runtime.deidentify.film import Touched, deidentify
from edge_runtime.deidentify.secret import Secret
from edge_runtime.errors import CorruptRadiographError, RadiographError
from edge_runtime.radiograph import read_radiograph


@dataclass(frozen=True)
class DatasetFilm:
    """A film as a dataset folder holds it.

    Attributes
    ----------
    data
        The de-identified DICOM file.
    columns
        Of radiographs.csv, as far as the header tells: patient, study, day, age, sex, region,
        anatomy, view, laterality, manufacturer and model.
    shape
        Rows and columns.
    touched, burned_in
        See :class:`edge_runtime.deidentify.film.DeidentifiedFilm`.
    """

    data: bytes
    columns: dict[str, str]
    shape: tuple[int, int]
    touched: Touched
    burned_in: str


def dataset_film(data: bytes, secret: Secret, source: str) -> DatasetFilm:
    """De-identify a film, and see that it shows the same picture still.

    Parameters
    ----------
    data
        A DICOM file.
    source
        The file, for errors.

    Raises
    ------
    RadiographError
        It cannot be read as a film, or cannot be de-identified.
    """
    try:
        radiograph = read_radiograph(data)
    except RadiographError as error:
        raise type(error)(error.what, error.remedy, source) from None
    made = deidentify(data, secret, age_years=radiograph.age_years, source=source)
    if not np.array_equal(read_radiograph(made.data).display, radiograph.display):
        raise CorruptRadiographError(
            "would show another picture once it is de-identified",
            "Export it uncompressed from its source",
            source,
        )
    header = pydicom.dcmread(io.BytesIO(made.data), stop_before_pixels=True)
    return DatasetFilm(
        data=made.data,
        columns=anatomy_columns(header)
        | {
            "sex": str(header.get("PatientSex", "")),
            "manufacturer": str(header.get("Manufacturer") or ""),
            "model": str(header.get("ManufacturerModelName") or ""),
            "patient_id": made.patient_id,
            "study_id": made.study_id,
            "acquired_on": made.acquired_on,
            "age": "" if made.age_years is None else f"{made.age_years:g}",
        },
        shape=(radiograph.display.shape[0], radiograph.display.shape[1]),
        touched=made.touched,
        burned_in=made.burned_in,
    )
