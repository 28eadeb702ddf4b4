"""`osteoedge feedback import`: tables and structured reports, as hospitals write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import highdicom.sr as sr
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from edge_runtime.errors import ConfigError
from edge_runtime.feedback.importing import import_reads
from edge_runtime.feedback.reads import Entered
from edge_runtime.reports.codes import READING, READINGS
from tests.conftest import must, osteoedge
from tests.edge_runtime.films import film
from tests.edge_runtime.read_units import Ward, csv, ward

STUDY = "1.2.826.0.1.77"


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Ward]:
    with ward(tmp_path / "spool") as made:
        made.study(STUDY, "urgent_review", accession="A-1", patient="P-1")
        made.study("1.2.4", "not_flagged", accession="A-2")
        yield made


def readings(unit: Ward) -> list[tuple[object, ...]]:
    rows = unit.spool.rows("SELECT reading, subtype, other_finding, reader FROM read ORDER BY id")
    return [tuple(row) for row in rows]


# --- tables


def test_words_mean_what_they_mean_to_the_importers(unit: Ward, tmp_path: Path) -> None:
    path = tmp_path / "reads.csv"
    path.write_text(
        csv(
            ",A-1,osteosarcoma; pathological fracture,Dr A,2026-11-16T09:30,seen",
            ",A-2,No Tumor,Dr A,2026-11-16,",
            ",A-2,fracture,Dr B,2026-11-16,",
            ",A-2,NOT_SURE,Dr C,2026-11-16T09:30:00+03:00,",
        )
    )
    found = import_reads(unit.spool, path)
    assert not found.failures and found.entered == {Entered.LINKED: 4}
    assert readings(unit) == [
        ("malignant", "osteosarcoma", "pathological fracture", "Dr A"),
        ("no_tumour", "", "", "Dr A"),
        ("not_sure", "", "fracture", "Dr B"),
        ("not_sure", "", "", "Dr C"),
    ]
    at = [row["read_at"] for row in unit.spool.rows("SELECT read_at FROM read ORDER BY id")]
    assert at[0] == datetime(2026, 11, 16, 9, 30).timestamp()
    assert at[1] == datetime(2026, 11, 16).timestamp()
    assert at[3] == datetime.fromisoformat("2026-11-16T06:30:00+00:00").timestamp()


BAD_LINES = {
    ",,benign,Dr A,2026-11-16,": "names no study",
    ",A-1,,Dr A,2026-11-16,": "reading is blank",
    ",A-1,benign,,2026-11-16,": "reader is blank",
    ",A-1,benign,Dr A,,": "read_at is blank",
    ",A-1,benign,Dr A,16/11/2026,": "read_at is no date",
    ",A-1,benign,Dr A,0001-01-01,": "read_at is no date",
    ",A-1,benign,Dr A,2027-11-16,": "lies in the future",
    ",A-1,maybe something,Dr A,2026-11-16,": "'maybe something'",
    ",A-1,benign; malignant,Dr A,2026-11-16,": "benign and malignant at once",
    f"{STUDY},A-2,benign,Dr A,2026-11-16,": "of another study",
    ",A-3,benign,Dr A,2026-11-16,": "that of 2 studies",
}


def test_each_bad_line_is_named_and_the_rest_goes_on(unit: Ward, tmp_path: Path) -> None:
    for study in ("1.2.5", "1.2.6"):
        unit.study(study, "not_flagged", accession="A-3")
    path = tmp_path / "reads.csv"
    path.write_text(csv(*BAD_LINES, ",A-1,benign,Dr A,2026-11-16,good"))
    found = import_reads(unit.spool, path)
    assert found.entered == {Entered.LINKED: 1} and len(readings(unit)) == 1
    assert len(found.failures) == len(BAD_LINES)
    lines = zip(enumerate(BAD_LINES.values(), 2), found.failures, strict=True)
    for (number, expected), failure in lines:
        assert str(failure).startswith(f"reads.csv, line {number}: ")
        assert expected in failure.what and failure.remedy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reading,reader,read_at\nbenign,Dr A,2026-11-16\n", "no column names the studies"),
        ("accession_number,reader,read_at\nA-1,Dr A,2026-11-16\n", "no column reading"),
        ("accession_number,reading,read_at\nA-1,benign,2026-11-16\n", "no column reader"),
        ("accession_number,reading,reader\nA-1,benign,Dr A\n", "no column read_at"),
        ("", "no column names the studies"),
        ('accession_number,reading\n"' + "x" * 140_000, "no CSV"),
    ],
)
def test_a_table_without_its_columns_enters_nothing(
    unit: Ward, tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "reads.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        import_reads(unit.spool, path)
    assert readings(unit) == []


def test_a_label_map_names_words_and_columns(unit: Ward, tmp_path: Path) -> None:
    words = tmp_path / "words.toml"
    words.write_text(
        'no_tumour = ["unauffällig"]\n[columns]\naccession_number = "Auftrag"\n'
        'reading = "Befund"\nreader = "Arzt"\nread_at = "am"\n'
    )
    path = tmp_path / "reads.csv"
    path.write_text("Auftrag;Befund;Arzt;am;Name\nA-2;unauffällig;Dr A;2026-11-16;Doe\n", "utf-8")
    assert import_reads(unit.spool, path, words).entered == {Entered.LINKED: 1}
    assert readings(unit) == [("no_tumour", "", "", "Dr A")]


LINE = st.tuples(
    st.sampled_from([f"{STUDY},", ",A-1", "1.2.4,A-2", ",A-9", ",", "1.9.9,", f"{STUDY},A-2"]),
    st.sampled_from(["benign", "osteosarcoma", "no tumour", "not sure", "nonsense", ""]),
    st.sampled_from(["Dr A", "Dr B", ""]),
    st.sampled_from(["2026-11-14", "2026-11-15T10:00", "no date"]),
    st.sampled_from(["", "seen", '"two\nlines"']),
)


@settings(max_examples=25, deadline=None)
@given(lines=st.lists(LINE, max_size=8), data=st.data())
def test_importing_again_in_any_order_and_any_pieces_adds_nothing(
    lines: list[tuple[str, ...]], data: st.DataObject
) -> None:
    texts = [",".join(line) for line in lines]
    with TemporaryDirectory() as place, ward(Path(place) / "spool") as unit:
        path = Path(place) / "reads.csv"
        unit.study(STUDY, "urgent_review", accession="A-1")
        unit.study("1.2.4", "not_flagged", accession="A-2")
        path.write_text(csv(*texts))
        first = import_reads(unit.spool, path)
        rows = [tuple(row) for row in unit.spool.rows("SELECT * FROM read ORDER BY id")]
        current = [tuple(row) for row in unit.spool.rows("SELECT * FROM study_reading ORDER BY id")]
        entered = first.entered[Entered.LINKED] + first.entered[Entered.UNLINKED]
        assert entered == len(rows)
        assert len(first.failures) + entered + first.entered[Entered.KNOWN] == len(lines)
        # Again, a later export of the same: other order, some lines of it, some twice.
        again = data.draw(st.lists(st.sampled_from(texts), max_size=8)) if texts else []
        unit.now += 3600
        path.write_text(csv(*again))
        second = import_reads(unit.spool, path)
        assert second.entered[Entered.LINKED] == second.entered[Entered.UNLINKED] == 0
        assert [tuple(row) for row in unit.spool.rows("SELECT * FROM read ORDER BY id")] == rows
        assert current == [
            tuple(row) for row in unit.spool.rows("SELECT * FROM study_reading ORDER BY id")
        ]


# --- structured reports


def report(*, study: str = STUDY, evidence: str | None = None, **attributes: object) -> Dataset:
    """A signed basic text report, by pydicom alone; attributes override or, with None, remove."""
    made = Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = pydicom.uid.BasicTextSRStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid(
        entropy_srcs=[str(attributes)]
    )
    made.Modality, made.Manufacturer, made.StudyInstanceUID = "SR", "a RIS", study
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "VERIFIED"
    made.TimezoneOffsetFromUTC = "+0300"
    made.PatientName = "Doe^Jane"
    observer = Dataset()
    observer.VerifyingObserverName = "Weber^Maria"
    observer.VerificationDateTime = "20261115143000"
    made.VerifyingObserverSequence = [observer]
    if evidence is not None:
        item = Dataset()
        item.StudyInstanceUID = evidence
        made.CurrentRequestedProcedureEvidenceSequence = [item]
    made.ValueType, made.ContentSequence = "CONTAINER", []
    for keyword, value in attributes.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    return made


def coded(name: Code, value: Code, *qualifiers: Code) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "CODE"
    item.ConceptNameCodeSequence, item.ConceptCodeSequence = [_code(name)], [_code(value)]
    if qualifiers:
        item.ContentSequence = [coded(codes.DCM.Finding, one) for one in qualifiers]
    return item


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def container(*items: Dataset) -> Dataset:
    made = Dataset()
    made.RelationshipType, made.ValueType = "CONTAINS", "CONTAINER"
    made.ConceptNameCodeSequence = [_code(codes.DCM.Findings)]
    made.ContentSequence = list(items)
    return made


NEOPLASM = Code("126537000", "SCT", "Neoplasm of bone")
MALIGNANT = Code("21594007", "SCT", "Malignant")
OSTEOSARCOMA = Code("21708004", "SCT", "Osteosarcoma")
FINDING = codes.DCM.Finding


def saved(report: Dataset, path: Path) -> Path:
    report.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([coded(FINDING, OSTEOSARCOMA)], ("malignant", "osteosarcoma", "")),
        ([container(coded(FINDING, NEOPLASM, MALIGNANT))], ("malignant", "", "")),
        ([coded(READING, READINGS["no_tumour"])], ("no_tumour", "", "")),
        ([coded(READING, READINGS["benign"])], ("benign", "", "")),
        ([coded(READING, READINGS["malignant"])], ("malignant", "", "")),
        ([coded(READING, READINGS["not_sure"])], ("not_sure", "", "")),
        (
            [coded(codes.DCM.Conclusion, Code("94222008", "SCT", "Secondary malignant neoplasm"))],
            ("not_sure", "", "metastasis"),
        ),
        # "Osteosarcoma: absent" says nothing by itself.
        (
            [
                coded(FINDING, OSTEOSARCOMA, codes.SCT.Absent),
                coded(READING, READINGS["benign"]),
            ],
            ("benign", "", ""),
        ),
        # What is no conclusion is not looked at: the history of somebody's mother.
        (
            [
                coded(Code("11329-0", "LN", "History"), OSTEOSARCOMA),
                coded(READING, READINGS["no_tumour"]),
            ],
            ("no_tumour", "", ""),
        ),
    ],
)
def test_coded_conclusions_are_taken(
    unit: Ward, tmp_path: Path, content: list[Dataset], expected: tuple[str, str, str]
) -> None:
    path = saved(report(ContentSequence=content), tmp_path / "report.dcm")
    found = import_reads(unit.spool, path)
    assert not found.failures, str(found.failures[0])
    assert found.entered == {Entered.LINKED: 1}
    assert readings(unit) == [(*expected, "Weber Maria")]
    (row,) = unit.spool.rows("SELECT source, read_at FROM read")
    assert row["source"] == "sr"
    assert row["read_at"] == datetime.fromisoformat("2026-11-15T14:30:00+03:00").timestamp()
    assert import_reads(unit.spool, path).entered == {Entered.KNOWN: 1}


TUMOUR = [coded(FINDING, OSTEOSARCOMA)]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: report(ContentSequence=TUMOUR, VerificationFlag="UNVERIFIED"), "not verified"),
        (lambda: report(ContentSequence=TUMOUR, VerifyingObserverSequence=None), "who verified"),
        (lambda: report(ContentSequence=TUMOUR, Manufacturer="osteoedge"), "report of a unit"),
        (lambda: report(ContentSequence=[coded(FINDING, NEOPLASM)]), "SCT:126537000"),
        (report, r"\(it has none\)"),
        (
            lambda: report(ContentSequence=[*TUMOUR, coded(READING, READINGS["no_tumour"])]),
            "no_tumour and malignant at once",
        ),
        (lambda: report(ContentSequence=TUMOUR, StudyInstanceUID=None), "which study"),
        (lambda: report(ContentSequence=TUMOUR, evidence="1.2.4", study="1.2.4"), None),
        (lambda: film(StudyInstanceUID=STUDY), "no structured report"),
    ],
)
def test_what_is_no_read_is_refused_with_its_reason(
    unit: Ward, tmp_path: Path, make: Callable[[], Dataset], expected: str | None
) -> None:
    found = import_reads(unit.spool, saved(make(), tmp_path / "report.dcm"))
    if expected is None:
        assert found.entered == {Entered.LINKED: 1}
        return
    assert not found.entered and readings(unit) == []
    with pytest.raises(type(found.failures[0]), match=expected):
        raise found.failures[0]
    assert "report.dcm" in str(found.failures[0]) and "Doe" not in str(found.failures[0])


def test_the_evidence_tells_the_study_where_the_report_has_one_of_its_own(
    unit: Ward, tmp_path: Path
) -> None:
    made = report(ContentSequence=TUMOUR, study="1.9.9.9", evidence=STUDY)
    assert import_reads(unit.spool, saved(made, tmp_path / "r.dcm")).entered == {Entered.LINKED: 1}
    (row,) = unit.spool.rows("SELECT study_instance_uid FROM read_link")
    assert row["study_instance_uid"] == STUDY


def test_a_report_by_template_1500_of_another_library_is_taken(unit: Ward, tmp_path: Path) -> None:
    image = film(StudyInstanceUID=STUDY, SeriesInstanceUID="1.2.9", PatientID="P-1")
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "PatientBirthDate",
                    "PatientSex", "ReferringPhysicianName"):  # fmt: skip
        setattr(image, keyword, "")
    person = sr.ObserverContext(
        codes.DCM.Person, sr.PersonObserverIdentifyingAttributes(name="Weber^Maria")
    )
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid="1.2.9.1", identifier="knee"),
        finding_type=OSTEOSARCOMA,
        source_images=[sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
        qualitative_evaluations=[sr.QualitativeEvaluation(READING, READINGS["malignant"])],
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_person_context=person),
        procedure_reported=codes.cid100.XRUnspecifiedBodyRegion,
        imaging_measurements=[group],
    )
    made = sr.Comprehensive3DSR(
        evidence=[image], content=content[0], series_instance_uid="1.2.9.2", series_number=1,
        sop_instance_uid="1.2.9.3", instance_number=1, manufacturer="a RIS", is_complete=True,
        is_final=True, is_verified=True, verifying_observer_name="Weber^Maria",
        verifying_organization="a hospital",
    )  # fmt: skip
    # highdicom signs with the time of this machine's clock; the unit lives in 2026.
    made.VerifyingObserverSequence[0].VerificationDateTime = "20261115143000"
    found = import_reads(unit.spool, saved(made, tmp_path / "report.dcm"))
    assert not found.failures, str(found.failures[0])
    assert readings(unit) == [("malignant", "osteosarcoma", "", "Weber Maria")]


# --- the verb


def test_the_verb_enters_what_it_can_and_names_the_rest(tmp_path: Path) -> None:
    config = unit_file(tmp_path)
    with ward(tmp_path / "spool") as unit:
        unit.study(STUDY, "urgent_review", accession="A-1")
    reports = tmp_path / "reports"
    (reports / "deeper").mkdir(parents=True)
    saved(report(ContentSequence=TUMOUR), reports / "deeper" / "one.dcm")
    saved(report(ContentSequence=TUMOUR, VerificationFlag="UNVERIFIED"), reports / "two.dcm")
    (reports / "notes.txt").write_text("Jane Doe")
    result = osteoedge("feedback", "import", reports, "--config", config)
    assert result.returncode == 1
    assert "1 linked to a study" in result.stdout and "2 failed" in result.stdout
    errors = result.stderr.splitlines()
    assert len(errors) == 2 and all(line.startswith("Error ") for line in errors)
    assert "notes.txt" in errors[0] and "two.dcm" in errors[1] and "Doe" not in result.stderr
    again = must(osteoedge("feedback", "import", reports / "deeper", "--config", config, "--json"))
    told = json.loads(again.stdout)
    assert told == {"linked": 0, "unlinked": 0, "known": 1, "linked_before": 0, "failed": []}
    missing = osteoedge("feedback", "import", tmp_path / "none.csv", "--config", config)
    assert missing.returncode == 2 and "none.csv" in missing.stderr


def unit_file(folder: Path) -> Path:
    """A unit.toml for verbs that look at the spool alone."""
    path = folder / "unit.toml"
    path.write_text(
        'name = "ward-3"\n[bundle]\npath = "b.osteo"\ntrusted_keys = "keys"\n'
        '[spool]\ndirectory = "spool"\n[[intake.folders]]\npath = "watched"\n'
    )
    return path
