"""What a DICOM header says of a film. A value that is missing or cannot be read says nothing."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

# Body Part Examined for codes of Anatomic Region Sequence, SNOMED CT and, of older films, SNOMED RT
# (PS3.16 annex L, table L-1). Limbs only: nothing else is screened.
_REGION_CODES = {
    "UPPERLIMB": "53120007 T-D8000",
    "CLAVICLE": "51299004 T-12310",
    "SCAPULA": "79601000 T-12280",
    "SHOULDER": "16982005 T-D2220",
    "HUMERUS": "85050009 T-12410",
    "UPPERARM": "40983000 T-D8200",
    "ELBOW": "16953009 T-15430",
    "FOREARM": "14975008 T-D8500",
    "RADIUS": "62413002 T-12420",
    "ULNA": "23416004 T-12430",
    "RADIUSULNA": "110535000 T-12403",
    "WRIST": "74670003 T-15460",
    "HAND": "85562004 T-D8700",
    "FINGER": "7569003 T-D8800",
    "THUMB": "76505004 T-D8810",
    "LOWERLIMB": "61685007 T-D9000",
    "THIGH": "68367000 T-D9100",
    "FEMUR": "71341001 T-12710",
    "KNEE": "72696002 49076000 T-D9200 T-15720",
    "PATELLA": "64234005 T-12730",
    "LOWERLEG": "30021000 T-D9400",
    "TIBIA": "12611008 T-12740",
    "FIBULA": "87342007 T-12750",
    "TIBIAFIBULA": "110536004 T-12701",
    "ANKLE": "70258002 T-15750",
    "FOOT": "56459004 T-D9700",
    "CALCANEUS": "80144004 T-12770",
    "TOE": "29707007 T-D9800",
    "PELVIS": "816092008 12921003 T-D6000",
    "HIP": "29836001 T-D2500",
    "HIPJOINT": "24136001 T-15710",
    "ILIUM": "22356005 T-12340",
    "SIJOINT": "39723000 T-15680",
}
_PART_OF_CODE = {code: part for part, codes in _REGION_CODES.items() for code in codes.split()}
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
    # A PersonName yields its characters.
    if isinstance(value, (str, bytes, PersonName)) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)


def text(dataset: Dataset, keyword: str) -> str | None:
    """Return an element's first value as text without blanks around it, None for none."""
    first = next(iter(values(dataset, keyword)), None)
    stripped = "" if first is None else str(first).strip(" \0\t\r\n")
    return stripped or None


def person(dataset: Dataset, keyword: str) -> str | None:
    """Return a person's name for people: ``Weber^Maria`` is "Weber Maria" (PS3.5 6.2, PN)."""
    spellings = (text(dataset, keyword) or "").split("=")
    return next((" ".join(name.replace("^", " ").split()) for name in spellings if name), None)


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
    return next((_PART_OF_CODE[code] for code in codes if code in _PART_OF_CODE), None)


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
