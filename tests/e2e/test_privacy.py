"""No name, number or UID of a patient in anything that the unit tells of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
import requests
from pydicom.sr.codedict import codes

from edge_runtime.spool.audit import hashed
from tests.conftest import Trained, must, osteoedge
from tests.e2e.archived import RESULTS, Archived, archived, rejection_note
from tests.edge_runtime.films import save
from tests.processes import until

PATIENT = {
    "PatientName": "Markerfrau^Zarathustra",
    "PatientID": "MRK-99071",
    "PatientBirthDate": "19210723",
    "AccessionNumber": "ACC55012",
    "ReferringPhysicianName": "Überweiser^Quirin",
    "StudyDescription": "Knie der Markerfrau",
    "SpecificCharacterSet": "ISO_IR 192",
}
MARKERS = (
    "markerfrau", "zarathustra", "mrk-99071", "19210723", "acc55012", "überweiser", "quirin",
)  # fmt: skip


def test_a_patient_goes_all_the_way_and_is_told_of_nowhere(
    trained: Trained, tmp_path: Path
) -> None:
    with archived(tmp_path, trained) as unit:
        films = [unit.film(f"Markerfrau-{number}", number % 3, **PATIENT) for number in range(6)]
        delivered, folder, damaged, waits, foreign, early = films
        unit.send(delivered)
        # By folder, under a name that tells the patient's.
        (unit.unit.watched / "Markerfrau_Zarathustra_19210723.dcm").write_bytes(folder.read_bytes())
        until(lambda: unit.states(folder) == ["delivered"], "by folder")
        # What cannot be screened, is no film, or cannot be understood.
        film = pydicom.dcmread(damaged)
        film.PixelData = film.PixelData[:1000]
        save(film, damaged)
        unit.send(damaged)
        film = pydicom.dcmread(foreign)
        film.BodyPartExamined, film.Modality = "MARKERFRAU", "MARKERFRAU"
        del film.StudyInstanceUID
        unit.unit.send(save(film, foreign))
        garbage = b"\x10\x00\x10\x00PN\xff\xffMarkerfrau^Zarathustra MRK-99071"
        (unit.unit.watched / "Markerfrau.dcm").write_bytes(garbage)
        (unit.unit.watched / "MRK-99071.png").write_bytes(b"\x89PNG Markerfrau")
        note = pydicom.dcmread(
            rejection_note(early, codes.DCM.RejectedForQualityReasons, tmp_path / "empty.dcm")
        )
        note.ContentSequence = []
        unit.unit.send(save(note, tmp_path / "empty.dcm"))
        until(lambda: len(unit.rows("SELECT 1 FROM quarantine")) == 3, "quarantined")
        decision = "SELECT 1 FROM result WHERE decision = 'unable'"
        assert unit.rows(decision), "the damaged one"
        # Destinations that cannot be reached; notes from the console and from a person.
        unit.settle()
        unit.archive.stop()
        assert unit.unit.send(waits) == 0
        until(lambda: unit.states(waits) == ["reported"], "screened")
        failed = "SELECT 1 FROM delivery WHERE error IS NOT NULL"
        until(lambda: unit.rows(failed), "tried in vain")
        while_it_waits = _told(unit)
        unit.archive.start()
        note = rejection_note(delivered, codes.DCM.RejectedForQualityReasons, tmp_path / "note.dcm")
        unit.send(note, rejection_note(
            early, codes.DCM.RejectedForPatientSafetyReasons, tmp_path / "early.dcm",
        ), early)  # fmt: skip
        _take_back(unit, folder)
        _take_back(unit, early, refused=True)
        unit.settle()
        assert len(unit.uids(delivered, *RESULTS, "ko")) == 4
        told = _told(unit)
        # Stopped, and asked once more.
        assert unit.unit.stop() == 0
        told = {
            **told,
            **{f"{name}, while it waits": words for name, words in while_it_waits.items()},
            "log": unit.unit.log.read_text(),
            "status, stopped": _command(unit, "status"),
        }
        raw = {
            str(value)
            for row in unit.rows(
                "SELECT sop_instance_uid, series_instance_uid, study_instance_uid FROM film UNION "
                "SELECT sop_instance_uid, series_instance_uid, study_instance_uid FROM document"
            )
            for value in row.values()
        }
    assert len(raw) > 20
    for name, words in told.items():
        found = [marker for marker in (*MARKERS, *raw) if marker in words.lower()]
        assert not found, f"{name} tells {found}"
        assert not re.search(r"\b2\.25\.\d{6}", words), name
    # They do tell of it.
    film = hashed(pydicom.dcmread(delivered).SOPInstanceUID)
    for name in ("log", "audit", "audit --json"):
        assert film in told[name], name
    assert hashed(pydicom.dcmread(waits).SOPInstanceUID) in told["status --json"]
    assert 'osteoedge_films{state="withdrawn"} 3' in told["/metrics"]


def _take_back(unit: Archived, film: Path, *, refused: bool = False) -> None:
    done = osteoedge(
        "withdraw", pydicom.dcmread(film).SOPInstanceUID, "--config", unit.unit.toml,
        "--reason", "worklist", "--by", "Dr Test",
    )  # fmt: skip
    assert done.returncode == 0
    assert ("0 withdrawn" in done.stdout) == refused


def _told(unit: Archived) -> dict[str, str]:
    """All that a running unit tells of itself."""
    health = unit.unit.unit.health
    assert health is not None
    return {
        "status": _command(unit, "status"),
        "status --json": _command(unit, "status", "--json"),
        "audit": _command(unit, "audit", "show", "--last", "1000"),
        "audit --json": _command(unit, "audit", "show", "--last", "1000", "--json"),
        **{
            path: requests.get(f"http://{health.bind}:{health.port}{path}", timeout=30).text
            for path in ("/metrics", "/readyz", "/healthz")
        },
    }


def _command(unit: Archived, *verb: str) -> str:
    return must(osteoedge(*verb, "--config", unit.unit.toml)).stdout
