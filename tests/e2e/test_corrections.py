"""Films are corrected, rejected and screened by another bundle: the archive is told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from edge_runtime.bundle import (
    MANIFEST,
    SiteFile,
    load_bundle,
    sign_bundle,
    write_bundle,
    write_site,
)
from edge_runtime.unit.config import load_unit
from edge_runtime.unit.mode import go_live, load_servable
from tests.conftest import Trained, must, osteoedge
from tests.e2e.archived import (
    RESULTS,
    Archived,
    archived,
    rejected_by,
    rejection_note,
    title_of,
    written,
)
from tests.edge_runtime.screenings import check
from tests.processes import until

QUALITY = codes.DCM.RejectedForQualityReasons
WORKLIST = Code("113038", "DCM", "Incorrect Modality Worklist Entry")
PATIENT_SAFETY = codes.DCM.RejectedForPatientSafetyReasons
SAME = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@pytest.fixture(scope="module")
def unit(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    with archived(tmp_path_factory.mktemp("corrections"), trained) as made:
        yield made


def changed(unit: Archived, film: Path, **attributes: object) -> Path:
    """Write the same instance with other content."""
    before = pydicom.dcmread(film)
    same = {keyword: before[keyword].value for keyword in SAME}
    return written(film, film.with_suffix(".changed.dcm"), **same, **attributes)


def test_a_corrected_patient_has_new_results_and_the_old_ones_are_rejected(
    unit: Archived, tmp_path: Path
) -> None:
    film = unit.film("patient", PatientID="WRONG", PatientName="Wrong^Person")
    unit.send(film)
    old = unit.uids(film, *RESULTS)
    assert len(old) == 3
    unit.send(changed(unit, film, PatientID="RIGHT", PatientName="Right^Person"))
    assert unit.states(film) == ["superseded", "delivered"]
    for kind in RESULTS:
        by_patient = {one.PatientID: one for one in unit.stored(film, kind)}
        assert by_patient.keys() == {"WRONG", "RIGHT"}
        assert by_patient["WRONG"].SOPInstanceUID in old
        assert by_patient["RIGHT"].SOPInstanceUID not in old
        assert by_patient["RIGHT"].PatientName == "Right^Person"
        assert "PredecessorDocumentsSequence" not in by_patient["RIGHT"], "of another patient"
    (note,) = unit.stored(film, "ko")
    assert title_of(note) == PATIENT_SAFETY.value
    assert rejected_by(note) == old
    assert note.PatientID == "WRONG", "it lies with what it rejects"
    assert note.SeriesDescription == "osteoedge bone-tumour check: withdrawn results"
    note.save_as(tmp_path / "note.dcm")
    check(tmp_path / "note.dcm")


def test_two_views_are_corrected_one_after_the_other(unit: Archived) -> None:
    right = {"PatientID": "RIGHT", "PatientName": "Right^Person"}
    first = unit.film("one-of-two", PatientID="WRONG", PatientName="Wrong^Person")
    second = unit.view(first, "two-of-two")
    with unit.paused("worker"):
        assert unit.unit.send(first, second) == 0
    unit.settle()
    old = unit.uids(first, *RESULTS)
    unit.send(changed(unit, first, **right))
    assert {one.SOPInstanceUID for one in unit.stored(first, "sr")} <= old, "no report of both"
    unit.send(changed(unit, second, **right))
    for kind in RESULTS:
        newer = [one for one in unit.stored(first, kind) if one.SOPInstanceUID not in old]
        assert {(one.PatientID, str(one.PatientName)) for one in newer} == {tuple(right.values())}
    assert len(unit.stored(first, "sr")) == 2
    notes = unit.stored(first, "ko")
    assert {title_of(note) for note in notes} == {PATIENT_SAFETY.value}
    assert set().union(*map(rejected_by, notes)) == old, "no result of the right patient's"


def test_a_reprocessed_film_has_its_picture_rejected_and_its_report_superseded(
    unit: Archived,
) -> None:
    film = unit.film("pixels")
    unit.send(film)
    (report,) = unit.stored(film, "sr")
    pictures = unit.uids(film, "sc", "seg")
    pixels = pydicom.dcmread(film).pixel_array
    brighter = np.minimum(pixels + 40, pixels.max()).astype(pixels.dtype)
    unit.send(changed(unit, film, PixelData=brighter.tobytes()))
    (note,) = unit.stored(film, "ko")
    assert title_of(note) == QUALITY.value
    assert rejected_by(note) == pictures
    earlier, newer = unit.stored(film, "sr")
    assert earlier == report
    assert _replaced_by(newer) == report.SOPInstanceUID
    assert len(unit.uids(film, "sc")) == 2
    assert unit.states(film) == ["superseded", "delivered"]


@pytest.mark.parametrize("title", [QUALITY, WORKLIST], ids=lambda title: title.value)
def test_the_console_rejects_a_film_whose_results_were_sent(unit: Archived, title: Code) -> None:
    film = unit.film(f"rejected-{title.value}")
    unit.send(film)
    results = unit.uids(film, *RESULTS)
    unit.send(rejection_note(film, title, film.with_suffix(".note.dcm")))
    (note,) = unit.stored(film, "ko")
    assert title_of(note) == title.value
    assert rejected_by(note) == results
    assert unit.states(film) == ["withdrawn"]
    # The same once more, and the film: nothing comes of it.
    unit.send(film, film.with_suffix(".note.dcm"))
    assert len(unit.uids(film, *RESULTS, "ko")) == 4


def test_one_of_two_views_is_rejected(unit: Archived) -> None:
    first = unit.film("first")
    second = unit.view(first, "second")
    with unit.paused("worker"):
        assert unit.unit.send(first, second) == 0
    unit.settle()
    (report,) = unit.stored(first, "sr")
    unit.send(rejection_note(second, QUALITY, second.with_suffix(".note.dcm")))
    (note,) = unit.stored(first, "ko")
    rejected = pydicom.dcmread(second).SOPInstanceUID
    assert rejected_by(note) == {
        picture.SOPInstanceUID
        for picture in (*unit.stored(first, "sc"), *unit.stored(first, "seg"))
        if rejected in _sources_of(picture)
    }
    earlier, newer = unit.stored(first, "sr")
    assert earlier == report
    assert _replaced_by(newer) == report.SOPInstanceUID
    (evidence,) = newer.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == pydicom.dcmread(first).SOPInstanceUID


def test_a_film_that_was_rejected_before_it_came_is_not_screened(unit: Archived) -> None:
    film = unit.film("late")
    unit.send(rejection_note(film, QUALITY, film.with_suffix(".note.dcm")))
    unit.send(film)
    assert unit.states(film) == ["withdrawn"]
    assert not unit.uids(film, *RESULTS, "ko")
    assert not unit.rows(
        "SELECT 1 FROM document WHERE study_instance_uid = ?",
        pydicom.dcmread(film).StudyInstanceUID,
    )


def test_a_person_takes_back_what_was_sent_and_what_waits(unit: Archived) -> None:
    sent, waits = unit.film("sent"), unit.film("waits", 1)
    unit.send(sent)
    results = unit.uids(sent, *RESULTS)
    with unit.paused("outbox"):
        assert unit.unit.send(waits) == 0
        until(lambda: unit.states(waits) == ["reported"], "screened")
        for film in (sent, waits):
            must(
                osteoedge(
                    "withdraw", pydicom.dcmread(film).SOPInstanceUID, "--config", unit.unit.toml,
                    "--reason", "patient-safety", "--by", "Dr Test",
                )
            )  # fmt: skip
    unit.settle()
    assert unit.states(sent) == unit.states(waits) == ["withdrawn"]
    (note,) = unit.stored(sent, "ko")
    assert title_of(note) == PATIENT_SAFETY.value
    assert rejected_by(note) == results
    assert not unit.archive.of_study(pydicom.dcmread(waits).StudyInstanceUID)


@pytest.mark.parametrize("what", ["bundle", "site file"])
def test_other_work_screens_anew_what_was_not_sent(
    trained: Trained, tmp_path: Path, what: str
) -> None:
    with archived(tmp_path, trained) as unit:
        sent, waits = unit.film("sent"), unit.film("waits", 1)
        unit.send(sent)
        delivered = unit.uids(sent, *RESULTS)
        unit.archive.stop()
        assert unit.unit.send(waits) == 0
        waiting = "SELECT 1 FROM study WHERE study_instance_uid = ? AND reported = revision"
        until(
            lambda: unit.rows(waiting, pydicom.dcmread(waits).StudyInstanceUID),
            "reported, and not sent",
        )
        before = _documents(unit, waits)
        assert unit.unit.stop() == 0

        if what == "bundle":
            _install_another_bundle(unit)
        else:
            _install_a_site_file(unit)
        unit.unit.start()
        until(lambda: len(_documents(unit, waits)) == 6, "made anew")
        assert len(_documents(unit, sent)) == 3, "what was delivered is left alone"
        unit.archive.start()
        unit.settle()
        assert unit.uids(waits, *RESULTS, "ko") == _documents(unit, waits) - before
        assert unit.uids(sent, *RESULTS, "ko") == delivered

        unit.send(sent)
        (note,) = unit.stored(sent, "ko")
        assert title_of(note) == QUALITY.value
        earlier, newer = unit.stored(sent, "sr")
        assert rejected_by(note) == delivered - {earlier.SOPInstanceUID}
        assert _replaced_by(newer) == earlier.SOPInstanceUID
        if what == "bundle":
            assert newer.DeviceSerialNumber != earlier.DeviceSerialNumber, "the bundle's hash"
        else:
            assert "site file clinic" in newer.to_json()
            assert "site file" not in earlier.to_json()
        assert len(unit.uids(sent, *RESULTS)) == 6


def _replaced_by(report: Dataset) -> str:
    """The one report that a report says it replaces."""
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    return str(reference.ReferencedSOPInstanceUID)


def _sources_of(picture: Dataset) -> set[str]:
    """The films that a picture or a mask is made of."""
    if "SourceImageSequence" in picture:
        return {source.ReferencedSOPInstanceUID for source in picture.SourceImageSequence}
    (series,) = picture.ReferencedSeriesSequence
    return {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence}


def _documents(unit: Archived, film: Path) -> set[str]:
    """SOP Instance UIDs of what was ever made of a film's study."""
    found = unit.rows(
        "SELECT sop_instance_uid FROM document WHERE study_instance_uid = ?",
        pydicom.dcmread(film, stop_before_pixels=True).StudyInstanceUID,
    )
    return {row["sop_instance_uid"] for row in found}


def _install_another_bundle(unit: Archived) -> None:
    """Replace the bundle by the next version of it, signed likewise, and let its results out."""
    path = unit.unit.unit.bundle.path
    bundle = load_bundle(path)
    write_bundle(path, bundle.manifest.model_copy(update={"version": "next"}), bundle.content)
    sign_bundle(path, path.parent / "maker")
    _go_live(unit)


def _install_a_site_file(unit: Archived) -> None:
    """Give the unit thresholds of its own, and let its results out."""
    settings = unit.unit.unit.bundle
    bundle = load_bundle(settings.path)
    site = SiteFile(
        name="clinic",
        manifest_sha256=hashlib.sha256(bundle.members[MANIFEST]).hexdigest(),
        operating_points=bundle.manifest.calibration.operating_points,
    )
    write_site(unit.unit.home / "clinic.site", site, settings.path.parent / "maker")
    toml = unit.unit.toml.read_text()
    unit.unit.toml.write_text(toml.replace("[bundle]\n", '[bundle]\nsite = "clinic.site"\n'))
    unit.unit.unit = load_unit(unit.unit.toml)
    _go_live(unit)


def _go_live(unit: Archived) -> None:
    with unit.unit.spool() as spool:
        go_live(spool, load_servable(unit.unit.unit.bundle), "Dr Test", "other work")
