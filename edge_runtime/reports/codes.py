"""Codes that neither DICOM nor SNOMED CT has, as the private scheme 99OSTEOEDGE (PS3.16 8).

A code's value is of at most 16 characters, its meaning, which is what a viewer shows, of 64.
"""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from edge_runtime.decision import Decision
from edge_runtime.policy import Language
from edge_runtime.reports.wording import HEADLINES

SCHEME = "99OSTEOEDGE"


def scheme_identification() -> CodingSchemeIdentificationItem:
    """Return what the scheme is (PS3.3 C.12.1.1.7)."""
    return CodingSchemeIdentificationItem(
        SCHEME, name="osteoedge results", version="1", responsible_organization="osteoedge"
    )


def _private(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


DECISION = _private("DECISION", "Bone-tumour check decision")
DECISIONS: dict[Decision, Code] = {
    decision: _private(decision.upper(), headline) for decision, headline in HEADLINES.items()
}
REASON = _private("REASON", "Reason for the decision")
FILMS = _private("FILMS", "Films of the study that were checked")
PROBABILITIES = {
    "no_tumour": _private("P_NO_TUMOUR", "Probability of no bone tumour, calibrated"),
    "benign": _private("P_BENIGN", "Probability of a benign bone tumour, calibrated"),
    "malignant": _private("P_MALIGNANT", "Probability of a malignant bone tumour, calibrated"),
}
P_TUMOUR = _private("P_TUMOUR", "Probability of any bone tumour, calibrated")
LESION_SCORE = _private("LESION_SCORE", "Highest lesion probability in the area, not calibrated")
AREA_SHARE = _private("AREA_SHARE", "Share of the film's area that was marked")
QUALITY = _private("QUALITY", "Film quality finding")
FAMILIARITY = _private("FAMILIARITY", "Likeness to the films that the model knows")
DEGRADED = _private("DEGRADED", "Degraded operation")

# CID 5000.
LANGUAGES: dict[Language, Code] = {
    "en": Code("en", "RFC5646", "English"),
    "fr": Code("fr", "RFC5646", "French"),
    "es": Code("es", "RFC5646", "Spanish"),
    "sw": Code("sw", "RFC5646", "Swahili"),
    "hi": Code("hi", "RFC5646", "Hindi"),
    "ar": Code("ar", "RFC5646", "Arabic"),
}
# For a radiologist's own report: what `osteoedge feedback import` takes from it.
READING = _private("READING", "Radiologist's reading: bone tumour or none")
READINGS = {
    "no_tumour": _private("READ_NO_TUMOUR", "No bone tumour"),
    "benign": _private("READ_BENIGN", "Benign bone tumour"),
    "malignant": _private("READ_MALIGNANT", "Malignant bone tumour"),
    "not_sure": _private("READ_NOT_SURE", "Not sure"),
}
