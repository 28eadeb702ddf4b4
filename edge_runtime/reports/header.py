"""From a film's header to the headers of its results.

A header may hold anything. What is taken over is valid by its own value representation and stands
alone; what is not valid is left out, or empty where a result must have it (type 2).
"""

from __future__ import annotations

import io
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom import config
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, DA, DT, TM, validate_value

from edge_runtime.dicom_file import PROJECTION_CLASSES
from edge_runtime.dicom_header import integer, items, number, text, values
from edge_runtime.errors import ResultError
from edge_runtime.reports.wording import SERIES

# Its lower levels write UIDs as they are.
logging.getLogger("highdicom").setLevel(logging.WARNING)

# PS3.3 C.7.1.1, C.7.2.1 and C.7.2.2: what a PACS matches by, and what a reader wants to see.
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
_TYPE_3 = (
    *("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight"),
    *("StudyDescription", "TimezoneOffsetFromUTC"),
)
# C.7.5.1, of the unit that took the film; highdicom names it as contributing equipment.
_EQUIPMENT = (
    *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber"),
    *("InstitutionName", "StationName"),
)
# Table 10-9, Request Attributes Macro.
_REQUEST = (
    *("AccessionNumber", "RequestedProcedureID", "RequestedProcedureDescription"),
    *("ScheduledProcedureStepID", "ScheduledProcedureStepDescription"),
)
_SEXES = ("F", "M", "O")
# Of ISO 2022 (PS3.5 6.1.2.5.3). pydicom leaves those of ISO 2022 IR 58 in the text.
_ESCAPE = re.compile(r"\x1b[\x20-\x2f]*[\x30-\x7e]")


@dataclass(frozen=True)
class FilmSource:
    """What a film's header gives to its results.

    Attributes
    ----------
    image
        What highdicom must know of the film to refer to it. The patient's name is left out: where
        highdicom thinks it odd, it writes it into a warning.
    patient_and_study
        Patient, General Study and Patient Study modules.
    requests
        Items of Request Attributes Sequence.
    character_set
        Values of Specific Character Set, empty for none.
    """

    image: Dataset
    patient_and_study: Dataset
    requests: tuple[Dataset, ...]
    character_set: tuple[str, ...]


def read_source(film: Dataset, name: str) -> FilmSource:
    """Return what the results of ``film`` take over from its header.

    Parameters
    ----------
    film
        Its data set, with or without pixels.
    name
        Of its file, for errors.

    Raises
    ------
    ResultError
        No DICOM object can refer to the film: one of its UIDs is missing, or no image of its class
        is a film.
    """
    image = Dataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        uid = text(film, keyword) or ""
        if not re.fullmatch(r"[0-9.]{1,64}", uid):
            raise ResultError(
                f"the film's header has no {keyword}, so no DICOM result can refer to it",
                "Send the film again, with a complete header, or write json and png",
                name,
            )
        setattr(image, keyword, uid)
    if image.SOPClassUID not in PROJECTION_CLASSES:
        raise ResultError(
            "not an image of a class that films have, so no DICOM result can refer to it",
            "Send plain films only (CR, DX, RG), or write json and png",
            name,
        )
    image.Modality = _valid(film, "Modality") or "OT"
    image.Rows, image.Columns = integer(film, "Rows") or 0, integer(film, "Columns") or 0
    image.PatientOrientation = _orientation(film)
    for keyword in _EQUIPMENT:
        _take(film, keyword, image)
    person = Dataset()
    person.StudyInstanceUID = image.StudyInstanceUID
    for keyword in _TYPE_2:
        setattr(person, keyword, _valid(film, keyword) or "")
        setattr(image, keyword, getattr(person, keyword))
    image.PatientName = ""
    for keyword in _TYPE_3:
        _take(film, keyword, person)
    return FilmSource(
        image=image,
        patient_and_study=person,
        requests=tuple(_requests(film)),
        character_set=tuple(str(value or "") for value in values(film, "SpecificCharacterSet")),
    )


def series_description(synthetic: bool) -> str:
    """Return a description that nobody mistakes for a film's, at most 64 characters."""
    return f"SYNTHETIC: {SERIES}" if synthetic else SERIES


def complete(result: Dataset, source: FilmSource, made_at: datetime) -> None:
    """Give a result of highdicom its patient, its study, its time and its character set.

    Parameters
    ----------
    result
        Changed in place.
    made_at
        With its time zone: it is written in the film's, or as it is where the film has none.
        highdicom takes the clock's time, and the same work done again would give another object.
    """
    result.update(source.patient_and_study)
    if "TimezoneOffsetFromUTC" in result:
        made_at = made_at.astimezone(datetime.strptime(result.TimezoneOffsetFromUTC, "%z").tzinfo)
    day, clock = DA(made_at.date()), TM(made_at.time())
    for keyword in ("InstanceCreation", "Content"):
        setattr(result, f"{keyword}Date", day)
        setattr(result, f"{keyword}Time", clock)
    for item in result.ContributingEquipmentSequence:
        if "ContributionDateTime" in item:
            item.ContributionDateTime = DT(made_at)
    result.pop("SpecificCharacterSet", None)
    character_set = _character_set(source.character_set, result)
    if character_set:
        result.SpecificCharacterSet = list(character_set)


def complete_image(image: Dataset, source: FilmSource, made_at: datetime) -> None:
    """Give a result that is an image of the film also its orientation and its requests.

    Parameters
    ----------
    image, made_at
        As of :func:`complete`.
    """
    image.PatientOrientation = source.image.PatientOrientation
    if source.requests:
        image.RequestAttributesSequence = list(source.requests)
    complete(image, source, made_at)


def requested_procedures(sources: Sequence[FilmSource]) -> list[Dataset]:
    """Return items of Referenced Request Sequence (PS3.3 C.17.2), one for each request."""
    referenced: dict[tuple[str, str], Dataset] = {}
    for source in sources:
        for request in source.requests:
            item = Dataset()
            item.StudyInstanceUID = source.image.StudyInstanceUID
            item.ReferencedStudySequence = []
            item.AccessionNumber = (
                request.get("AccessionNumber") or source.patient_and_study.AccessionNumber
            )
            item.PlacerOrderNumberImagingServiceRequest = ""
            item.FillerOrderNumberImagingServiceRequest = ""
            for keyword in ("RequestedProcedureID", "RequestedProcedureDescription"):
                setattr(item, keyword, request.get(keyword, ""))
            item.RequestedProcedureCodeSequence = request.get("RequestedProcedureCodeSequence", [])
            referenced.setdefault((item.AccessionNumber, item.RequestedProcedureID), item)
    return list(referenced.values())


def _orientation(film: Dataset) -> list[str]:
    """Return Patient Orientation (PS3.3 C.7.6.1.1.1), empty where it is not known."""
    directions = [str(direction) for direction in values(film, "PatientOrientation")]
    known = all(re.fullmatch("[LRAPHF]{1,3}", direction) for direction in directions)
    return directions if known and len(directions) == 2 else []


def _requests(film: Dataset) -> Iterable[Dataset]:
    for request in items(film, "RequestAttributesSequence"):
        item = Dataset()
        for keyword in _REQUEST:
            _take(request, keyword, item)
        codes = [_code(code) for code in items(request, "RequestedProcedureCodeSequence")]
        if found := [code for code in codes if code is not None]:
            item.RequestedProcedureCodeSequence = found[:1]
        if item:
            yield item


def _code(item: Dataset) -> Dataset | None:
    """Return a code that is whole (PS3.3 8.8), None for another."""
    code = Dataset()
    for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"):
        _take(item, keyword, code)
    _take(item, "CodingSchemeVersion", code)
    whole = {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"} <= set(code.dir())
    return code if whole else None


def _take(source: Dataset, keyword: str, target: Dataset) -> None:
    value = _valid(source, keyword)
    if value is not None:
        setattr(target, keyword, value)


def _valid(dataset: Dataset, keyword: str) -> str | None:
    """Return an element's one value where it is valid (PS3.5 6.2), None for none or several.

    Of two patients' IDs in one element, neither is the patient's.
    """
    if len(values(dataset, keyword)) != 1:
        return None
    value = _ESCAPE.sub("", text(dataset, keyword) or "")
    if not value:
        return None
    vr = dictionary_VR(keyword)
    if keyword == "PatientSex" and value not in _SEXES:
        return None
    if keyword == "TimezoneOffsetFromUTC" and not re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", value):
        return None
    if vr == "DS" and number(dataset, keyword) is None:
        return None
    try:
        validate_value(vr, value, config.RAISE)
        if vr == "DA":
            datetime.strptime(value, "%Y%m%d")
    except (ValueError, NotImplementedError):
        return None
    return None if any(unicodedata.category(character) == "Cc" for character in value) else value


def _character_set(declared: tuple[str, ...], result: Dataset) -> tuple[str, ...]:
    """Return the film's character set where all of a result can be written in it, or else UTF-8."""
    names: list[str] = []
    texts: list[str] = []
    for element in result.iterall():
        if element.VR in CUSTOMIZABLE_CHARSET_VR:
            several = element.value if element.VM > 1 else [element.value]
            (names if element.VR == "PN" else texts).extend(str(value or "") for value in several)
    characters = set("".join(names + texts))
    if all(term in python_encoding for term in declared) and _has(declared, characters):
        return declared if _reads_back(declared, names, texts) else ("ISO_IR 192",)
    return () if all(c.isascii() for c in characters) else ("ISO_IR 192",)


def _has(declared: tuple[str, ...], characters: Iterable[str]) -> bool:
    # pydicom is generous and reads the default repertoire, ASCII, as Latin 1.
    codecs = [
        "ascii" if python_encoding[term] == "iso8859" else python_encoding[term]
        for term in declared
    ]

    def writes(character: str, codec: str) -> bool:
        try:
            return character.encode(codec).decode(codec) == character
        except UnicodeError:
            return False

    return bool(codecs) and all(any(writes(c, codec) for codec in codecs) for c in characters)


def _reads_back(declared: tuple[str, ...], names: list[str], texts: list[str]) -> bool:
    """Tell whether pydicom reads what it writes; in ISO 2022 IR 58 (PS3.5 K.2) it does not."""
    written = Dataset()
    written.SpecificCharacterSet = list(declared)
    written.PatientName, written.LongCodeValue = names, texts
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, written)
    read = read_dataset(io.BytesIO(stream.getvalue()), is_implicit_VR=False, is_little_endian=True)
    return all(
        "\\".join(map(str, values(read, keyword))) == "\\".join(told)
        for keyword, told in (("PatientName", names), ("LongCodeValue", texts))
    )
