"""Rejection notes: Key Object Selection documents that take images back (IHE RAD TF-3 4.66)."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from edge_runtime.dicom_header import items, text
from edge_runtime.errors import CorruptRadiographError
from edge_runtime.spool.withdrawal import Reason


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
    """Return the rejection note that a document is, None for a document of another title.

    Raises
    ------
    CorruptRadiographError
        A rejection note that rejects nothing.
    """
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
        raise CorruptRadiographError(
            "a rejection note that names no image", "Reject the image again", name
        )
    return RejectionNote(Reason(code), named)
