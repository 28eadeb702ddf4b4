"""What PS3.15 Annex E says of each attribute, and what is done here.

The table (E.1-1, edition 2026c, 655 entries) is that of the package `dicom-anonymizer` (Kitware,
BSD-3-Clause), which generates it from the standard. Its engine is not used: it does not look into
sequences, draws UIDs at random for each process, and turns dates that the table removes into a
constant. Nor are the others: `dicognito` keeps what it has no handler for (descriptions, comments,
private attributes), `deid` wants the rules written by its user.

Where the table leaves a choice (X/Z, X/D, Z/D, X/Z/D), the film's own kinds of object (CR, DX,
SC: PS3.3 A.2, A.26, A.8.1) decide: removed where the attribute is optional there, emptied where it
is type 2. None of those that the table replaces by a dummy (D) is required in a film: removed.

Beyond the table, what it does not list is kept only if it describes the image and can hold no
identity: numbers, codes of public schemes, defined terms, of the groups that make up a film. Free
text, names, dates, attributes that the standard does not know, and what else describes patient,
visit, order, report or signature, go, wherever they are nested.
"""

from __future__ import annotations

import re
from enum import Enum

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom.datadict import dictionary_has_tag
from pydicom.tag import BaseTag, Tag

EDITION = "2026c"


class Action(Enum):
    """What is done with an element; the names are those of PS3.15 Table E.1-1a."""

    REMOVE = "X: removed"
    EMPTY = "Z: emptied"
    PSEUDONYM = "D: pseudonym"
    UID = "U: another UID"
    SHIFT = "C: date moved"
    CLEAN = "C: cleaned"
    AGE = "C: whole years, 90 for 90 or older"
    KEEP = "K: kept"
    DESCEND = "items looked into"


def _tags(*keywords: str) -> frozenset[BaseTag]:
    return frozenset(Tag(keyword) for keyword in keywords)


# Retain Longitudinal Temporal Information With Modified Dates (E.3.6). Fewer dates than the option
# names, and no time of day: training needs neither, and a time singles a film out in a RIS.
_SHIFTED = _tags("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
_PSEUDONYMS = _tags("PatientID", "PatientName")
# Retain Patient Characteristics (E.3.7): of those, the two that training uses.
CHARACTERISTICS = _tags("PatientAge", "PatientSex")
# Type 2 in CR, DX or SC and with a choice in the table.
_EMPTIED = _tags("ContentTime", "AcquisitionContextSequence")

# Identification, acquisition, relationship, image, view, presentation, pixels.
_FILM_GROUPS = frozenset((0x0008, 0x0018, 0x0020, 0x0028, 0x0054, 0x2050, 0x7FE0))
# Retired numbers of those groups: of reports and studies, or of bytes that are no longer there.
_STALE = _tags("ReportNumber", "OtherStudyNumbers", "LengthToEnd")
_KEPT_TEXT = _tags(
    "Manufacturer", "ManufacturerModelName", "RescaleType", "ModalityLUTType",
    "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning",
)  # fmt: skip
_KEPT_BYTES = _tags(
    "PixelData", "LUTData", "LUTDescriptor", "SmallestImagePixelValue", "LargestImagePixelValue",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
)  # fmt: skip
# Enumerated by the standard, and without them a film cannot be shown: no patient is called so.
STRUCTURAL = _tags(
    "Modality", "PhotometricInterpretation", "PresentationLUTShape", "PresentationIntentType",
    "PixelIntensityRelationship", "VOILUTFunction", "RescaleType", "ModalityLUTType",
    "LossyImageCompression", "BurnedInAnnotation", "CodingSchemeDesignator", "PatientSex",
)  # fmt: skip
_NUMBERS = frozenset(("DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"))
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")
# Public schemes (PS3.16 Section 8); a private one (99..., L) may say anything in its meanings.
PUBLIC_SCHEMES = frozenset(("SCT", "SRT", "SNM3", "DCM", "UCUM", "FMA", "RADLEX", "NCIt", "LN"))

_EXACT = {
    Tag(entry[:2]): code
    for code, entries in (
        ("D", table.D_TAGS), ("Z", table.Z_TAGS), ("X", table.X_TAGS), ("U", table.U_TAGS),
        ("Z/D", table.Z_D_TAGS), ("X/Z", table.X_Z_TAGS), ("X/D", table.X_D_TAGS),
        ("X/Z/D", table.X_Z_D_TAGS), ("X/Z/U*", table.X_Z_U_STAR_TAGS),
    )
    for entry in entries
    if len(entry) == 2
}  # fmt: skip


def table_code(tag: BaseTag) -> str | None:
    """Return the basic profile's code for an attribute, or None where the table has no entry."""
    # Curves (50xx) and overlays (60xx) are repeating groups; what is left of one without its data
    # describes nothing, so the whole group goes.
    if tag.group & 0xFF00 in (0x5000, 0x6000) or tag.is_private:
        return "X"
    return _EXACT.get(tag)


def action_for(tag: BaseTag, vr: str) -> Action:
    """Return what is done with an attribute.

    Parameters
    ----------
    tag, vr
        Of the element as it was read; its value decides nothing here.
    """
    if tag in _SHIFTED:
        return Action.SHIFT
    if tag in _PSEUDONYMS:
        return Action.PSEUDONYM
    if tag in CHARACTERISTICS:
        return Action.KEEP
    code = table_code(tag)
    if code is not None:
        if code == "U":
            return Action.UID
        if code in ("Z", "Z/D") or tag in _EMPTIED:
            return Action.EMPTY
        return Action.REMOVE
    return _beyond_the_table(tag, vr)


def _beyond_the_table(tag: BaseTag, vr: str) -> Action:
    if tag.group not in _FILM_GROUPS or tag in _STALE or not dictionary_has_tag(tag):
        return Action.REMOVE
    if vr == "SQ":
        return Action.DESCEND
    if vr == "UI":
        return Action.UID
    if tag in _KEPT_BYTES or vr in _NUMBERS:
        return Action.KEEP
    if tag in _KEPT_TEXT or vr == "CS":
        return Action.CLEAN
    return Action.REMOVE


def as_code_string(value: str) -> str:
    """Return a value as a code string (CS, PS3.5 6.2), blank for a sentence in its place."""
    return value.upper() if _CODE_STRING.fullmatch(value.upper()) else ""
