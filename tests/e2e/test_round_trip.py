"""A film's way through the unit: by C-STORE into it, and its results back out of the archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset
from pydicom.sr.codedict import codes

from edge_runtime.phrases import Phrase, say
from edge_runtime.reports import codes as own
from edge_runtime.reports.wording import SERIES
from edge_runtime.screening import STANDING_SENTENCE, Screening
from tests.conftest import Trained
from tests.e2e.archived import RESULTS, Archived, archived
from tests.edge_runtime.screenings import check
from tests.edge_runtime.test_reports_structured import said, tree

PEOPLE = {
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "膝関節"),
    "Cyrillic": ("ISO_IR 144", "Люкceмбypг^Анна", "Коленный сустав"),
}


@pytest.fixture(scope="module")
def unit(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    """Sends results, and the films themselves."""
    home = tmp_path_factory.mktemp("round-trip")
    with archived(home, trained, [*RESULTS, "original"]) as made:
        yield made


@pytest.mark.parametrize("script", PEOPLE)
def test_what_comes_back_is_what_the_unit_found(
    unit: Archived, script: str, tmp_path: Path
) -> None:
    charset, name, description = PEOPLE[script]
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP7", "SPS1"
    path = unit.film(
        script, SpecificCharacterSet=charset, PatientName=name, PatientID=f"{script}-1",
        StudyDescription=description, AccessionNumber="A7", RequestAttributesSequence=[request],
    )  # fmt: skip
    unit.send(path)
    film = pydicom.dcmread(path)

    # The unit's own account.
    (result,) = unit.rows(
        "SELECT r.* FROM result r JOIN film f ON f.id = r.film_id WHERE f.sop_instance_uid = ?",
        film.SOPInstanceUID,
    )
    screening = Screening.model_validate_json(result["document"])
    (study,) = unit.rows("SELECT * FROM study WHERE study_instance_uid = ?", film.StudyInstanceUID)
    documents = unit.rows(
        "SELECT * FROM document WHERE study_instance_uid = ?", film.StudyInstanceUID
    )
    assert screening.source.sop_instance_uid == film.SOPInstanceUID
    assert screening.lesions

    # The archive's.
    kinds = (*RESULTS, "original")
    back = {kind: unit.stored(path, kind) for kind in kinds}
    assert {kind: [one.SOPInstanceUID for one in back[kind]] for kind in kinds} == {
        one["kind"]: [one["sop_instance_uid"]] for one in documents
    }
    ((report,), (picture,), (mask,), (original,)) = (back[kind] for kind in kinds)
    assert np.array_equal(original.pixel_array, film.pixel_array)
    for number, found in enumerate((report, picture, mask)):
        assert str(found.PatientName) == name
        assert found.StudyDescription == description
        assert (found.PatientID, found.AccessionNumber) == (film.PatientID, "A7")
        assert found.SeriesDescription == SERIES
        assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID
        returned = tmp_path / f"{number}.dcm"
        found.save_as(returned)
        check(returned)
    assert str(original.PatientName) == name
    _is_of(report, screening, study["decision"], film)
    (source,) = picture.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == film.SOPInstanceUID
    assert returned_by_dicomweb(unit, picture) == picture
    _marks(mask, screening, film)


def test_a_summary_in_arabic_comes_back_beside_names_of_any_script(
    trained: Trained, tmp_path: Path
) -> None:
    with archived(tmp_path, trained, ["sr"], language="ar") as unit:
        for script, (charset, name, description) in PEOPLE.items():
            path = unit.film(
                script, SpecificCharacterSet=charset, PatientName=name,
                StudyDescription=description,
            )  # fmt: skip
            unit.send(path)
            (report,) = unit.stored(path, "sr")
            assert (str(report.PatientName), report.StudyDescription) == (name, description)
            assert report.SpecificCharacterSet == "ISO_IR 192"
            (told,) = said(report, codes.DCM.Summary)
            lines = told.split("\r\n")
            assert lines[0] == say(Phrase(key="summary.preliminary"), "ar")
            assert say(Phrase(key="notice.standing"), "ar") in lines[-1]
            returned = tmp_path / "report.dcm"
            report.save_as(returned)
            check(returned)


def _is_of(report: Dataset, screening: Screening, decision: str, film: Dataset) -> None:
    """The report says of the film what the unit's own document says."""
    content = tree(report)
    (group,) = content.get_image_measurement_groups()
    assert screening.probabilities is not None
    assert {one.name.value: one.value for one in group.get_measurements()} == pytest.approx(
        {
            **{own.PROBABILITIES[k].value: v for k, v in screening.probabilities.items()},
            own.P_TUMOUR.value: screening.tumour_probability,
        }
    )
    (told,) = group.get_qualitative_evaluations(own.DECISION)
    assert told.value == own.DECISIONS[screening.decision]
    areas = content.get_planar_roi_measurement_groups()
    assert len(areas) == len(screening.lesions)
    for area, lesion in zip(areas, screening.lesions, strict=True):
        x0, y0, x1, y1 = lesion.box
        corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
        # Coordinates are 32-bit floats (PS3.3 C.18.6.2).
        assert np.allclose(area.roi.value, corners, atol=1e-3)
        assert {one.name.value: one.value for one in area.get_measurements()} == pytest.approx(
            {own.LESION_SCORE.value: lesion.score, own.AREA_SHARE.value: lesion.area_fraction}
        )
    conclusion = report.ContentSequence[-1].ContentSequence
    assert conclusion[0].ConceptCodeSequence[0].CodeValue == own.DECISIONS[decision].value  # type: ignore[index]
    assert any(STANDING_SENTENCE in remark for remark in said(report, codes.DCM.Comment))
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert (
        evidence.StudyInstanceUID, series.SeriesInstanceUID,
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID,
    ) == (
        film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPClassUID, film.SOPInstanceUID,
    )  # fmt: skip
    (request,) = report.ReferencedRequestSequence
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP7", "A7")
    assert "PredecessorDocumentsSequence" not in report


def _marks(mask: Dataset, screening: Screening, film: Dataset) -> None:
    """The mask has the film's size, and its pixels lie in the boxes."""
    pixels = mask.pixel_array
    assert pixels.shape == (film.Rows, film.Columns)
    (series,) = mask.ReferencedSeriesSequence
    (reference,) = series.ReferencedInstanceSequence
    assert reference.ReferencedSOPInstanceUID == film.SOPInstanceUID
    for lesion in screening.lesions:
        x0, y0, x1, y1 = (round(edge) for edge in lesion.box)
        assert pixels[y0:y1, x0:x1].sum() / pixels.size == pytest.approx(
            lesion.area_fraction, rel=0.1
        )


def returned_by_dicomweb(unit: Archived, wanted: Dataset) -> Dataset:
    client = DICOMwebClient(unit.archive.dicomweb)
    return client.retrieve_instance(
        wanted.StudyInstanceUID, wanted.SeriesInstanceUID, wanted.SOPInstanceUID,
        media_types=(("application/dicom", "*"),),
    )  # fmt: skip


def test_two_views_have_one_report_and_a_late_one_another(unit: Archived) -> None:
    first = unit.film("first")
    study = pydicom.dcmread(first).StudyInstanceUID
    second, late = (
        unit.view(first, f"view-{number}", number, InstanceNumber=number + 1) for number in (1, 2)
    )
    with unit.paused("worker"):
        assert unit.unit.send(first, second) == 0
    unit.settle()
    (before,) = unit.stored(first, "sr")
    assert _films_of(before) == unit.uids(first, "original")
    unit.send(late)
    earlier, newer = unit.stored(first, "sr")
    assert earlier == before, "it stands as it was sent"
    (predecessor,) = newer.PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert predecessor.StudyInstanceUID == study
    assert series.SeriesInstanceUID == before.SeriesInstanceUID
    assert reference.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert _films_of(newer) == unit.uids(first, "original")
    assert len(_films_of(newer)) == 3
    assert any("Supersedes report" in remark for remark in said(newer, codes.DCM.Comment))
    assert not unit.stored(first, "ko"), "out of date is not wrong"
    assert len(unit.uids(first, "sc")) == 3


def _films_of(report: Dataset) -> set[str]:
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    return {
        reference.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
