"""Rejection notes (IHE RAD TF-1 33, Imaging Object Change Management): what to take back, and why.

A rejection note is a Key Object Selection Document (PS3.3 A.35.4) whose title says why instances
are not to be used any more, and whose content names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage

import edge_runtime
from edge_runtime.dicom_header import items, text
from edge_runtime.errors import RejectionNoteError
from edge_runtime.reports.header import (
    MANUFACTURER,
    MODEL_NAME,
    complete,
    read_source,
    requested_procedures,
)
from edge_runtime.reports.uids import derived_uid

SERIES_NUMBER = 9904

RejectionReason = Literal["113001", "113037", "113038"]
"""Quality, patient safety, incorrect modality worklist entry: DCM codes of CID 7011."""

_TITLES: dict[RejectionReason, Code] = {
    "113001": codes.DCM.RejectedForQualityReasons,
    "113037": codes.DCM.RejectedForPatientSafetyReasons,
    "113038": Code("113038", "DCM", "Incorrect Modality Worklist Entry"),
}


@dataclass(frozen=True)
class Reference:
    """One instance, and where it belongs."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class RejectionNote:
    """What a rejection note says."""

    sop_instance_uid: str
    reason: RejectionReason
    rejected: tuple[Reference, ...]


def rejection_note(
    header: Dataset,
    reason: RejectionReason,
    rejected: Sequence[Reference],
    *,
    uid: str,
    series_uid: str,
    number: int,
    made_at: datetime,
) -> Dataset:
    """Return a note that takes back results that were delivered.

    Parameters
    ----------
    header
        Data set of a film that the results are of, with or without pixels.
    rejected
        At least one; all of the film's study.
    uid, series_uid
        Of :mod:`edge_runtime.reports.uids`.
    number
        Instance Number, from 1.
    made_at
        See :func:`edge_runtime.reports.header.complete`.

    Raises
    ------
    ResultError
        The film's header lacks a UID.
    """
    source = read_source(header, "a withdrawn film")
    if {reference.study_instance_uid for reference in rejected} != {source.image.StudyInstanceUID}:
        raise ValueError("a rejection note is of results of one study, the film's")
    evidence = [_evidence(source.image, reference) for reference in rejected]
    software = f"osteoedge {edge_runtime.__version__}"
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", software),
        name=MODEL_NAME,
        manufacturer_name=MANUFACTURER,
        model_name=software,
    )
    note = KeyObjectSelectionDocument(
        evidence=evidence,
        content=KeyObjectSelection(
            document_title=_TITLES[reason],
            referenced_objects=evidence,
            observer_device_context=ObserverContext(codes.DCM.Device, device),
            description="Results of osteoedge that are withdrawn: do not use them",
        ),
        series_instance_uid=series_uid,
        series_number=SERIES_NUMBER,
        series_description="osteoedge bone-tumour check: withdrawn results",
        sop_instance_uid=uid,
        instance_number=number,
        requested_procedures=requested_procedures([source]) or None,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=software,
    )
    complete(note, source, made_at)
    return note


def _evidence(image: Dataset, reference: Reference) -> Dataset:
    """Return a rejected instance as highdicom must know it, of the film's patient and study."""
    instance = deepcopy(image)
    if reference.sop_class_uid == Comprehensive3DSRStorage:
        # highdicom refers to what has rows and columns as an image.
        del instance.Rows, instance.Columns
    instance.StudyInstanceUID = reference.study_instance_uid
    instance.SeriesInstanceUID = reference.series_instance_uid
    instance.SOPClassUID = reference.sop_class_uid
    instance.SOPInstanceUID = reference.sop_instance_uid
    return instance


def parse_rejection_note(dataset: Dataset) -> RejectionNote | None:
    """Return what a rejection note says, None for any other object.

    Nothing of the data set is trusted. A Key Object Selection for another reason, such as an image
    of interest, is no rejection note.

    Raises
    ------
    RejectionNoteError
        It is a rejection note, but does not say whole of which instances: nothing may be withdrawn
        by guesswork, and the note must not be passed over.
    """
    if text(dataset, "SOPClassUID") != KeyObjectSelectionDocumentStorage:
        return None
    reason = _reason(dataset)
    if reason is None:
        return None
    evidence = {reference.sop_instance_uid: reference for reference in _references(dataset)}
    named = dict.fromkeys(_named(dataset))
    note = text(dataset, "SOPInstanceUID")
    if note is None or not named or not named.keys() <= evidence.keys():
        raise RejectionNoteError(
            "a rejection note that does not say whole what it rejects",
            "Send it again, with Current Requested Procedure Evidence, or withdraw by hand",
        )
    return RejectionNote(note, reason, tuple(evidence[uid] for uid in named))


def _reason(dataset: Dataset) -> RejectionReason | None:
    for title in items(dataset, "ConceptNameCodeSequence"):
        if text(title, "CodingSchemeDesignator") == "DCM":
            value = text(title, "CodeValue")
            return next((code for code in get_args(RejectionReason) if code == value), None)
    return None


def _references(dataset: Dataset) -> Iterator[Reference]:
    """Yield the instances of Current Requested Procedure Evidence Sequence that are whole."""
    for study in items(dataset, "CurrentRequestedProcedureEvidenceSequence"):
        for series in items(study, "ReferencedSeriesSequence"):
            for instance in items(series, "ReferencedSOPSequence"):
                parts = (
                    text(study, "StudyInstanceUID"),
                    text(series, "SeriesInstanceUID"),
                    text(instance, "ReferencedSOPClassUID"),
                    text(instance, "ReferencedSOPInstanceUID"),
                )
                match parts:
                    case (str(of_study), str(of_series), str(kind), str(uid)):
                        yield Reference(of_study, of_series, kind, uid)


def _named(dataset: Dataset) -> Iterator[str]:
    """Yield the SOP Instance UIDs that the content names."""
    for item in items(dataset, "ContentSequence"):
        for referenced in items(item, "ReferencedSOPSequence"):
            uid = text(referenced, "ReferencedSOPInstanceUID")
            if uid is not None:
                yield uid
