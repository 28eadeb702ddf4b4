"""What leaves for retraining: films that were read otherwise than decided, of nobody."""

from __future__ import annotations

import csv as tables
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from edge_runtime.deidentify.secret import open_secret
from edge_runtime.errors import ConfigError
from edge_runtime.feedback.export import KEY, Exported, export_reads
from edge_runtime.feedback.importing import import_reads
from edge_runtime.radiograph import read_radiograph
from edge_runtime.rejection import Reason
from edge_runtime.spool import audit
from edge_runtime.spool.withdrawal import withdraw
from tests.conftest import must, osteoedge
from tests.edge_runtime.films import film, save
from tests.edge_runtime.read_units import Ward, csv, ward
from tests.edge_runtime.test_feedback_import import unit_file
from train.dataset.schema import load_dataset

SECRETS = ("Doe", "Jane", "PAT-77", "ACC-", "1.2.826.0.1.99", "20261116", "St Mary", "19990102")


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Ward]:
    with ward(tmp_path / "spool") as made:
        yield made


def knee(number: int, study: str, **attributes: object) -> Dataset:
    """A film of Jane Doe's; another number, another picture."""
    pixels = np.random.default_rng(number).integers(0, 1000, (80, 100)).astype(np.uint16)
    facts: dict[str, object] = {
        "StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.0",
        "SOPInstanceUID": f"{study}.{number}", "PatientName": "Doe^Jane", "PatientID": "PAT-77",
        "PatientBirthDate": "19990102", "PatientSex": "F", "PatientAge": "027Y",
        "StudyDate": "20261116", "AccessionNumber": f"ACC-{number}",
        "InstitutionName": "St Mary", "BodyPartExamined": "KNEE", "ImageLaterality": "L",
        "ViewPosition": "AP", "Manufacturer": "Acme", "BurnedInAnnotation": "NO",
    }  # fmt: skip
    return film(pixels, **facts | attributes)


def take(
    unit: Ward, number: int, decision: str, reading: str | None, *, part: str = "KNEE",
    **attributes: object,
) -> str:  # fmt: skip
    """Let a study of one film come, be decided on and be read; return its UID."""
    study = f"1.2.826.0.1.99.{number}"
    path = unit.spool.folder.parent / "film.dcm"
    data = save(knee(number, study, **attributes), path).read_bytes()
    unit.study(study, decision, accession=f"ACC-{number}", patient="PAT-77", data=data, part=part)
    if reading is not None:
        read(unit, f"{study},,{reading},Dr A,2026-11-16,")
    return study


def read(unit: Ward, *lines: str) -> None:
    path = unit.spool.folder.parent / "reads.csv"
    path.write_text(csv(*lines))
    assert not import_reads(unit.spool, path).failures


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "radiographs.csv").open(newline="") as file:
        return list(tables.DictReader(file))


def export(unit: Ward, out: Path, **options: object) -> Exported:
    return export_reads(unit.spool, out, **options)  # type: ignore[arg-type]


def test_films_that_were_read_otherwise_are_exported_with_their_reading(
    unit: Ward, tmp_path: Path
) -> None:
    take(unit, 1, "not_flagged", "osteosarcoma; pathological fracture")  # a miss
    take(unit, 2, "urgent_review", "no tumour")  # a false alarm
    take(unit, 3, "urgent_review", "malignant")  # agreed
    take(unit, 4, "not_flagged", "no tumour")  # agreed
    take(unit, 5, "unable", "benign")  # not flagged, and a tumour
    take(unit, 6, "not_flagged", "not sure")
    take(unit, 7, "not_flagged", None)
    out = tmp_path / "out"
    assert export(unit, out).films == 3
    found = {row["label"]: row for row in rows(out)}
    assert found.keys() == {"malignant", "no_tumour", "benign"}
    miss = found["malignant"]
    assert (miss["subtype"], miss["other_finding"]) == ("osteosarcoma", "pathological fracture")
    assert miss["reference_standard"] == "radiologist read"
    assert (miss["region"], miss["anatomy"], miss["view"]) == ("lower_limb", "knee", "frontal")
    assert (miss["sex"], miss["age"], miss["manufacturer"]) == ("F", "27", "Acme")
    card = tomllib.loads((out / "dataset.toml").read_text())
    assert card["licence"].startswith("local use only") and card["may_ship_weights"] is False
    assert len({row["patient_id"] for row in rows(out)}) == 1, "the same patient in all of them"
    assert len({row["acquired_on"] for row in rows(out)}) == 1, "dates move together"
    assert export(unit, tmp_path / "all", all_read=True).films == 5
    (first, _) = (entry for entry in audit.entries(unit.spool) if entry.event == "reads exported")
    assert first.facts["films"] == 3


def test_nothing_of_a_patient_leaves(unit: Ward, tmp_path: Path) -> None:
    take(unit, 1, "not_flagged", "malignant", ImageComments="Jane Doe, St Mary")
    out = tmp_path / "out"
    assert export(unit, out).films == 1
    for file in out.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for secret in SECRETS:
                assert secret.encode() not in content, (file.name, secret)
            assert not any(secret in file.name for secret in SECRETS)
    assert not (out / KEY).exists() and (unit.spool.folder / KEY).stat().st_mode & 0o077 == 0


def test_the_picture_is_the_one_that_the_unit_saw(unit: Ward, tmp_path: Path) -> None:
    study = take(unit, 1, "not_flagged", "malignant", PhotometricInterpretation="MONOCHROME1")
    out = tmp_path / "out"
    export(unit, out)
    (row,) = rows(out)
    (path,) = unit.spool.rows("SELECT path FROM film WHERE study_instance_uid = ?", study)
    seen = read_radiograph(unit.spool.folder / path["path"])
    assert np.array_equal(read_radiograph(out / row["path"]).display, seen.display)
    header = pydicom.dcmread(out / row["path"])
    assert header.PatientIdentityRemoved == "YES" and header.PatientID == row["patient_id"]


def test_an_export_again_takes_up_what_is_there(unit: Ward, tmp_path: Path) -> None:
    take(unit, 1, "not_flagged", "malignant")
    out = tmp_path / "out"
    export(unit, out)
    (before,) = rows(out)
    written = (out / before["path"]).stat().st_mtime_ns
    take(unit, 2, "urgent_review", "no tumour")
    assert export(unit, out).films == 2
    assert before in rows(out) and (out / before["path"]).stat().st_mtime_ns == written
    # A radiologist changed their mind: the film is no disagreement any more.
    read(unit, "1.2.826.0.1.99.1,,no tumour,Dr A,2026-11-16T11:00,")
    assert export(unit, out).films == 1
    assert not (out / before["path"]).exists()


def test_the_key_of_the_hospitals_importer_gives_its_pseudonyms(unit: Ward, tmp_path: Path) -> None:
    take(unit, 1, "not_flagged", "malignant")
    own, other = tmp_path / "own", tmp_path / "other"
    export(unit, own)
    key = tmp_path / "hospital.key"
    open_secret(key, tmp_path / "nowhere")
    export(unit, other, key_file=key)
    assert rows(own)[0]["patient_id"] != rows(other)[0]["patient_id"]
    films = tmp_path / "films"
    films.mkdir()
    save(knee(1, "1.2.826.0.1.99.1"), films / "film.dcm")
    (tmp_path / "labels.csv").write_text("file,label\nfilm.dcm,malignant\n")
    clinic = tmp_path / "clinic"
    must(osteoedge("data", "dicom", films, clinic, "--labels", tmp_path / "labels.csv",
                   "--key", key))  # fmt: skip
    for column in ("image_id", "patient_id", "study_id", "acquired_on", "age", "region"):
        assert rows(other)[0][column] == rows(clinic)[0][column], column
    with pytest.raises(ConfigError, match="another key"):
        export(unit, own, key_file=key)


def test_a_tumour_somewhere_in_two_parts_of_the_body_is_left_out(
    unit: Ward, tmp_path: Path
) -> None:
    def second(number: int, decision: str) -> None:
        study = f"1.2.826.0.1.99.{number}"
        data = save(knee(number + 50, study), tmp_path / "second.dcm").read_bytes()
        unit.receive(study, patient="PAT-77", part="HAND", data=data)
        unit.screen(decision)
        unit.report(decision)

    take(unit, 1, "not_flagged", None)
    second(1, "not_flagged")
    take(unit, 2, "urgent_review", None)
    second(2, "urgent_review")
    read(unit, "1.2.826.0.1.99.1,,malignant,Dr A,2026-11-16,",
         "1.2.826.0.1.99.2,,no tumour,Dr A,2026-11-16,")  # fmt: skip
    found = export(unit, tmp_path / "out")
    assert [row["label"] for row in rows(tmp_path / "out")] == ["no_tumour", "no_tumour"]
    (failure,) = found.failures
    assert "several parts of the body" in failure.what and failure.source == "1.2.826.0.1.99.1"


def test_what_is_gone_withdrawn_or_broken_is_left_out_and_told(unit: Ward, tmp_path: Path) -> None:
    take(unit, 1, "not_flagged", "malignant")
    take(unit, 2, "not_flagged", "malignant")
    take(unit, 3, "not_flagged", "malignant")
    take(unit, 4, "not_flagged", "malignant", BurnedInAnnotation="YES")
    with unit.spool.transaction() as execute:
        execute("UPDATE film SET removed_at = 1 WHERE id = 1")
    withdraw(unit.spool, "1.2.826.0.1.99.2", Reason.WORKLIST, "N. Okello")
    (path,) = unit.spool.rows("SELECT path FROM film WHERE id = 3")
    (unit.spool.folder / path["path"]).write_bytes(b"\0" * 900)
    found = export(unit, tmp_path / "out")
    assert (found.films, found.gone, len(found.failures)) == (1, 1, 1)
    assert list(found.look_at.values()) == ["Burned In Annotation is YES"]


def test_an_export_lies_outside_of_the_spool(unit: Ward, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the spool"):
        export(unit, unit.spool.folder / "out")
    with pytest.raises(ConfigError, match="travel with it"):
        export(unit, tmp_path / "out", key_file=tmp_path / "out" / "key")


def test_the_verb_writes_a_dataset_that_check_and_training_take(tmp_path: Path) -> None:
    config = unit_file(tmp_path)
    with ward(tmp_path / "spool") as unit:
        for number in range(1, 7):
            take(unit, number, "not_flagged", "malignant", PatientID=f"PAT-77{number}")
        for number in range(7, 13):
            take(unit, number, "urgent_review", "no tumour", PatientID=f"PAT-77{number}")
    out = tmp_path / "disagreements"
    done = must(osteoedge("feedback", "export", out, "--config", config, "--licence", "CC BY 4.0"))
    assert "12 films" in done.stdout and f"data check {out}" in done.stdout.replace("\n", "")
    dataset = load_dataset(out)
    assert len(dataset.films) == 12 and dataset.card.licence == "CC BY 4.0"
    for _, row in dataset.films.iterrows():
        assert read_radiograph(dataset.image_path(row)).display.shape == (80, 100)
    checked = osteoedge("data", "check", out, "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    again = must(osteoedge("feedback", "export", out, "--config", config, "--json"))
    told = json.loads(again.stdout)
    assert told == {"films": 12, "gone": 0, "look_at": {}, "failed": []}
