"""A radiologist's report as a DICOM structured report -> a read.

Any SR tree will do (basic text, enhanced, comprehensive; TID 1500 and others). What is taken are
coded conclusions: CODE items that are named Finding, Impression, Conclusion or our own READING, and
the codes that qualify them. What a code means says the label map, in the form SCHEME:VALUE. An item
that is qualified as absent says nothing. Sentences are not interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
)

from edge_runtime.dicom_file import parse_dicom
from edge_runtime.dicom_header import items, person, text
from edge_runtime.errors import FeedbackError
from edge_runtime.feedback.reads import Read
from edge_runtime.feedback.table import reading_of
from edge_runtime.label_map import LabelMap, normalise
from edge_runtime.reports.codes import READING
from edge_runtime.reports.device import MANUFACTURER

SR_CLASSES = frozenset(
    (BasicTextSRStorage, EnhancedSRStorage, ComprehensiveSRStorage, Comprehensive3DSRStorage)
)
# PS3.16 annex D: Finding, Impression, Conclusion.
CONCLUSIONS = (
    "DCM:121071",
    "DCM:121073",
    "DCM:121077",
    f"{READING.scheme_designator}:{READING.value}",
)
# "Absent" of CID 240, in SNOMED CT and of DICOM itself.
ABSENT = ("SCT:272519000", "DCM:121054")
_DEEPEST = 64
_SHOWN_CODES = 8


def read_report(data: bytes, name: str, label_map: LabelMap) -> Read:
    """Return what a report says.

    Parameters
    ----------
    data
        Of the file.
    name
        Of the file, for errors.

    Raises
    ------
    FeedbackError
        It is no verified report of one study by a named person, or concludes nothing in codes that
        the label map knows.
    DatasetError
        Its codes contradict each other.
    RadiographError
        It is no DICOM, or damaged.
    """
    report = parse_dicom(data, name)
    if text(report, "SOPClassUID") not in SR_CLASSES:
        raise FeedbackError("is no structured report", "Leave it out", name)
    if text(report, "Manufacturer") == MANUFACTURER:
        raise FeedbackError("is a report of a unit, not of a radiologist", "Leave it out", name)
    if text(report, "VerificationFlag") != "VERIFIED":
        raise FeedbackError(
            "is not verified: nobody stands behind it yet", "Export it once it is signed", name
        )
    reader, read_at = _verified_by(report, name)
    found = [codes for codes in _conclusions(report) if not set(codes) & set(ABSENT)]
    known = [code for codes in found for code in codes if normalise(code) in label_map.meanings]
    if not known:
        told = ", ".join(dict.fromkeys(code for codes in found for code in codes)) or "none"
        raise FeedbackError(
            f"concludes nothing in codes that the label map knows (it has {told[:200]})",
            "Add its codes, as SCHEME:VALUE, to a label map and give it with --map",
            name,
        )
    meaning = label_map.meaning(known, name)
    return Read(
        study_instance_uid=_study(report, name),
        accession_number="",
        verdict=None,
        reading=reading_of(meaning),
        subtype=meaning.subtype,
        other_finding=meaning.other_finding,
        comment="",
        reader=reader,
        source="sr",
        read_at=read_at,
    )


def _study(report: Dataset, name: str) -> str:
    """Return the one study that the report is about: that of its evidence, or else its own."""
    evidence = {
        uid
        for item in items(report, "CurrentRequestedProcedureEvidenceSequence")
        if (uid := text(item, "StudyInstanceUID"))
    }
    own = text(report, "StudyInstanceUID")
    if len(evidence) == 1:
        return evidence.pop()
    if own is None or (evidence and own not in evidence):
        raise FeedbackError(
            "does not say which study it is about", "Give a report of one study", name
        )
    return own


def _verified_by(report: Dataset, name: str) -> tuple[str, float]:
    """Return who signed it last, and when, in UTC seconds since 1970."""
    observers = [
        (moment, observer)
        for item in items(report, "VerifyingObserverSequence")
        if (observer := person(item, "VerifyingObserverName"))
        and (moment := _moment(text(item, "VerificationDateTime"), report)) is not None
    ]
    if not observers:
        raise FeedbackError(
            "does not say who verified it, and when", "Export it with its verifying observer", name
        )
    moment, observer = max(observers)
    return observer, moment


def _moment(value: str | None, report: Dataset) -> float | None:
    """Return a DT (PS3.5 6.2) in seconds; without an offset of its own it has the report's."""
    match = re.fullmatch(
        r"(\d{4})(\d\d)(\d\d)(\d\d)?(\d\d)?(\d\d)?(?:\.\d{1,6})?([+-]\d{4})?", value or "", re.ASCII
    )
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    offset = match[7] or text(report, "TimezoneOffsetFromUTC")
    try:
        moment = datetime(year, month, day, hour, minute, second)
        return moment.replace(tzinfo=_zone(offset)).timestamp()
    except (ValueError, OverflowError):
        return None


def _zone(offset: str | None) -> timezone | None:
    """Return a time zone; None, which is the unit's own, where there is none or no valid one."""
    if offset is None or not re.fullmatch(r"[+-]\d{4}", offset, re.ASCII):
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    if not minutes:
        return UTC
    return timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes))


def _conclusions(item: Dataset, depth: int = 0) -> Iterator[tuple[str, ...]]:
    """Yield of each coded conclusion its code and those that qualify it."""
    for child in items(item, "ContentSequence"):
        if text(child, "ValueType") == "CODE" and _code(child, "ConceptNameCodeSequence") in (
            CONCLUSIONS
        ):
            values = (
                _code(part, "ConceptCodeSequence")
                for part in (child, *items(child, "ContentSequence"))
            )
            yield tuple(value for value in values if value)
        elif depth < _DEEPEST:
            yield from _conclusions(child, depth + 1)


def _code(item: Dataset, keyword: str) -> str:
    """Return SCHEME:VALUE of an item's first code, or blank."""
    code = next(iter(items(item, keyword)), None)
    if code is None:
        return ""
    scheme, value = text(code, "CodingSchemeDesignator"), text(code, "CodeValue")
    return f"{scheme}:{value}" if scheme and value else ""
