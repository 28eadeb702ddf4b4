"""Rejection notes of our own: they take back results that were delivered."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from edge_runtime.rejection import Reason
from edge_runtime.reports.device import MANUFACTURER, MODEL_NAME, observer
from edge_runtime.reports.header import complete, read_source, requested_procedures
from edge_runtime.reports.instance import Instance
from edge_runtime.screening import SOFTWARE

SERIES_NUMBER = 9904

_TITLES: dict[Reason, Code] = {
    Reason.QUALITY: codes.DCM.RejectedForQualityReasons,
    Reason.PATIENT_SAFETY: codes.DCM.RejectedForPatientSafetyReasons,
    Reason.WORKLIST: Code(Reason.WORKLIST, "DCM", Reason.WORKLIST.words),
}


@dataclass(frozen=True)
class Reference:
    """One instance, and where it belongs."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def rejection_note(
    header: Dataset,
    reason: Reason,
    rejected: Sequence[Reference],
    instance: Instance,
) -> Dataset:
    """Return a note that takes back results that were delivered.

    Parameters
    ----------
    header
        Data set of a film that the results are of, with or without pixels.
    rejected
        At least one; all of the film's study.

    Raises
    ------
    ResultError
        The film's header lacks a UID.
    """
    source = read_source(header, "a withdrawn film")
    if {reference.study_instance_uid for reference in rejected} != {source.image.StudyInstanceUID}:
        raise ValueError("a rejection note is of results of one study, the film's")
    evidence = [_evidence(source.image, reference) for reference in rejected]
    note = KeyObjectSelectionDocument(
        evidence=evidence,
        content=KeyObjectSelection(
            document_title=_TITLES[reason],
            referenced_objects=evidence,
            observer_device_context=observer(SOFTWARE),
            description="Results of osteoedge that are withdrawn: do not use them",
        ),
        series_instance_uid=instance.series_uid,
        series_number=SERIES_NUMBER,
        series_description="osteoedge bone-tumour check: withdrawn results",
        sop_instance_uid=instance.uid,
        instance_number=instance.number,
        requested_procedures=requested_procedures([source]) or None,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=SOFTWARE,
    )
    complete(note, source, instance.made_at)
    return note


def _evidence(image: Dataset, reference: Reference) -> Dataset:
    """Return a rejected instance as highdicom must know it, of the film's patient and study."""
    evidence = deepcopy(image)
    if reference.sop_class_uid == Comprehensive3DSRStorage:
        # highdicom refers to what has rows and columns as an image.
        del evidence.Rows, evidence.Columns
    evidence.StudyInstanceUID = reference.study_instance_uid
    evidence.SeriesInstanceUID = reference.series_instance_uid
    evidence.SOPClassUID = reference.sop_class_uid
    evidence.SOPInstanceUID = reference.sop_instance_uid
    return evidence
