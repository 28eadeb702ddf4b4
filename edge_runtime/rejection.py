"""Rejection notes: documents that take images back, and why (IHE RAD TF-1 33, TF-3 4.66).

A rejection note is a Key Object Selection Document (PS3.3 A.35.4) whose title says why instances
are not to be used any more, and whose content names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from edge_runtime.dicom_header import items, text
from edge_runtime.errors import CorruptRadiographError


class Reason(StrEnum):
    """Why an object is rejected: codes of PS3.16 CID 7011, coding scheme DCM."""

    QUALITY = "113001"
    PATIENT_SAFETY = "113037"
    WORKLIST = "113038"

    @property
    def words(self) -> str:
        """The code's meaning."""
        return {
            Reason.QUALITY: "Rejected for Quality Reasons",
            Reason.PATIENT_SAFETY: "Rejected for Patient Safety Reasons",
            Reason.WORKLIST: "Incorrect Modality Worklist Entry",
        }[self]


@dataclass(frozen=True)
class RejectionNote:
    """What is taken back, and why.

    Attributes
    ----------
    rejected
        SOP Instance UIDs, at least one.
    """

    reason: Reason
    rejected: tuple[str, ...]


def parse_rejection_note(dataset: Dataset, name: str) -> RejectionNote | None:
    """Return the rejection note that an object is, None for any other object.

    A Key Object Selection of another title, such as an image of interest, is no rejection note.

    Raises
    ------
    CorruptRadiographError
        A rejection note that rejects nothing.
    """
    if text(dataset, "SOPClassUID") != KeyObjectSelectionDocumentStorage:
        return None
    titles = items(dataset, "ConceptNameCodeSequence")
    code = text(titles[0], "CodeValue") if titles else None
    if code not in list(Reason) or text(titles[0], "CodingSchemeDesignator") != "DCM":
        return None
    rejected = [
        text(reference, "ReferencedSOPInstanceUID")
        for content in items(dataset, "ContentSequence")
        for reference in items(content, "ReferencedSOPSequence")
    ]
    named = tuple(dict.fromkeys(uid for uid in rejected if uid is not None))
    if not named:
        raise CorruptRadiographError.because("empty_rejection", name)
    return RejectionNote(Reason(code), named)
