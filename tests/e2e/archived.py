"""A served unit with Orthanc as its archive, what is sent to it, and what came back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from edge_runtime import Screener, load_bundle, read_radiograph
from tests.conftest import Trained
from tests.e2e import orthanc
from tests.e2e.orthanc import Orthanc
from tests.e2e.serving import ServedUnit, served
from tests.edge_runtime.films import save
from tests.processes import until

KINDS = {
    "sr": uid.Comprehensive3DSRStorage,
    "sc": uid.SecondaryCaptureImageStorage,
    "seg": uid.SegmentationStorage,
    "ko": uid.KeyObjectSelectionDocumentStorage,
    "original": uid.DigitalXRayImageStorageForPresentation,
}
RESULTS = ("sr", "sc", "seg")
# The same in all of its films.
OF_A_STUDY = ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex")


@dataclass
class Archived:
    """A unit, its archive, and films that the unit's network marks an area in."""

    unit: ServedUnit
    archive: Orthanc
    films: list[Path]
    home: Path

    def film(self, name: str, number: int = 0, **attributes: Any) -> Path:
        """Write a film of a study of its own, unless told otherwise."""
        return written(self.films[number], self.home / f"{name}.dcm", **attributes)

    def view(self, of: Path, name: str, number: int = 1, **attributes: Any) -> Path:
        """Write another view of a film's study, and so of its patient."""
        header = pydicom.dcmread(of, stop_before_pixels=True)
        same = {keyword: header[keyword].value for keyword in OF_A_STUDY if keyword in header}
        return self.film(name, number, **same, **attributes)

    def send(self, *films: Path) -> None:
        """Send films, and wait until everything that comes of them is done."""
        assert self.unit.send(*films) == 0
        self.settle()

    def settle(self) -> None:
        until(self.unit.idle, "everything is screened, reported, noted and sent", 120)

    def stored(self, film: Path, kind: str) -> list[Dataset]:
        """What the archive holds of a kind and of a film's study, by Instance Number."""
        study = pydicom.dcmread(film, stop_before_pixels=True).StudyInstanceUID
        found = [one for one in self.archive.of_study(study) if one.SOPClassUID == KINDS[kind]]
        return sorted(found, key=lambda one: int(one.InstanceNumber))

    def uids(self, film: Path, *kinds: str) -> set[str]:
        """SOP Instance UIDs of what the archive holds of a film's study."""
        return {found.SOPInstanceUID for kind in kinds for found in self.stored(film, kind)}

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """What a query finds in the unit's spool."""
        with self.unit.spool() as spool:
            return [dict(row) for row in spool.rows(sql, *values)]

    def states(self, film: Path) -> list[str]:
        """States of a film's revisions, as they came."""
        instance = pydicom.dcmread(film, stop_before_pixels=True).SOPInstanceUID
        found = self.rows("SELECT state FROM film WHERE sop_instance_uid = ? ORDER BY id", instance)
        return [row["state"] for row in found]

    @contextmanager
    def paused(self, role: str) -> Iterator[None]:
        """Let the processes of a role stand still for a while."""
        pids = self.unit.pids(role)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


@contextmanager
def archived(
    home: Path, trained: Trained, sends: Sequence[str] = RESULTS, **settings: Any
) -> Iterator[Archived]:
    """Serve a unit, and an archive that it sends to, until the end of the block."""
    with orthanc.running(home / "orthanc") as archive:
        destination = (
            '[screening]\nresults = ["sr", "sc", "seg"]\n'
            '[[destinations]]\nkind = "dicom"\nname = "pacs"\nhost = "127.0.0.1"\n'
            f'port = {archive.port}\nae_title = "{archive.ae_title}"\nsends = {list(sends)}\n'
        )
        with served(home / "unit", trained.bundle, settings=destination, **settings) as unit:
            yield Archived(unit, archive, marked_films(trained), home)


def marked_films(trained: Trained, count: int = 3) -> list[Path]:
    """The first phantoms in which the tiny network marks an area."""
    found = []
    with Screener(load_bundle(trained.bundle), "cpu") as screener:
        for path in sorted((trained.dataset / "images").iterdir()):
            if screener.screen(read_radiograph(path)).lesions:
                found.append(path)
            if len(found) == count:
                return found
    pytest.fail("the tiny network marks nothing")


def written(source: Path, target: Path, **attributes: Any) -> Path:
    """Write a film anew, under UIDs of its own; ``attributes`` override."""
    film = pydicom.dcmread(source)
    # Decoded while the character set is the film's own.
    film.decode()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(film, keyword, generate_uid(None))
    for keyword, value in attributes.items():
        setattr(film, keyword, value)
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    return save(film, target)


def rejection_note(film: Path, title: Code, target: Path) -> Path:
    """Write the note by which a console takes a film back (IHE RAD TF-3 4.66.4.1.2)."""
    rejected = pydicom.dcmread(film, stop_before_pixels=True)
    note = Dataset()
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    note.SOPClassUID = note.file_meta.MediaStorageSOPClassUID = KINDS["ko"]
    note.SOPInstanceUID = note.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID"):
        setattr(note, keyword, rejected[keyword].value)
    note.SeriesInstanceUID, note.Modality = generate_uid(None), "KO"
    reference, series, study = Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPClassUID = rejected.SOPClassUID
    reference.ReferencedSOPInstanceUID = rejected.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = rejected.SeriesInstanceUID, [reference]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = rejected.StudyInstanceUID, [series]
    note.CurrentRequestedProcedureEvidenceSequence = [study]
    concept, item = Dataset(), Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = title[:3]
    note.ValueType, note.ConceptNameCodeSequence = "CONTAINER", [concept]
    item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"
    item.ReferencedSOPSequence = [reference]
    note.ContentSequence = [item]
    return save(note, target)


def title_of(note: Dataset) -> str:
    """The code that says why a note rejects."""
    (title,) = note.ConceptNameCodeSequence
    assert title.CodingSchemeDesignator == codes.DCM.RejectedForQualityReasons.scheme_designator
    return str(title.CodeValue)


def rejected_by(note: Dataset) -> set[str]:
    """SOP Instance UIDs that a note names, in its content and in its evidence alike."""
    named = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in note.ContentSequence
        if "ReferencedSOPSequence" in item
    }
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == note.StudyInstanceUID
    assert named == {
        reference.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    return named
