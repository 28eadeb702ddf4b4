"""Rejection notes: written for a console, and read from one that is not trusted."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)

from edge_runtime.errors import CorruptRadiographError
from edge_runtime.rejection import Reason, RejectionNote, parse_rejection_note
from edge_runtime.reports.rejection_note import Reference, rejection_note
from tests.edge_runtime.screenings import (
    STUDY,
    hospital_film,
    named,
    report,
    reread,
    screening,
    texts,
)
from tests.edge_runtime.test_reports_structured import POOR, reported


def references(*sop_classes: str) -> tuple[Reference, ...]:
    return tuple(
        Reference(
            study_instance_uid=STUDY,
            series_instance_uid=generate_uid(entropy_srcs=["series", sop_class]),
            sop_class_uid=sop_class,
            sop_instance_uid=generate_uid(entropy_srcs=["instance", sop_class]),
        )
        for sop_class in sop_classes
    )


RESULTS = references(
    Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage
)  # fmt: skip


def note(reason: Reason = Reason.QUALITY, header: Dataset | None = None) -> Dataset:
    return rejection_note(header or hospital_film(), reason, RESULTS, named("ko", screening()))


@pytest.mark.parametrize("reason", list(Reason))
def test_a_note_says_what_is_withdrawn_and_why(reason: Reason, tmp_path: Path) -> None:
    result = reread(note(reason), tmp_path)
    assert result.SOPClassUID == KeyObjectSelectionDocumentStorage
    assert result.Modality == "KO"
    (title,) = result.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator) == (reason, "DCM")
    assert result.PatientName == "Doe^Jane"
    assert result.AccessionNumber == "A123"
    kinds = [item.ValueType for item in result.ContentSequence if "ReferencedSOPSequence" in item]
    assert kinds == ["COMPOSITE", "IMAGE", "IMAGE"]
    uids = tuple(rejected.sop_instance_uid for rejected in RESULTS)
    assert parse_rejection_note(result, "note") == RejectionNote(reason, uids)
    assert any("withdrawn" in words for words in texts(result))


def test_a_note_speaks_of_one_study() -> None:
    elsewhere = Reference("1.2.3", "1.2.3.4", Comprehensive3DSRStorage, "1.2.3.4.5")
    for rejected in ((*RESULTS, elsewhere), ()):
        with pytest.raises(ValueError, match="one study"):
            rejection_note(hospital_film(), Reason.QUALITY, rejected, named("ko", screening()))


@pytest.mark.parametrize("missing", POOR)
def test_a_poor_header_still_makes_a_valid_note(missing: str, tmp_path: Path) -> None:
    reread(note(header=hospital_film(**POOR[missing])), tmp_path)


def test_other_objects_are_no_rejection_notes() -> None:
    interesting = note()
    interesting.ConceptNameCodeSequence[0].CodeValue = codes.DCM.OfInterest.value
    foreign = note()
    foreign.ConceptNameCodeSequence[0].CodingSchemeDesignator = "99CONSOLE"
    for other in (Dataset(), hospital_film(), report(reported()), interesting, foreign):
        assert parse_rejection_note(other, "other") is None


def test_a_note_that_names_nothing_is_an_error() -> None:
    empty = note()
    del empty.ContentSequence
    with pytest.raises(CorruptRadiographError, match="names no image"):
        parse_rejection_note(empty, "note")


def written(result: Dataset) -> bytes:
    buffer = io.BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


WHOLE = written(note())


@settings(max_examples=400, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(132, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=12
    ),
    cut=st.integers(200, len(WHOLE)),
)
@pytest.mark.filterwarnings("ignore")
def test_no_damage_makes_anything_but_a_note_none_or_an_error(
    changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(WHOLE)
    for place, value in changes:
        data[place] = value
    try:
        dataset = dcmread(io.BytesIO(bytes(data[:cut])), force=True)
    except Exception:
        return  # not this module's
    try:
        found = parse_rejection_note(dataset, "note")
    except CorruptRadiographError:
        return
    assert found is None or found.rejected
