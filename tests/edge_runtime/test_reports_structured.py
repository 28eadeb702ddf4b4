"""The structured report of a study, read back as a PACS and a viewer read it."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import highdicom.sr as sr
import numpy as np
import pytest
from highdicom.sr.utils import find_content_items
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from edge_runtime.errors import ResultError
from edge_runtime.phrases import LANGUAGES, Language, Phrase, say
from edge_runtime.quality import QualityFinding
from edge_runtime.reports import codes as own
from edge_runtime.reports.header import series_description
from edge_runtime.reports.study import Predecessor, ReportedFilm
from edge_runtime.reports.wording import HEADLINES
from edge_runtime.screening import STANDING_SENTENCE, Film, Lesion, OutOfDistribution, Screening
from edge_runtime.summary import study_summary
from tests.edge_runtime import summaries
from tests.edge_runtime.screenings import (
    BUNDLE,
    MADE_AT,
    SERIES,
    STUDY,
    hospital_film,
    identity,
    named,
    report,
    reread,
    screening,
    texts,
    triage,
    with_raw,
)

VERDICTS = ("normal", "clear", "no finding")


def reported(number: int = 1, header: Dataset | None = None, **parts: Any) -> ReportedFilm:
    return ReportedFilm(header or hospital_film(number), screening(number, **parts))


def tree(result: Dataset) -> sr.MeasurementReport:
    """The content as highdicom reads it from the file."""
    buffer = io.BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    content = sr.srread(buffer).content
    assert isinstance(content, sr.MeasurementReport)
    return content


def said(result: Dataset, concept: Any) -> list[str]:
    """The text of every content item of a concept."""
    found = find_content_items(tree(result)[0], name=concept, recursive=True)
    return [str(item.TextValue) for item in found if "TextValue" in item]


def test_a_report_passes_the_validator_and_holds_what_the_screening_says(tmp_path: Path) -> None:
    film = reported()
    result = reread(report(film), tmp_path)
    (group,) = tree(result).get_image_measurement_groups()
    probabilities = {
        measurement.name.value: measurement.value for measurement in group.get_measurements()
    }
    assert probabilities == {
        "P_NO_TUMOUR": 0.071234, "P_BENIGN": 0.118766, "P_MALIGNANT": 0.81, "P_TUMOUR": 0.928766,
    }  # fmt: skip
    assert {m.unit for m in group.get_measurements()} == {codes.UCUM.NoUnits}
    (decision,) = group.get_qualitative_evaluations(own.DECISION)
    assert decision.value == own.DECISIONS["urgent_review"]
    assert [image.referenced_sop_instance_uid for image in group.source_images] == [
        film.header.SOPInstanceUID
    ]
    assert said(result, own.REASON) == [*film.screening.reasons, *film.screening.reasons]
    assert result.SeriesDescription == series_description(synthetic=False)
    assert (result.CompletionFlag, result.VerificationFlag, result.PreliminaryFlag) == (
        "COMPLETE", "UNVERIFIED", "PRELIMINARY",
    )  # fmt: skip
    assert result.SoftwareVersions == "osteoedge 0.1.0"
    assert result.DeviceSerialNumber == BUNDLE


def test_patient_study_and_order_are_the_films_own(tmp_path: Path) -> None:
    request = Dataset()
    request.RequestedProcedureID = "RP7"
    request.RequestedProcedureDescription = "Knee, two views"
    request.ScheduledProcedureStepID = "SPS1"
    header = hospital_film(RequestAttributesSequence=[request])
    result = reread(report(reported(header=header)), tmp_path)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge",
                    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
                    "ReferringPhysicianName"):  # fmt: skip
        assert result[keyword].value == header[keyword].value, keyword
    (order,) = result.ReferencedRequestSequence
    assert order.AccessionNumber == "A123"
    assert order.RequestedProcedureID == "RP7"
    assert order.RequestedProcedureDescription == "Knee, two views"
    assert order.StudyInstanceUID == STUDY


def test_the_algorithm_is_named_with_bundle_and_operating_point() -> None:
    result = report(reported())
    assert said(result, codes.DCM.AlgorithmName) == ["knee", "knee"], "of the film and of its area"
    assert said(result, codes.DCM.AlgorithmVersion) == ["7", "7"]
    parameters = said(result, codes.DCM.AlgorithmParameters)
    assert f"bundle sha256 {BUNDLE}" in parameters
    assert "operating point malignant: malignant probability >= 0.6 asks for urgent review" in (
        parameters
    )
    assert "delegate cpu ai-edge-litert 2.3.0" in parameters


@settings(max_examples=25, deadline=None)
@given(
    corners=st.lists(
        st.tuples(*[st.floats(0, 4300, width=32).map(lambda v: round(v, 1))] * 4),
        min_size=1,
        max_size=4,
    )
)
def test_boxes_come_back_as_they_went_in(corners: list[tuple[float, ...]]) -> None:
    boxes = [(min(a, c), min(b, d), max(a, c) + 1.0, max(b, d) + 1.0) for a, b, c, d in corners]
    lesions = tuple(Lesion(box=box, box_mm=None, score=0.5, area_fraction=0.25) for box in boxes)
    film = reported(lesions=lesions)
    groups = tree(report(film)).get_planar_roi_measurement_groups()
    for group, box in zip(groups, boxes, strict=True):
        assert group.roi is not None
        x0, y0, x1, y1 = box
        expected = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
        assert group.roi.graphic_type is sr.GraphicTypeValues.POLYLINE
        assert np.allclose(group.roi.value, expected, atol=1e-3)
        image = group.roi.ContentSequence[0]
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == (
            film.header.SOPInstanceUID
        )
        values = {m.name.value: m.value for m in group.get_measurements()}
        assert values == {"LESION_SCORE": 0.5, "AREA_SHARE": 0.25}
    assert len({group.tracking_uid for group in groups}) == len(boxes)


@settings(max_examples=25, deadline=None)
@given(raw=st.tuples(*[st.integers(0, 1_000_000)] * 3).filter(any))
def test_probabilities_come_back_as_they_went_in(raw: tuple[int, ...]) -> None:
    told = {
        label: round(part / sum(raw), 6)
        for label, part in zip(("no_tumour", "benign", "malignant"), raw, strict=True)
    }
    (group,) = tree(report(reported(probabilities=told))).get_image_measurement_groups()
    for label, value in told.items():
        (measurement,) = group.get_measurements(own.PROBABILITIES[label])
        assert measurement.value == pytest.approx(value, abs=1e-9)


def test_a_screening_that_was_read_again_gives_the_same_report() -> None:
    film = reported()
    again = Screening.model_validate_json(film.screening.model_dump_json(by_alias=True))
    first, second = (report(ReportedFilm(film.header, told)) for told in (film.screening, again))
    assert written(first) == written(second)


def written(result: Dataset) -> bytes:
    buffer = io.BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_the_same_work_is_the_same_object_whatever_the_order_and_the_clock() -> None:
    films = [reported(number) for number in (1, 2, 3)]
    instance = named("sr", films[0].screening)
    first, second = (report(*order, instance=instance) for order in (films, reversed(films)))
    assert written(first) == written(second)


def test_every_film_of_a_study_is_evidence_and_has_a_group(tmp_path: Path) -> None:
    films = [
        reported(1),
        reported(
            2, decision="not_flagged", lesions=(), reasons=("no operating point was reached",)
        ),
        reported(3, decision="unable", reasons=("the film is blank: take it again",), lesions=()),
    ]
    result = reread(report(*films, decision="urgent_review"), tmp_path)
    (study,) = result.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (STUDY, SERIES)
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence} == {
        film.header.SOPInstanceUID for film in films
    }
    groups = tree(result).get_image_measurement_groups()
    decisions = [group.get_qualitative_evaluations(own.DECISION)[0].value for group in groups]
    assert decisions == [own.DECISIONS[film.screening.decision] for film in films]
    assert [group.tracking_identifier for group in groups] == ["film 1", "film 2", "film 3"]
    assert said(result, own.FILMS) == ["3"]


def test_the_decision_on_the_study_stands_before_all_figures() -> None:
    result = report(reported(decision="not_flagged"), decision="routine_review")
    content = result.ContentSequence
    comments = [item.TextValue for item in content if item.get("TextValue")]
    assert HEADLINES["routine_review"] in comments
    assert any(STANDING_SENTENCE in comment for comment in comments)
    kinds = [
        item.ConceptNameCodeSequence[0].CodeMeaning
        for item in content
        if item.RelationshipType == "CONTAINS"
    ]
    assert kinds == [
        "Comment", "Comment", "Summary", "Imaging Measurements", "Qualitative Evaluations",
    ]  # fmt: skip


def test_a_report_that_supersedes_another_says_so_and_refers_to_it(tmp_path: Path) -> None:
    before = Predecessor(
        sop_instance_uid=generate_uid(entropy_srcs=["before"]),
        series_instance_uid=generate_uid(entropy_srcs=["before", "series"]),
        study_instance_uid=STUDY,
        revision=1,
        made_at=datetime(2026, 11, 21, 11, 5, tzinfo=UTC),
    )
    result = reread(report(reported(), revision=2, predecessors=[before]), tmp_path)
    (study,) = result.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (document,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == STUDY
    assert series.SeriesInstanceUID == before.series_instance_uid
    assert document.ReferencedSOPInstanceUID == before.sop_instance_uid
    assert document.ReferencedSOPClassUID == result.SOPClassUID
    sentence = "Revision 2. Supersedes report revision 1 of 2026-11-21 11:05"
    assert sentence in said(result, codes.DCM.Comment)
    first = report(reported())
    assert "PredecessorDocumentsSequence" not in first
    assert not [words for words in texts(first) if "upersedes" in words]


def test_triage_shows_no_probability_and_no_box(tmp_path: Path) -> None:
    honest = triage(synthetic=True)
    # Even where a screening holds more than triage may tell.
    leaky = screening(intended_use="triage", reasons=honest.reasons)
    for told in (honest, leaky):
        result = reread(report(ReportedFilm(hospital_film(), told)), tmp_path)
        kinds = {element.value for element in result.iterall() if element.keyword == "ValueType"}
        assert "CODE" in kinds and not kinds & {"NUM", "SCOORD", "SCOORD3D"}
        assert "0.81" not in " ".join(texts(result))
        assert own.DECISIONS["urgent_review"].meaning in texts(result)
        assert any(STANDING_SENTENCE in words for words in texts(result))


def test_degraded_operation_quality_and_unfamiliar_films_are_told(tmp_path: Path) -> None:
    quality = QualityFinding(finding="the film is blurred", action="take it again", refuses=True)
    told = reported(
        decision="unable",
        reasons=("the film is blurred: take it again",),
        quality=(quality,),
        degraded=("the delegate asked for is missing",),
        out_of_distribution=OutOfDistribution(
            status="not_assessed", reason="the bundle holds no reference of familiar films"
        ),
        synthetic=True,
        lesions=(),
    )
    result = reread(report(told), tmp_path)
    assert said(result, own.QUALITY) == ["the film is blurred: take it again"]
    assert said(result, own.DEGRADED) == ["the delegate asked for is missing"]
    assert said(result, own.FAMILIARITY) == [
        "not assessed: the bundle holds no reference of familiar films"
    ]
    comments = said(result, codes.DCM.Comment)
    assert HEADLINES["unable"] in comments
    assert "Degraded: the delegate asked for is missing" in comments
    assert any(comment.startswith("SYNTHETIC") for comment in comments)
    assert result.SeriesDescription.startswith("SYNTHETIC")


@pytest.mark.parametrize("decision", sorted(HEADLINES))
def test_no_word_sounds_like_an_all_clear(decision: Any) -> None:
    told = reported(decision=decision, reasons=("no operating point was reached",))
    words = " ".join(texts(report(told))).lower().replace("not a normal report", "")
    assert not [word for word in VERDICTS if re.search(rf"\b{word}\b", words)]


@pytest.mark.parametrize("synthetic", [False, True])
def test_a_series_description_fits_its_element(synthetic: bool) -> None:
    description = series_description(synthetic)
    assert len(description) <= 64
    assert "osteoedge bone-tumour check, not a normal report" in description


# Of Latin 1, of Cyrillic, of Chinese, of none.
NAMES = {
    "ISO_IR 100": "Müller^Jürgen",
    "ISO_IR 144": "Люксембург^Роза",
    "GB18030": "Wang^XiaoDong=王^小东",
    "": "Doe^Jane",
}


@pytest.mark.parametrize("charset", NAMES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_summary_is_told_in_the_units_language(
    language: Language, charset: str, tmp_path: Path
) -> None:
    header = hospital_film(SpecificCharacterSet=charset or None, PatientName=NAMES[charset])
    film = reported(header=header, film=Film(rows=90, columns=60, body_part="knee", side="left"))
    result = reread(report(film, language=language), tmp_path)
    phrases = study_summary("urgent_review", [film.screening])
    assert said(result, codes.DCM.Summary) == [
        "\r\n".join(say(phrase, language) for phrase in phrases)
    ]
    (item,) = find_content_items(tree(result)[0], name=codes.DCM.Summary)
    (which,) = item.ContentSequence
    assert which.ConceptNameCodeSequence[0].CodeMeaning == (
        "Language of Content Item and Descendants"
    )
    assert which.ConceptCodeSequence[0].CodeValue == language
    assert str(result.PatientName) == NAMES[charset]
    if language in {"hi", "ar"}:
        # GB 18030 has all characters there are.
        expected = charset if charset == "GB18030" else "ISO_IR 192"
        assert result.SpecificCharacterSet == expected
    if language == "en":
        assert result.get("SpecificCharacterSet", "") == charset
    meanings = [element.value for element in result.iterall() if element.keyword == "CodeMeaning"]
    assert all(meaning.isascii() for meaning in meanings)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["unable for its quality", "study, triage"])
def test_every_kind_of_summary_makes_a_valid_report(
    language: Language, name: str, tmp_path: Path
) -> None:
    made = summaries.blurred() if "quality" in name else triage()
    result = reread(report(ReportedFilm(hospital_film(), made), language=language), tmp_path)
    (told,) = said(result, codes.DCM.Summary)
    standing = say(Phrase(key="notice.standing"), language)
    assert standing in told.split("\r\n")[-1]
    assert not re.search(r"0[.,]81|81[.,]0", told)


POOR = {
    "no names": {"PatientName": None, "ReferringPhysicianName": None},
    "no dates": {"StudyDate": None, "StudyTime": None, "PatientBirthDate": None},
    "no accession number": {"AccessionNumber": None},
    "nothing of type 2": dict.fromkeys(
        ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
         "ReferringPhysicianName", "StudyID", "AccessionNumber", "Manufacturer")
    ),
    "everything empty": dict.fromkeys(
        ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate",
         "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber", "Manufacturer"), ""
    ),
    "numbers missing": {"SeriesNumber": None, "InstanceNumber": None},
    "orientation unknown": {"PatientOrientation": None},
}  # fmt: skip


@pytest.mark.parametrize("missing", POOR)
def test_a_poor_header_still_makes_a_valid_report(missing: str, tmp_path: Path) -> None:
    header = hospital_film(**POOR[missing])
    result = reread(report(reported(header=header)), tmp_path)
    assert result.StudyInstanceUID == STUDY
    assert str(result.PatientName) == str(header.get("PatientName", ""))


BROKEN = {
    "PatientSex": b"female",
    "PatientBirthDate": b"20090231",
    "PatientAge": b"seventeen",
    "PatientID": b"4711\\4712",
    "PatientWeight": b"heavy ",
    "StudyDate": b"21.11.2026",
    "StudyTime": b"10:15 h ",
    "StudyID": b"a study id of far more than sixteen characters",
    "AccessionNumber": b"A\x00\x07123456789012345678",
    "StudyDescription": b"d" * 80,
    "Manufacturer": b"m" * 80,
    "PatientOrientation": b"LEFT\\",
    "TimezoneOffsetFromUTC": b"MEZ ",
    "SpecificCharacterSet": b"LATIN ONE ",
}


@pytest.mark.parametrize("keyword", BROKEN)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_value_that_breaks_its_own_rules_is_left_out(keyword: str, tmp_path: Path) -> None:
    header = with_raw(hospital_film(), keyword, BROKEN[keyword])
    result = reread(report(reported(header=header)), tmp_path)
    assert not result.get(keyword) or result[keyword].value == "osteoedge"
    if keyword != "PatientID":
        assert result.PatientID == "4711"


def test_a_film_that_nothing_can_refer_to_is_refused_in_one_line() -> None:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        header = hospital_film()
        del header[keyword]
        with pytest.raises(ResultError, match=f"film-1.dcm: .*{keyword}") as caught:
            report(reported(header=header))
        assert "Doe" not in str(caught.value) and "\n" not in str(caught.value)
    picture = hospital_film(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1")
    with pytest.raises(ResultError, match="not an image of a class that films have"):
        report(reported(header=picture))


def test_films_of_two_studies_are_no_study() -> None:
    other = hospital_film(2, StudyInstanceUID=generate_uid(entropy_srcs=["other"]))
    with pytest.raises(ValueError, match="one study"):
        report(reported(1), reported(2, header=other))


def test_the_time_is_that_of_the_film_where_it_has_a_zone() -> None:
    east = report(reported(header=hospital_film(TimezoneOffsetFromUTC="+0530")))
    assert (str(east.ContentDate), str(east.ContentTime)) == ("20261122", "150015")
    assert east.TimezoneOffsetFromUTC == "+0530"
    local = MADE_AT.astimezone(timezone(timedelta(hours=-3)))
    film = reported()
    instance = replace(named("sr", film.screening), made_at=local)
    assert str(report(film, instance=instance).ContentTime) == "063015"


def test_an_area_is_tracked_from_report_to_report() -> None:
    """A late view changes the report, not what was seen on the first film."""

    def tracked(result: Dataset) -> set[str]:
        return {
            str(group.tracking_uid) for group in tree(result).get_planar_roi_measurement_groups()
        }

    alone, together = report(reported(1)), report(reported(1), reported(2), revision=2)
    assert tracked(alone) < tracked(together)
    other = screening(1).model_copy(update={"software": "osteoedge 0.2.0"})
    assert not tracked(alone) & tracked(report(ReportedFilm(hospital_film(), other)))
    assert identity(other) != identity(screening(1))
