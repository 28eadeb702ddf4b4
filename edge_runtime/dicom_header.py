"""What a DICOM header says of a film. A value that is missing or cannot be read says nothing."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

# Body Part Examined for codes of Anatomic Region Sequence, SNOMED CT (PS3.16 annex L, table L-1).
# Older films carry the same regions as SNOMED RT.
_REGION_CODES = {
    "53120007": "UPPERLIMB", "51299004": "CLAVICLE", "79601000": "SCAPULA",
    "16982005": "SHOULDER", "85050009": "HUMERUS", "40983000": "UPPERARM",
    "16953009": "ELBOW", "14975008": "FOREARM", "62413002": "RADIUS", "23416004": "ULNA",
    "110535000": "RADIUSULNA", "74670003": "WRIST", "85562004": "HAND", "7569003": "FINGER",
    "76505004": "THUMB", "61685007": "LOWERLIMB", "68367000": "THIGH", "71341001": "FEMUR",
    "72696002": "KNEE", "49076000": "KNEE", "64234005": "PATELLA", "30021000": "LOWERLEG",
    "12611008": "TIBIA", "87342007": "FIBULA", "110536004": "TIBIAFIBULA", "70258002": "ANKLE",
    "56459004": "FOOT", "80144004": "CALCANEUS", "29707007": "TOE", "816092008": "PELVIS",
    "12921003": "PELVIS", "29836001": "HIP", "24136001": "HIPJOINT", "22356005": "ILIUM",
    "39723000": "SIJOINT",
    "T-D8000": "UPPERLIMB", "T-12310": "CLAVICLE", "T-12280": "SCAPULA", "T-D2220": "SHOULDER",
    "T-12410": "HUMERUS", "T-D8200": "UPPERARM", "T-15430": "ELBOW", "T-D8500": "FOREARM",
    "T-12420": "RADIUS", "T-12430": "ULNA", "T-12403": "RADIUSULNA", "T-15460": "WRIST",
    "T-D8700": "HAND", "T-D8800": "FINGER", "T-D8810": "THUMB", "T-D9000": "LOWERLIMB",
    "T-D9100": "THIGH", "T-12710": "FEMUR", "T-D9200": "KNEE", "T-15720": "KNEE",
    "T-12730": "PATELLA", "T-D9400": "LOWERLEG", "T-12740": "TIBIA", "T-12750": "FIBULA",
    "T-12701": "TIBIAFIBULA", "T-15750": "ANKLE", "T-D9700": "FOOT", "T-12770": "CALCANEUS",
    "T-D9800": "TOE", "T-D6000": "PELVIS", "T-D2500": "HIP", "T-15710": "HIPJOINT",
    "T-12340": "ILIUM", "T-15680": "SIJOINT",
}  # fmt: skip
# Focus to detector over focus to bone. Beyond it, a header is wrong, not a bone far away.
_MAX_MAGNIFICATION = 5.0


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """Return an element's values, an empty list where it is missing or cannot be read."""
    try:
        value = dataset.get(keyword)
    except Exception:
        # pydicom converts a value when it is asked for, and raises whatever it trips over.
        return []
    if value is None:
        return []
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)


def text(dataset: Dataset, keyword: str) -> str | None:
    """Return an element's first value as text without blanks around it, None for none."""
    first = next(iter(values(dataset, keyword)), None)
    stripped = "" if first is None else str(first).strip(" \0\t\r\n")
    return stripped or None


def numbers(dataset: Dataset, keyword: str) -> list[float | None]:
    """Return an element's values as finite numbers, None for each that is none."""
    return [_finite(value) for value in values(dataset, keyword)]


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return an element's first value as a finite number."""
    return next(iter(numbers(dataset, keyword)), None)


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return an element's first value as a whole number."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found == int(found) else None


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence."""
    return [item for item in values(dataset, keyword) if isinstance(item, Dataset)]


def pixel_spacing(dataset: Dataset) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return millimetres per pixel (between rows, between columns), and what was assumed.

    A spacing that was calibrated wins; one at the detector is divided by the magnification where
    that is known; that of a film scanner comes last (PS3.3 10.7.1.3).
    """
    spacing, detector = _pair(dataset, "PixelSpacing"), _pair(dataset, "ImagerPixelSpacing")
    calibrated = text(dataset, "PixelSpacingCalibrationType") is not None or detector != spacing
    notes: tuple[str, ...] = ()
    if spacing is None or not calibrated:
        spacing = detector
        if detector is not None:
            factor = number(dataset, "EstimatedRadiographicMagnificationFactor")
            if factor is not None and 1.0 <= factor <= _MAX_MAGNIFICATION:
                spacing = (detector[0] / factor, detector[1] / factor)
            else:
                notes = ("pixel spacing at the detector: sizes are magnified",)
    if spacing is None:
        spacing = _pair(dataset, "NominalScannedPixelSpacing")
    if spacing is None:
        notes = ("no pixel spacing: sizes are in pixels",)
    sides = spacing or tuple(numbers(dataset, "PixelAspectRatio"))
    match sides:
        case (float(row), float(column)) if abs(row - column) > 0.01 * max(row, column) > 0:
            notes = (*notes, "pixels are not square: the film is shown out of proportion")
    return spacing, notes


def age_years(dataset: Dataset) -> float | None:
    """Return the age from PatientAge (PS3.5 6.2, AS), or from the birth and study dates."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", text(dataset, "PatientAge") or "", re.ASCII)
    if match:
        per_year = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[match[2]]
        age = int(match[1]) / per_year
        if age <= 120:
            return round(age, 2)
    born = _date(dataset, "PatientBirthDate")
    taken = next(filter(None, (_date(dataset, f"{what}Date") for what in _DATED)), None)
    if born is None or taken is None:
        return None
    age = (taken - born).days / 365.25
    return round(age, 2) if 0 <= age <= 120 else None


def sex(dataset: Dataset) -> str | None:
    """Return F, M or O (PS3.3 C.7.1.1), None for anything else."""
    letter = (text(dataset, "PatientSex") or "").upper()
    return letter if letter in {"F", "M", "O"} else None


def body_part(dataset: Dataset) -> str | None:
    """Return Body Part Examined, or where it is missing that of a limb's Anatomic Region code."""
    named = text(dataset, "BodyPartExamined")
    if named is not None:
        return named
    codes = (text(item, "CodeValue") for item in items(dataset, "AnatomicRegionSequence"))
    return next((_REGION_CODES[code] for code in codes if code in _REGION_CODES), None)


_DATED = ("Study", "Acquisition", "Content", "Series")


def _finite(value: Any) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    match numbers(dataset, keyword):
        case [float(row), float(column)] if 0.01 <= row <= 10.0 and 0.01 <= column <= 10.0:
            return row, column
    return None


def _date(dataset: Dataset, keyword: str) -> date | None:
    # ACR-NEMA wrote dots between the parts.
    match = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", text(dataset, keyword) or "", re.ASCII)
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None
