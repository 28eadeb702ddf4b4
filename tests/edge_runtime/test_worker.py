"""The worker: each film has one result, whatever it is, and whatever fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset

from edge_runtime.errors import DelegateError
from edge_runtime.intake.understanding import enter, understand
from edge_runtime.phrases import Language, say
from edge_runtime.radiograph import read_radiograph
from edge_runtime.rejection import Reason
from edge_runtime.screener import Screener
from edge_runtime.screening import Screening
from edge_runtime.spool import Spool
from edge_runtime.spool.withdrawal import withdraw
from edge_runtime.spool.work import claim_film
from edge_runtime.summary import study_summary
from edge_runtime.unit.mode import go_live, load_servable
from edge_runtime.unit.worker import Worker
from tests.conftest import Trained
from tests.edge_runtime.bundles import servable_bundle
from tests.edge_runtime.units import settings


class Home:
    """A unit's spool and worker, and a delegate that can be made to fail."""

    def __init__(self, folder: Path, trained: Trained, **sections: object) -> None:
        self.films = sorted((trained.dataset / "images").iterdir())
        bundle, keys = servable_bundle(trained.bundle, folder / "bundle", "evaluated")
        self.unit = settings(folder, bundle, keys, **sections)
        self.now = 1_000_000.0
        self.spool = Spool(self.unit.spool.directory, lambda: self.now)
        loaded = load_servable(self.unit.bundle)
        self.screener = Screener(loaded)
        go_live(self.spool, loaded, "Dr Test", "a test")
        self.worker = Worker(self.unit, self.spool, self.screener)
        self.worker.begin()

    def receive(self, film: Path) -> None:
        copy = self.spool.folder / "incoming" / film.name
        shutil.copy(film, copy)
        enter(self.spool, understand(copy, "test"))

    def work(self) -> None:
        while self.worker.step():
            pass

    def states(self) -> list[str]:
        return [row["state"] for row in self.spool.rows("SELECT state FROM film ORDER BY id")]

    def objects(self, kind: str) -> list[Dataset]:
        """What was made of a kind and not taken back since, as it came."""
        rows = self.spool.rows(
            "SELECT path FROM document WHERE kind = ? AND withdrawn IS NULL ORDER BY id", kind
        )
        return [pydicom.dcmread(self.spool.folder / row["path"]) for row in rows]

    def documents(self) -> list[dict[str, object]]:
        rows = self.spool.rows("SELECT document FROM result WHERE current ORDER BY id")
        return [json.loads(row["document"]) for row in rows]


@pytest.fixture
def home(tmp_path: Path, trained: Trained) -> Iterator[Home]:
    made = Home(tmp_path, trained)
    yield made
    made.screener.close()
    made.spool.close()


def test_a_film_is_screened_reported_and_queued(home: Home) -> None:
    home.receive(home.films[0])
    home.work()
    (document,) = home.documents()
    header = pydicom.dcmread(home.films[0], stop_before_pixels=True)
    assert document["source"]["sop_instance_uid"] == header.SOPInstanceUID  # type: ignore[index]
    assert home.states() == ["unable" if document["decision"] == "unable" else "reported"]
    kinds = home.spool.rows("SELECT kind, state FROM document JOIN delivery "
                            "ON document_id = document.id ORDER BY kind")  # fmt: skip
    assert [(row["kind"], row["state"]) for row in kinds] == [("sc", "waiting"), ("sr", "waiting")]
    study = home.spool.row("SELECT * FROM study")
    assert study is not None and study["decision"] and study["reported"] == study["revision"]
    assert not home.worker.step()


@pytest.mark.parametrize("language", ["ar", "hi"])
def test_the_report_tells_its_summary_in_the_units_language(
    language: Language, tmp_path: Path, trained: Trained
) -> None:
    home = Home(tmp_path, trained, language=language)
    home.receive(home.films[0])
    home.work()
    (result,) = home.spool.rows("SELECT document FROM result")
    study = home.spool.row("SELECT decision FROM study")
    sr = home.spool.row("SELECT path FROM document WHERE kind = 'sr'")
    assert study is not None and sr is not None
    report = pydicom.dcmread(home.spool.folder / sr["path"])
    (told,) = (
        item.TextValue
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Summary"
    )
    film = Screening.model_validate_json(result["document"])
    assert told.split("\r\n") == [
        say(phrase, language) for phrase in study_summary(study["decision"], [film])
    ]
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert film.summary is not None and len(film.summary.text) == 6
    home.screener.close()
    home.spool.close()


def test_a_film_that_cannot_be_read_has_a_result_and_a_report(home: Home, tmp_path: Path) -> None:
    film = pydicom.dcmread(home.films[0])
    film.PixelData = film.PixelData[: len(film.PixelData) // 2]
    film.save_as(tmp_path / "cut.dcm")
    home.receive(tmp_path / "cut.dcm")
    home.work()
    (document,) = home.documents()
    assert document["decision"] == "unable"
    assert home.states() == ["unable"]
    assert [row["kind"] for row in home.spool.rows("SELECT kind FROM document")] == ["sr"]


def test_a_film_that_ended_the_worker_too_often_is_set_aside_with_a_result(home: Home) -> None:
    home.receive(home.films[0])
    for _ in range(3):
        assert claim_film(home.spool) is not None
        home.worker.begin()  # It was killed, and begins again.
    home.work()
    (document,) = home.documents()
    assert document["decision"] == "unable"
    assert "broke off" in document["reasons"][0]  # type: ignore[index]
    assert home.states() == ["quarantined"]


def test_a_delegate_that_fails_costs_time_and_no_film(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.receive(home.films[0])
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise DelegateError("no delegate is left", "Look at the device")

        patch.setattr(home.screener, "screen", fail)
        home.work()
        assert home.states() == ["failed"]
        home.now += 3.0
        home.work()
    row = home.spool.row("SELECT * FROM film")
    assert row is not None and (row["state"], row["failures"]) == ("failed", 2)
    assert "no delegate is left" in row["reason"]
    home.now += 10.0
    home.work()
    assert home.states() in (["reported"], ["unable"])


def test_work_that_is_done_again_after_a_kill_has_the_same_uids(home: Home) -> None:
    """Killed after the objects were written and before they were recorded."""
    home.receive(home.films[0])
    held = claim_film(home.spool)
    assert held is not None
    radiograph = read_radiograph(held.path)
    screening = home.screener.screen(radiograph)
    before = [d.sop_instance_uid for d in home.worker._documents(held, radiograph, screening)]
    home.worker.begin()
    home.work()
    sc = home.spool.rows("SELECT sop_instance_uid AS uid FROM document WHERE kind = 'sc'")
    assert [row["uid"] for row in sc] == before
    files = list((home.spool.folder / "results").iterdir())
    assert len(files) == len(home.spool.rows("SELECT 1 FROM document"))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first view first", "second view first"])
def test_a_study_is_not_reported_on_while_its_films_name_different_patients(
    home: Home, tmp_path: Path, order: tuple[int, int]
) -> None:
    """Two views are corrected one after the other: no report names the wrong patient meanwhile."""
    views = {}
    for number in (0, 1):
        view = pydicom.dcmread(home.films[number])
        view.StudyInstanceUID, view.InstanceNumber = "1.2.3", number + 1
        views[number] = view

    def receive(number: int, patient: str) -> str:
        view = views[number]
        view.PatientID, view.PatientName = patient, f"{patient}^Person"
        view.save_as(tmp_path / f"{number}-{patient}.dcm")
        home.receive(tmp_path / f"{number}-{patient}.dcm")
        return str(view.SOPInstanceUID)

    uids = {receive(0, "WRONG"), receive(1, "WRONG")}
    home.work()
    (report,) = home.objects("sr")
    assert (report.PatientID, films_of(report)) == ("WRONG", uids)

    receive(order[0], "RIGHT")
    home.work()
    assert not home.objects("sr"), "of the films' patients, neither is the study's"
    assert {one.PatientID for one in home.objects("sc")} == {"WRONG", "RIGHT"}
    study = home.spool.row("SELECT * FROM study")
    assert study is not None and study["reported"] == study["revision"], "it waits for nothing"
    assert "name different patients" in json.loads(study["reasons"])[-1]

    receive(order[1], "RIGHT")
    home.work()
    (report,) = home.objects("sr")
    assert (report.PatientID, report.PatientName) == ("RIGHT", "RIGHT^Person")
    assert films_of(report) == uids
    assert {one.PatientID for one in home.objects("sc")} == {"RIGHT"}


def test_a_report_is_made_once_the_film_of_another_patient_is_withdrawn(
    home: Home, tmp_path: Path
) -> None:
    for number, patient in enumerate(("OURS", "ANOTHER")):
        film = pydicom.dcmread(home.films[number])
        film.StudyInstanceUID, film.PatientID = "1.2.3", patient
        film.save_as(tmp_path / f"{patient}.dcm")
        home.receive(tmp_path / f"{patient}.dcm")
    home.work()
    assert not home.objects("sr")
    withdraw(home.spool, str(film.SOPInstanceUID), Reason.PATIENT_SAFETY, "Dr Test")
    home.work()
    (report,) = home.objects("sr")
    assert report.PatientID == "OURS"
    assert str(film.SOPInstanceUID) not in films_of(report)


def films_of(report: Dataset) -> set[str]:
    """The films that a report names as its evidence."""
    return {
        reference.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
