"""Which film a DICOM file is, and the hash of its content; its pixels stay on the disk."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from edge_runtime.dicom_file import parse_header
from edge_runtime.dicom_header import body_part, person, text
from edge_runtime.errors import CorruptRadiographError, RadiographError
from edge_runtime.spool.admission import FilmHeader, FilmIdentity

_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_PATIENT = (
    "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
)  # fmt: skip
_URGENCY = ("StudyPriorityID", "RequestedProcedurePriority")
_KEPT = (
    "AccessionNumber", "StudyDate", "BodyPartExamined", "AnatomicRegionSequence",
    "ImageLaterality", "Laterality", "ViewPosition",
)  # fmt: skip
_TAGS = [Tag(keyword) for keyword in (*_UIDS, *_PATIENT, *_URGENCY, *_KEPT)]
# Of LO, the longest of what is kept (PS3.5 6.2).
_LONGEST = 64
# RequestedProcedurePriority (PS3.3 C.4.11), and StudyPriorityID of old consoles.
_LEVELS = {"STAT": 0, "HIGH": 1}
_ROUTINE = 2


def identify(file: Path) -> tuple[FilmIdentity | RadiographError, str]:
    """Return which film a file is, or why that cannot be told; and the hash of its content.

    A film without a study is a study of its own.

    Returns
    -------
    film, content_sha256
        The latter as :class:`edge_runtime.spool.admission.Received` has it; of a file that is not
        understood, of all its bytes.
    """
    try:
        header, start = parse_header(file, _TAGS, file.name)
        film = _identity(header, file.name)
    except RadiographError as error:
        return error, _sha256(file, "", 0)
    return film, _sha256(file, str(header.file_meta.TransferSyntaxUID), start)


def read_film_header(file: Path) -> FilmHeader:
    """Return what of a film's header is kept when its file is gone.

    Raises
    ------
    RadiographError
        It is no DICOM file any more.
    """
    return _kept(parse_header(file, _TAGS, file.name)[0])


def read_patient_name(file: Path) -> str:
    """Return the patient's name for people, blank where the header has none.

    Raises
    ------
    RadiographError
        It is no DICOM file any more.
    """
    return person(parse_header(file, _TAGS, file.name)[0], "PatientName") or ""


def _identity(header: Dataset, name: str) -> FilmIdentity:
    sop_class, instance = _uid(header, "SOPClassUID"), _uid(header, "SOPInstanceUID")
    if sop_class is None or instance is None:
        missing = "SOP Class UID" if sop_class is None else "SOP Instance UID"
        raise CorruptRadiographError.because("no_uid", name, uid=missing)
    patient = json.dumps([text(header, keyword) for keyword in _PATIENT])
    return FilmIdentity(
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        series_instance_uid=_uid(header, "SeriesInstanceUID") or instance,
        study_instance_uid=_uid(header, "StudyInstanceUID") or instance,
        patient_sha256=hashlib.sha256(patient.encode("utf-8", "surrogatepass")).hexdigest(),
        urgency=min(
            _LEVELS.get((text(header, keyword) or "").upper(), _ROUTINE) for keyword in _URGENCY
        ),
        header=_kept(header),
    )


def _kept(header: Dataset) -> FilmHeader:
    return FilmHeader(
        accession_number=_plain(text(header, "AccessionNumber")),
        patient_id=_plain(text(header, "PatientID")),
        study_date=_plain(text(header, "StudyDate")).replace(".", "")[:8],
        body_part=_plain(body_part(header)).upper(),
        laterality=_plain(text(header, "ImageLaterality") or text(header, "Laterality")).upper(),
        view=_plain(text(header, "ViewPosition")).upper(),
    )


def _plain(words: str | None) -> str:
    """Return what a database takes: no lone surrogates of bytes that are no text, and not more."""
    return (words or "")[:_LONGEST].encode("utf-8", "replace").decode("utf-8")


def _uid(header: Dataset, keyword: str) -> str | None:
    """Return a UID; consoles write letters and leading zeros into them, and that is let pass."""
    found = text(header, keyword)
    return found if found is not None and re.fullmatch(r"[!-\[\]-~]{1,64}", found) else None


def _sha256(file: Path, syntax: str, start: int) -> str:
    with file.open("rb") as stream:
        stream.seek(start)
        return hashlib.file_digest(stream, lambda: hashlib.sha256(syntax.encode())).hexdigest()
