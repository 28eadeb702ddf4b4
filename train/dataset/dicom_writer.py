"""Pixels and facts -> a Digital X-Ray Image For Presentation object (DICOM PS3.3 A.26).

Used where osteoedge itself makes a film: the phantom, and an evaluation that sends PNG or JPEG
films through the DICOM path. Films of a hospital are copied, never rewritten here.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from edge_runtime.dicom_file import IMPLEMENTATION_CLASS_UID
from edge_runtime.errors import DatasetError

Photometric = Literal["MONOCHROME1", "MONOCHROME2"]
View = Literal["frontal", "lateral", "oblique"]

# This writer's own identity.
IMPLEMENTATION_UID = IMPLEMENTATION_CLASS_UID


class Code(NamedTuple):
    """A coded concept, PS3.3 8.8: value, coding scheme, meaning."""

    value: str
    scheme: str
    meaning: str


# SNOMED CT codes of PS3.16 Annex L (body part examined <-> anatomic region).
ANATOMIC_REGIONS = {
    "ANKLE": Code("70258002", "SCT", "Ankle joint"),
    "ARM": Code("40983000", "SCT", "Upper arm"),
    "ELBOW": Code("16953009", "SCT", "Elbow joint"),
    "EXTREMITY": Code("66019005", "SCT", "Extremity"),
    "FEMUR": Code("71341001", "SCT", "Femur"),
    "FOOT": Code("56459004", "SCT", "Foot"),
    "FOREARM": Code("14975008", "SCT", "Forearm"),
    "HAND": Code("85562004", "SCT", "Hand"),
    "HIP": Code("24136001", "SCT", "Hip joint"),
    "HUMERUS": Code("85050009", "SCT", "Humerus"),
    "KNEE": Code("72696002", "SCT", "Knee"),
    "LEG": Code("30021000", "SCT", "Lower leg"),
    "PELVIS": Code("816092008", "SCT", "Pelvis"),
    "SHOULDER": Code("16982005", "SCT", "Shoulder"),
    "WRIST": Code("74670003", "SCT", "Wrist joint"),
}

# Rows run to the first direction, columns to the second (PS3.3 C.7.6.1.1.1).
_ORIENTATION: dict[View, list[str]] = {
    "frontal": ["L", "F"],
    "lateral": ["P", "F"],
    "oblique": ["LP", "F"],
}
# PS3.16 CID 4010. A limb seen obliquely has no term of its own in ViewPosition.
_VIEWS: dict[View, tuple[str, Code]] = {
    "frontal": ("AP", Code("399348003", "SCT", "antero-posterior")),
    "lateral": ("LL", Code("399067008", "SCT", "lateral")),
    "oblique": ("", Code("399182000", "SCT", "oblique")),
}


@dataclass(frozen=True)
class PatientFacts:
    """Who was examined.

    Attributes
    ----------
    patient_id, name
        ``PatientID``; ``PatientName`` in DICOM form, ``FAMILY^GIVEN``.
    sex
        ``F``, ``M``, ``O``, or None when unknown.
    age_years
        Age at the examination, 0 to 120, or None when unknown.
    """

    patient_id: str
    name: str
    sex: Literal["F", "M", "O"] | None = None
    age_years: float | None = None


@dataclass(frozen=True)
class StudyFacts:
    """How one film of a study was made.

    Attributes
    ----------
    study_id, image_id
        Names that are unique with the patient; the UIDs are derived from them.
    acquired_on
        Date of the examination, or None when unknown.
    body_part
        Defined term of ``BodyPartExamined`` (PS3.16 Annex L), a key of `ANATOMIC_REGIONS`.
    view, laterality
        Projection and side. DX has no word for "not known" (both attributes are type 1): None is
        written as frontal orientation and ``U``, and the view attributes are left out.
    spacing_mm
        Detector pixel pitch in mm (rows, columns alike). Type 1, so a caller who does not know it
        must choose one, and say so in `derivation`.
    manufacturer, model
        Of the equipment.
    instance_number
        Position of the film in its series, from 1.
    derivation
        ``DerivationDescription``, also shown as ``ImageComments``: where these pixels come from.
    synthetic
        True for content that no detector ever saw.
    """

    study_id: str
    image_id: str
    spacing_mm: float
    acquired_on: date | None = None
    body_part: str = "EXTREMITY"
    view: View | None = None
    laterality: Literal["L", "R"] | None = None
    manufacturer: str = ""
    model: str = ""
    instance_number: int = 1
    derivation: str = ""
    synthetic: bool = False


def radiograph_dataset(
    pixels: npt.NDArray[np.uint16] | npt.NDArray[np.uint8],
    *,
    bits_stored: int,
    photometric: Photometric,
    patient: PatientFacts,
    study: StudyFacts,
    window: tuple[float, float] | None = None,
) -> FileDataset:
    """Build a complete Digital X-Ray For Presentation object, uncompressed.

    Parameters
    ----------
    pixels
        Stored values, shape (rows, columns), 0 to ``2**bits_stored - 1``, already in the sense of
        `photometric`: they are written as they are.
    bits_stored
        Significant bits: 8 for uint8, 8 to 16 for uint16.
    photometric
        ``MONOCHROME1`` (low is white) or ``MONOCHROME2`` (low is black).
    patient, study
        The facts that go with the pixels.
    window
        ``WindowCenter`` and ``WindowWidth`` in stored values, LINEAR (PS3.3 C.11.2.1.2.1); None
        shows the full range.

    Returns
    -------
    pydicom.dataset.FileDataset
        Explicit VR little endian with file meta information. Its UIDs depend on the facts and the
        pixels alone: the same film has the same UIDs wherever and whenever it is made.

    Raises
    ------
    DatasetError
        If the pixels are not one 2-D plane of `bits_stored` bits, or the body part has no code.
    """
    _check(pixels, bits_stored, study)
    inverted = photometric == "MONOCHROME1"
    full_range = 1 << bits_stored
    centre, width = window if window is not None else (full_range / 2, float(full_range))
    study_key = (patient.patient_id, study.study_id)
    stored = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    content = hashlib.sha256(stored).hexdigest()

    ds = _new_file(_uid("instance", *study_key, study.image_id, content))

    ds.SpecificCharacterSet = "ISO_IR 192"
    if study.synthetic:
        ds.SyntheticData = "YES"

    # Patient, General Study, Patient Study
    ds.PatientName = patient.name
    ds.PatientID = patient.patient_id
    ds.PatientBirthDate = ""
    ds.PatientSex = patient.sex or ""
    if patient.age_years is not None:
        ds.PatientAge = f"{int(patient.age_years):03d}Y"
    ds.StudyInstanceUID = _uid("study", *study_key)
    day = study.acquired_on.strftime("%Y%m%d") if study.acquired_on else ""
    ds.StudyDate = day
    ds.StudyTime = ""
    ds.ReferringPhysicianName = ""
    # SH holds 16 characters; the full name is in the UID.
    ds.StudyID = study.study_id[:16]
    ds.AccessionNumber = ""

    # General Series, DX Series, General Equipment
    ds.Modality = "DX"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.SeriesInstanceUID = _uid("series", *study_key)
    ds.SeriesNumber = 1
    ds.BodyPartExamined = study.body_part
    ds.Manufacturer = study.manufacturer
    ds.ManufacturerModelName = study.model

    # General Image, DX Image
    ds.InstanceNumber = study.instance_number
    ds.AcquisitionDate = day
    ds.ContentDate = day
    ds.ContentTime = ""
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.PatientOrientation = _ORIENTATION[study.view or "frontal"]
    ds.BurnedInAnnotation = "NO"  # PS3.3 C.7.6.1: about text that identifies the patient
    ds.LossyImageCompression = "00"
    if study.derivation:
        ds.DerivationDescription = study.derivation
        ds.ImageComments = study.derivation
    ds.PixelIntensityRelationship = "LOG"
    # 1: lower stored values mean less X-ray intensity, which is where a film is white.
    ds.PixelIntensityRelationshipSign = 1 if inverted else -1
    ds.RescaleIntercept = "0"
    ds.RescaleSlope = "1"
    ds.RescaleType = "US"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    ds.WindowCenter = f"{centre:g}"
    ds.WindowWidth = f"{width:g}"

    # Image Pixel
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = photometric
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = bits_stored
    ds.HighBit = bits_stored - 1
    ds.PixelRepresentation = 0
    ds.add_new(
        "PixelData", "OB" if ds.BitsAllocated == 8 else "OW", stored + b"\0" * (len(stored) % 2)
    )

    # DX Anatomy Imaged, DX Positioning, DX Detector, Acquisition Context
    ds.ImageLaterality = study.laterality or "U"
    ds.AnatomicRegionSequence = [_coded(ANATOMIC_REGIONS[study.body_part])]
    ds.PositionerType = ""
    if study.view:
        position, code = _VIEWS[study.view]
        ds.ViewPosition = position
        ds.ViewCodeSequence = [_coded(code)]
    ds.DetectorType = ""
    ds.ImagerPixelSpacing = [f"{study.spacing_mm:g}"] * 2
    ds.PixelSpacing = [f"{study.spacing_mm:g}"] * 2
    ds.AcquisitionContextSequence = []
    return ds


def _check(pixels: npt.NDArray[np.generic], bits_stored: int, study: StudyFacts) -> None:
    """Raise a DatasetError unless the pixels and facts can be written as they are."""
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise DatasetError(
            f"the pixels are {pixels.dtype} of shape {pixels.shape}, not one grey plane",
            "pass uint8 or uint16 of shape (rows, columns)",
            study.image_id,
        )
    if not 8 <= bits_stored <= 8 * pixels.dtype.itemsize or int(pixels.max()) >> bits_stored:
        raise DatasetError(
            f"the pixels ({pixels.dtype}, up to {int(pixels.max())}) are not {bits_stored} bits",
            "state the bits that the values need, 8 to 16",
            study.image_id,
        )
    if study.body_part not in ANATOMIC_REGIONS:
        raise DatasetError(
            f"no anatomic region code is known for body part {study.body_part!r}",
            f"use one of {', '.join(sorted(ANATOMIC_REGIONS))}",
            study.image_id,
        )


def _uid(*key: str) -> UID:
    """Return the UID of a key, in the UUID arc 2.25 (PS3.5 B.2): no root is borrowed."""
    name = "https://osteoedge.invalid/" + "/".join(quote(part, safe="") for part in key)
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}")


def _new_file(instance_uid: UID) -> FileDataset:
    """Return an empty object with its file meta information (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = "OSTEOEDGE"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = instance_uid
    return ds


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item
