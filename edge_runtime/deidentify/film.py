"""One DICOM film -> the same film of nobody: PS3.15 Annex E, Basic Application Level Profile.

With the options Retain Longitudinal Temporal Information With Modified Dates and Retain Patient
Characteristics (age and sex only). The new object is built from nothing: what no rule put there is
not there, neither in the header nor in the preamble, the file meta information, an unused bit of a
pixel or a comment of a compressed stream. It does not look at what the pixels show.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from edge_runtime.deidentify.anatomy import REGIONS, VIEWS
from edge_runtime.deidentify.profile import (
    EDITION,
    PUBLIC_SCHEMES,
    STRUCTURAL,
    Action,
    action_for,
    as_code_string,
    table_code,
)
from edge_runtime.deidentify.secret import Secret
from edge_runtime.dicom_codecs import register_codecs
from edge_runtime.dicom_file import IMPLEMENTATION_CLASS_UID
from edge_runtime.errors import CorruptRadiographError

METHOD = (
    f"DICOM PS3.15 {EDITION} Annex E Basic Application Level Profile",
    "osteoedge: key-derived UIDs, pseudonym, whole-day date shift",
)
# PS3.16 CID 7050, De-identification Method.
METHOD_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)
# 45 CFR 164.514(b)(2)(i)(C): all ages over 89 are one category, "90 or older".
OLDEST_AGE = 90

_PIXEL_DATA = Tag("PixelData")
# What tells a patient, a person or a place: kept text that holds one of these values is emptied.
_IDENTITY_TEXT = frozenset(
    Tag(keyword)
    for keyword in (
        "PatientID", "OtherPatientIDs", "AccessionNumber", "PatientBirthDate", "InstitutionName",
        "InstitutionAddress", "StationName", "DeviceSerialNumber", "AdmissionID",
        "PatientAddress", "PatientTelephoneNumbers",
    )
)  # fmt: skip
MIN_NAME, MIN_IDENTIFIER = 3, 4

Touched = Counter[tuple[str, str, str]]


@dataclass(frozen=True)
class DeidentifiedFilm:
    """A film without its patient.

    Attributes
    ----------
    data
        The DICOM file: Explicit VR Little Endian, uncompressed.
    patient_id, study_id
        Pseudonyms, the same for the same patient and study under the same key.
    acquired_on
        The moved date, ISO 8601, or blank.
    age_years
        0 to 90, where 90 means 90 or older; None where unknown.
    touched
        (tag, keyword, action) -> how many elements.
    burned_in
        Why someone should look whether the pixels show text, or blank.
    """

    data: bytes
    patient_id: str
    study_id: str
    acquired_on: str
    age_years: float | None
    touched: Touched
    burned_in: str


def deidentify(
    data: bytes, secret: Secret, *, age_years: float | None, source: str
) -> DeidentifiedFilm:
    """De-identify one film.

    Parameters
    ----------
    data
        A DICOM file that `edge_runtime.radiograph.read_radiograph` accepts as a film.
    secret
        The hospital's key.
    age_years
        Age at the examination, from the header or from its dates; None where unknown.
    source
        The file, for errors.

    Raises
    ------
    CorruptRadiographError
        The film could be read, but its header cannot be written again.
    """
    original = _parse(data)
    patient = patient_key(original)
    pseudonym = f"P{secret.name('patient', patient)}"
    work = _Work(secret, patient, pseudonym, original)
    try:
        film = work.copy(original)
        # Type 1 or 2 in every film: there, whether or not the source had them.
        film.PatientID = film.PatientName = pseudonym
        film.PatientBirthDate = ""
        if not film.get("SOPInstanceUID"):
            film.SOPInstanceUID = secret.uid(hashlib.sha256(data).hexdigest())
        work.set_characteristics(film, original, age_years)
        _set_pixels(film, original)
        _record_method(film)
        written = _write(film)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, NotImplementedError):
        # pydicom's ways of saying that a value does not fit its VR; the value itself, which may be
        # a name, stays out of the message.
        raise CorruptRadiographError(
            "its header holds values that DICOM cannot write",
            "Export the film again from its source",
            source,
        ) from None
    study = _text(original, "StudyInstanceUID")
    acquired = next(
        (
            str(film.get(keyword))
            for keyword in ("AcquisitionDate", "StudyDate", "ContentDate")
            if film.get(keyword)
        ),
        "",
    )
    return DeidentifiedFilm(
        data=written,
        patient_id=pseudonym,
        study_id=f"S{secret.name('study', study)}" if study else "",
        acquired_on=f"{acquired[:4]}-{acquired[4:6]}-{acquired[6:8]}" if acquired else "",
        age_years=capped_age(age_years),
        touched=work.touched,
        burned_in=burned_in_risk(original),
    )


def patient_key(dataset: Dataset) -> str:
    """Return what names the patient: the Patient ID, or without one the study, or the film."""
    for keyword in ("PatientID", "StudyInstanceUID", "SOPInstanceUID"):
        value = _text(dataset, keyword)
        if value:
            return f"{keyword}\0{value}"
    return "\0nobody"


def capped_age(age_years: float | None) -> float | None:
    """Return whole years from 2 on, tenths below, and 90 for 90 or older."""
    if age_years is None:
        return None
    return float(min(int(age_years), OLDEST_AGE)) if age_years >= 2 else round(age_years, 1)


def burned_in_risk(dataset: Dataset) -> str:
    """Return why the pixels may show text that names the patient (PS3.3 C.7.6.1), or blank."""
    stated = _text(dataset, "BurnedInAnnotation").upper()
    if stated == "YES":
        return "Burned In Annotation is YES"
    modality = _text(dataset, "Modality")
    if _text(dataset, "SOPClassUID") == SecondaryCaptureImageStorage or modality in ("OT", "SC"):
        return "secondary capture: often a picture of a screen or a printed film"
    if modality == "RG":
        return "digitized film (RG): names are often exposed or written on it"
    return "" if stated == "NO" else "Burned In Annotation is not stated"


class _Work:
    """Copies elements into a new object by the rules, and counts what it did."""

    def __init__(self, secret: Secret, patient: str, pseudonym: str, original: Dataset) -> None:
        self.touched: Touched = Counter()
        self._secret = secret
        self._pseudonym = pseudonym
        self._shift = timedelta(days=secret.shift_days(patient))
        self._identity = _identity(original)
        self._big_endian = original.file_meta.TransferSyntaxUID == ExplicitVRBigEndian

    def copy(self, original: Dataset) -> Dataset:
        """Return a new object with what the rules let through, items of sequences included."""
        result = Dataset()
        for tag in sorted(original.keys()):
            # Group lengths (gggg,0000) are worked out again when the film is written.
            if tag != _PIXEL_DATA and tag.element != 0:
                self._copy_element(original, tag, result)
        return result

    def set_characteristics(
        self, film: Dataset, original: Dataset, age_years: float | None
    ) -> None:
        """Write sex and age as far as the profile's option and 45 CFR 164.514 allow."""
        sex = _text(original, "PatientSex").upper()
        film.PatientSex = sex if sex in ("M", "F", "O") else ""
        age = capped_age(age_years)
        before = _text(film, "PatientAge")
        film.pop("PatientAge", None)
        if age is not None:
            film.PatientAge = f"{int(age):03d}Y" if age >= 2 else f"{int(age * 12):03d}M"
        if before != _text(film, "PatientAge"):
            self._count(Tag("PatientAge"), Action.AGE)

    def _copy_element(self, original: Dataset, tag: BaseTag, result: Dataset) -> None:
        try:
            element = original[tag]
        except Exception:
            # A value that contradicts its VR: pydicom has no common exception for it.
            self._count(tag, Action.REMOVE)
            return
        action = action_for(tag, element.VR)
        if action is Action.DESCEND:
            items = [self.copy(item) for item in element.value if _is_public(item)]
            if items or not element.value:
                result.add_new(tag, "SQ", items)
            if len(items) < len(element.value):
                self._count(tag, Action.REMOVE)
            return
        if action is Action.REMOVE or not _is_sound(element):
            self._count(tag, Action.REMOVE)
            return
        value = self._value(element, action)
        if value != element.value:
            self._count(tag, action)
        result.add_new(tag, element.VR, value)

    def _value(self, element: DataElement, action: Action) -> object:
        values = _values(element)
        if action is Action.KEEP and element.VR == "OW" and self._big_endian:
            # pydicom hands words over in the byte order of the file (PS3.5 7.3).
            return np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
        if action is Action.KEEP or not values:
            return element.value
        if action is Action.EMPTY:
            return [] if element.VR == "SQ" else ""
        if action is Action.PSEUDONYM:
            return self._pseudonym
        if action is Action.SHIFT:
            return self._shifted(str(values[0]))
        texts = [self._text(element, str(value)) for value in values]
        return texts if len(texts) > 1 else texts[0]

    def _text(self, element: DataElement, value: str) -> str:
        if element.VR == "UI":
            # SOP classes, coding schemes and the like are registered by the standard (PS3.6 A).
            registered = value.startswith("1.2.840.10008.") and table_code(element.tag) != "U"
            return value if registered or not value else self._secret.uid(value)
        if element.VR == "CS":
            value = as_code_string(value)
            # "HAND" is a part of the body, even on a film of Dr Hand's.
            if value in REGIONS or value in VIEWS:
                return value
        if element.tag in STRUCTURAL or self._identity is None:
            return value
        return "" if self._identity.search(value.casefold()) else value

    def _shifted(self, value: str) -> str:
        # ACR-NEMA wrote 2024.03.09; a date that is none is emptied, not carried over.
        digits = value.replace(".", "").strip()
        try:
            day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])) - self._shift
        except (ValueError, OverflowError):
            return ""
        return day.strftime("%Y%m%d").rjust(8, "0")

    def _count(self, tag: BaseTag, action: Action) -> None:
        self.touched[name_tag(tag), keyword_for_tag(tag) or "", action.value] += 1


def name_tag(tag: BaseTag) -> str:
    """Return (gggg,eeee)."""
    return f"({tag.group:04x},{tag.element:04x})"


def _is_public(item: Dataset) -> bool:
    """Tell whether a sequence item may stay: no code, or one of a public coding scheme."""
    if "CodeValue" not in item and "CodeMeaning" not in item:
        return True
    return _text(item, "CodingSchemeDesignator") in PUBLIC_SCHEMES


def _is_sound(element: DataElement) -> bool:
    """Tell whether an element is what the standard says: the rules go by that."""
    if not dictionary_has_tag(element.tag):
        return False
    # "US or SS" stays so where the file does not tell.
    vr = dictionary_VR(element.tag)
    if element.VR not in (vr, *vr.split(" or ")):
        return False
    # pydicom passes on whatever stands in the place of a number.
    return element.VR not in ("DS", "IS") or all(
        isinstance(value, int | float | Decimal) for value in _values(element)
    )


def _parse(data: bytes) -> Dataset:
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
    except InvalidDicomError:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def _identity(dataset: Dataset) -> re.Pattern[str] | None:
    """Return a pattern that finds the people, numbers and places of this film in other text."""
    words: set[str] = set()
    for element in _every_element(dataset):
        for value in map(str, _values(element)):
            if element.VR == "PN":
                words.update(
                    word for word in re.split(r"[\W_]+", value.casefold()) if len(word) >= MIN_NAME
                )
            elif element.tag in _IDENTITY_TEXT and len(value.strip()) >= MIN_IDENTIFIER:
                words.add(value.strip().casefold())
    if not words:
        return None
    return re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in sorted(words)))


def _every_element(dataset: Dataset) -> Iterator[DataElement]:
    for tag in dataset.keys():  # noqa: SIM118 - iterating a Dataset reads elements, which may fail
        try:
            element = dataset[tag]
        except Exception:
            # Unreadable: it will not be copied either.
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _every_element(item)
        else:
            yield element


def _values(element: DataElement) -> list[object]:
    if element.value is None or element.value == "":
        return []
    return list(element.value) if isinstance(element.value, MultiValue) else [element.value]


def _set_pixels(film: Dataset, original: Dataset) -> None:
    """Write the stored values uncompressed: nothing hides in a stream, a pad or an unused bit."""
    register_codecs()
    pixels = original.pixel_array
    film.Rows, film.Columns = pixels.shape
    film.BitsAllocated = 8 * pixels.dtype.itemsize
    film.BitsStored = min(int(original.BitsStored), film.BitsAllocated)
    film.HighBit = film.BitsStored - 1
    film.PixelRepresentation = int(pixels.dtype.kind == "i")
    stored = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    film.add_new(
        _PIXEL_DATA, "OB" if film.BitsAllocated == 8 else "OW", stored + b"\0" * (len(stored) % 2)
    )


def _record_method(film: Dataset) -> None:
    film.SpecificCharacterSet = "ISO_IR 192"
    film.PatientIdentityRemoved = "YES"
    film.LongitudinalTemporalInformationModified = "MODIFIED"
    film.DeidentificationMethod = list(METHOD)
    codes = []
    for value, meaning in METHOD_CODES:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        codes.append(code)
    film.DeidentificationMethodCodeSequence = codes


def _write(film: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = film.SOPClassUID
    meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = "OSTEOEDGE"
    file = FileDataset("", film, file_meta=meta, preamble=b"\0" * 128)
    stream = io.BytesIO()
    file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
    except Exception:
        # pydicom reads a value when it is asked for it, and may fail in many ways.
        return ""
    return str(value).strip() if value is not None else ""
