"""A hospital's films come in; nobody's films come out."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import Collection
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)
from rich.progress import Progress

import edge_runtime
from edge_runtime import dicom_file, pictures
from edge_runtime.deidentify import dataset_film
from edge_runtime.deidentify.anatomy import VIEWS
from edge_runtime.deidentify.film import METHOD_CODES, capped_age, deidentify
from edge_runtime.deidentify.profile import Action, action_for, table_code
from edge_runtime.deidentify.secret import MAX_SHIFT_DAYS, MIN_SHIFT_DAYS, Secret, open_secret
from edge_runtime.errors import ConfigError
from edge_runtime.radiograph import read_radiograph
from tests.conftest import must, need, osteoedge
from train.dataset.dicom_writer import PatientFacts, StudyFacts, radiograph_dataset
from train.dataset.importers import dicom as importer
from train.dataset.importers.dicom import DicomSource, import_dicom
from train.dataset.importers.label_rows import FILM_COLUMNS
from train.dataset.schema import load_dataset

# What pydicom finds wrong with headers that are wrong on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")

QUIET = Progress(disable=True)
SECRET = Secret(bytes(range(32)))

# All that must not survive, in any byte of any file of the dataset folder.
IDENTITY = {
    "name": ["Zwiebelfisch", "Adalgunde", "Querulant", "Oberarzt"],
    "number": ["PID-4711-0815", "ACC20231231", "9876543210", "SERIAL-31337"],
    "place": ["Klinikum Hinterwald", "Hinterwald", "Dornenweg 13", "STATION7"],
    "date": ["19551224", "20240309", "20240311", "143207"],
    "date as a table writes it": ["1955-12-24", "2024-03-09", "2024-03-11"],
    "text": ["schmerzt seit Silvester", "GEHEIM", "Kutscher"],
    "uid": ["1.2.276.0.7230010.3.1"],
}
ROOT = IDENTITY["uid"][0]


def pixels(seed: int, shape: tuple[int, int] = (96, 80), bits: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << bits, shape).astype(np.uint16)


def hospital_film(number: int = 1, study: int = 1, patient: int = 1, **changes: object) -> Dataset:
    """Return a DX film with the patient's identity in every place that real exports have it in."""
    ds = radiograph_dataset(
        pixels(100 * patient + 10 * study + number),
        bits_stored=12,
        photometric="MONOCHROME1",
        patient=PatientFacts(
            f"PID-4711-0815-{patient}", "Zwiebelfisch^Adalgunde", sex="F", age_years=34
        ),
        study=StudyFacts(
            f"S{study}",
            f"I{number}",
            0.15,
            acquired_on=date(2024, 3, 9 if study == 1 else 11),
            body_part="KNEE",
            view="lateral",
            laterality="L",
            manufacturer="Maker GmbH",
            model="Detector 9000",
            instance_number=number,
        ),
        window=(2000.0, 3000.0),
    )
    ds.StudyInstanceUID = f"{ROOT}.{patient}.{study}"
    ds.SeriesInstanceUID = f"{ROOT}.{patient}.{study}.1"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = (
        f"{ROOT}.{patient}.{study}.1.{number}"
    )
    ds.FrameOfReferenceUID = f"{ROOT}.77"
    ds.AccessionNumber = f"ACC20231231{patient}{study}"
    ds.PatientBirthDate = "19551224"
    ds.StudyTime = ds.AcquisitionTime = "143207"
    ds.AcquisitionDateTime = "20240309143207.123"
    ds.StudyDescription = "Knie links, Adalgunde Zwiebelfisch, schmerzt seit Silvester"
    ds.ReferringPhysicianName = "Querulant^Oberarzt"
    ds.OperatorsName = "Kutscher"
    ds.InstitutionName = "Klinikum Hinterwald"
    ds.InstitutionAddress = "Dornenweg 13"
    ds.StationName = "STATION7"
    ds.DeviceSerialNumber = "SERIAL-31337"
    ds.OtherPatientIDs = "9876543210"
    ds.PatientComments = ds.ImageComments = "GEHEIM"
    ds.SoftwareVersions = "GEHEIM 1.0"
    # A model name with the hospital's in it, a private coding scheme, names in nested items.
    ds.ManufacturerModelName = "Detector 9000"
    ds.BodyPartExamined = "KNEE"
    request = Dataset()
    request.RequestedProcedureDescription = "GEHEIM"
    request.RequestedProcedureID = "9876543210"
    ds.RequestAttributesSequence = [request]
    private_code = Dataset()
    private_code.CodeValue, private_code.CodingSchemeDesignator = "K1", "99HOSP"
    private_code.CodeMeaning = "Knie Zwiebelfisch"
    ds.ProcedureCodeSequence = [private_code]
    referenced = Dataset()
    referenced.ReferencedSOPClassUID = ds.SOPClassUID
    referenced.ReferencedSOPInstanceUID = f"{ROOT}.{patient}.{study}.1.99"
    referenced.PatientName = "Zwiebelfisch^Adalgunde"
    ds.AnatomicRegionSequence[0].add_new("PatientComments", "LT", "GEHEIM")
    # Not in Table E.1-1, and a sequence: its items are looked into.
    ds.add_new("HangingProtocolUserIdentificationCodeSequence", "SQ", [private_code])
    ds.add_new("ReferencedInstanceSequence", "SQ", [referenced])
    ds.add_new(0x00091010, "LO", "Zwiebelfisch")
    ds.private_block(0x0011, "GEHEIM VENDOR", create=True).add_new(1, "LT", "Adalgunde")
    ds.add_new(0x60000010, "US", 8)
    ds.add_new(0x60003000, "OW", b"Zwiebelfisch")
    ds.add_new(0x60004000, "LT", "Zwiebelfisch")
    ds.add_new(0xFFFCFFFC, "OB", b"Zwiebelfisch")
    ds.file_meta.SourceApplicationEntityTitle = "STATION7"
    ds.file_meta.PrivateInformationCreatorUID = f"{ROOT}.5"
    ds.file_meta.PrivateInformation = b"GEHEIM"
    ds.preamble = b"Zwiebelfisch".ljust(128, b"\0")
    for keyword, value in changes.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def as_bytes(ds: Dataset) -> bytes:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def nobody(ds: Dataset, age: float | None = 34.0, secret: Secret = SECRET) -> Dataset:
    made = deidentify(as_bytes(ds), secret, age_years=age, source="film.dcm")
    return pydicom.dcmread(BytesIO(made.data))


def traces(data: bytes) -> list[str]:
    """Return what of the identity is in bytes, as 8-bit or 16-bit text, in any case."""
    folded = data.lower()
    codes = ("utf-8", "utf-16-le", "utf-16-be")
    return [
        value
        for values in IDENTITY.values()
        for value in values
        if any(value.lower().encode(code) in folded for code in codes)
    ]


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Two patients; the first has two studies of two films. File names and folders say who."""
    folder = tmp_path / "Zwiebelfisch export"
    for patient, study, number in ((1, 1, 1), (1, 1, 2), (1, 2, 1), (1, 2, 2), (2, 1, 1)):
        path = folder / f"Adalgunde {patient}" / f"{patient}{study}{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_bytes(hospital_film(number, study, patient)))
    (folder / "DICOMDIR").write_bytes(b"index")
    return folder


def labels(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, "utf-8")
    return path


ALL = (
    "accession_number,sop_instance_uid,label\n"
    "ACC2023123111,,osteosarcoma\n"
    f",{ROOT}.1.2.1.1,osteosarcoma; fracture\n"
    f",{ROOT}.1.2.1.2,fracture\n"
    "ACC2023123121,,no tumour\n"
)


def table(out: Path) -> list[dict[str, str]]:
    with (out / "radiographs.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def every_file(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


# The folder as a whole


def test_nothing_of_the_patient_survives_in_any_byte(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "clinic"
    source = labels(tmp_path, ALL)
    before = {path: path.read_bytes() for path in every_file(export)}
    held = {value for data in before.values() for value in traces(data)}
    for kind, values in IDENTITY.items():
        assert held.issuperset(values) or "table" in kind, "the test's films hold all of it"
    result = must(osteoedge("data", "dicom", export, out, "--labels", source))
    files = list(every_file(out))
    assert {path.name for path in files} >= {
        "dataset.toml", "radiographs.csv", "deidentification.json", "deidentification.html",
    }  # fmt: skip
    for path in files:
        assert traces(path.read_bytes()) == [], path
        assert traces(str(path.relative_to(out)).encode()) == []
    assert traces((result.stdout + result.stderr).replace(str(tmp_path), "").encode()) == []
    assert {path: path.read_bytes() for path in every_file(export)} == before, "never rewritten"
    key = tmp_path / "clinic.key"
    assert key.stat().st_mode & 0o777 == 0o600
    secret = key.read_text().strip()
    assert not any(secret.encode() in path.read_bytes() for path in files)
    assert f"Next: osteoedge data check {out}" in result.stdout


def test_what_training_needs_is_there(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "clinic"
    result = import_dicom(DicomSource(export, labels(tmp_path, ALL)), out, QUIET)
    assert (result.films, result.failures) == (5, [])
    assert [note.split(":")[0] for note in result.notes] == [
        f"a new secret key is in {tmp_path / 'clinic.key'}"
    ]
    dataset = load_dataset(out)
    rows = table(out)
    stated = sorted(row["label"] for row in rows)
    assert stated == ["", "malignant", "malignant", "malignant", "no_tumour"]
    assert sorted(row["other_finding"] for row in rows) == ["", "", "", "fracture", "fracture"]
    shared = {
        "centre": "1", "age": "34", "sex": "F", "region": "lower_limb", "anatomy": "knee",
        "view": "lateral", "laterality": "L", "manufacturer": "Maker GmbH",
        "model": "Detector 9000",
    }  # fmt: skip
    for row in rows:
        assert {column: row[column] for column in shared} == shared
        film = read_radiograph(out / row["path"])
        assert film.pixel_spacing_mm == (0.15, 0.15)
        assert (film.age_years, film.sex, film.body_part) == (34.0, "F", "KNEE")
        assert row["path"] == f"images/{row['image_id']}.dcm"
    assert not dataset.card.may_ship_weights
    assert "de-identified" in dataset.card.source


def test_patients_studies_and_days_stay_together(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "clinic"
    import_dicom(DicomSource(export, labels(tmp_path, ALL)), out, QUIET)
    rows = table(out)
    patients = {row["patient_id"] for row in rows}
    assert len(patients) == 2
    (first,) = (name for name in patients if sum(row["patient_id"] == name for row in rows) == 4)
    mine = [row for row in rows if row["patient_id"] == first]
    studies = {row["study_id"] for row in mine}
    assert len(studies) == 2
    days = sorted({row["acquired_on"] for row in mine})
    apart = datetime.fromisoformat(days[1]) - datetime.fromisoformat(days[0])
    assert (len(days), apart.days) == (2, 2), "9 and 11 March, two days apart"
    back = date(2024, 3, 9) - date.fromisoformat(days[0])
    assert MIN_SHIFT_DAYS <= back.days <= MAX_SHIFT_DAYS
    films = [pydicom.dcmread(out / row["path"]) for row in mine]
    assert len({film.StudyInstanceUID for film in films}) == 2
    assert len({film.SOPInstanceUID for film in films}) == 4
    assert len({film.FrameOfReferenceUID for film in films}) == 1
    assert {film.PatientID for film in films} == {first}
    for film in films:
        assert film.file_meta.MediaStorageSOPInstanceUID == film.SOPInstanceUID
        assert film.StudyDate == film.AcquisitionDate == film.ContentDate


def test_the_key_makes_the_names(export: Path, tmp_path: Path) -> None:
    source = labels(tmp_path, ALL)
    made = {}
    for name, key in (("a", "one"), ("b", "one"), ("c", "two")):
        out = tmp_path / name
        import_dicom(DicomSource(export, source, key_file=tmp_path / f"{key}.key"), out, QUIET)
        made[name] = {path.relative_to(out): path.read_bytes() for path in every_file(out)}
    a, b = (
        {path: data for path, data in made[name].items() if path.suffix != ".toml"} for name in "ab"
    )
    assert a == b, "the same key, the same bytes"
    images = [{path for path in made[name] if path.suffix == ".dcm"} for name in "ac"]
    assert not images[0] & images[1]


def test_a_killed_import_goes_on(tmp_path: Path) -> None:
    """kill -9 while films are written, again and again: in the end nothing is missing."""
    folder, out, whole = tmp_path / "export", tmp_path / "out", tmp_path / "whole"
    folder.mkdir()
    for number in range(40):
        ds = hospital_film(number)
        ds.Rows, ds.Columns = 700, 600
        ds.PixelData = pixels(number, (700, 600)).tobytes()
        (folder / f"{number}.dcm").write_bytes(as_bytes(ds))
    source = labels(tmp_path, "accession_number,label\nACC2023123111,benign\n")
    key = tmp_path / "hospital.key"
    command = [
        sys.executable, "-m", "edge_runtime.cli", "data", "dicom", str(folder), str(out),
        "--labels", str(source), "--key", str(key),
    ]  # fmt: skip
    journal = out / ".import.jsonl"
    kills, seen = 0, 0
    while kills < 2:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            lines = journal.read_bytes().count(b"\n") if journal.exists() else 0
            if lines >= seen + 4:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.005)
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL
        assert not (out / "radiographs.csv").exists()
        seen, kills = journal.read_bytes().count(b"\n"), kills + 1
    assert kills >= 1
    done = {path: path.stat().st_mtime_ns for path in (out / "images").glob("*.dcm")}
    must(osteoedge(*command[3:]))
    kept = sum(path.stat().st_mtime_ns == stamp for path, stamp in done.items())
    assert kept >= len(done) - 1, "what was finished was not done again"
    must(osteoedge("data", "dicom", folder, whole, "--labels", source, "--key", key))
    one, other = (
        {
            path.relative_to(root): path.read_bytes()
            for path in every_file(root)
            if path.name not in (".import.jsonl", "dataset.toml")
        }
        for root in (out, whole)
    )
    assert one == other


def test_labels_may_be_corrected_afterwards(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "clinic"
    import_dicom(DicomSource(export, labels(tmp_path, ALL)), out, QUIET)
    written = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    fewer = ALL.replace("no tumour", "benign").replace(f",{ROOT}.1.2.1.2,fracture\n", "")
    result = import_dicom(DicomSource(export, labels(tmp_path, fewer)), out, QUIET)
    assert result.films == 4
    assert result.notes == ["films left out because no line of the labels names them: 1"]
    assert "benign" in {row["label"] for row in table(out)}
    left = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert len(left) == 4 and left.items() <= written.items()


# What is named and left out


def test_files_that_are_no_films_are_named_and_the_rest_goes_on(
    export: Path, tmp_path: Path
) -> None:
    (export / "notes.txt").write_text("not DICOM")
    (export / "empty.dcm").write_bytes(b"")
    ct = hospital_film(9, SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")
    (export / "ct.dcm").write_bytes(as_bytes(ct))
    cut = as_bytes(hospital_film(8, AccessionNumber="CUT"))
    (export / "cut.dcm").write_bytes(cut[: len(cut) // 2])
    twin = hospital_film(1, 1, 2, SeriesNumber=4)
    (export / "twin.dcm").write_bytes(as_bytes(twin))
    shutil.copy(export / "Adalgunde 1" / "111.dcm", export / "copy.dcm")
    source = labels(tmp_path, ALL + "CUT,,benign\nNOWHERE,,benign\n")
    result = osteoedge("data", "dicom", export, tmp_path / "out", "--labels", source)
    assert result.returncode == 1
    errors = "\n".join(line for line in result.stderr.splitlines() if line.startswith("Error "))
    for expected in (
        r"notes\.txt: not a DICOM file\. Leave it out\.",
        r"empty\.dcm: not a DICOM file",
        r"ct\.dcm: modality CT, not a radiograph",
        r"cut\.dcm: the pixels cannot be decoded .*\. Send the film again\.",
        r"twin\.dcm: has the SOP Instance UID of Adalgunde 2/211\.dcm and other content",
        r"Adalgunde 2/211\.dcm: has the SOP Instance UID of twin\.dcm",
        r"labels\.csv: line 7: no film has its accession_number",
        r"labels\.csv: line 5: no film has its accession_number",
    ):
        assert re.search(expected, errors), (expected, errors)
    assert errors.count("Error ") == 8
    assert "files left out because they are copies of others: 1" in result.stderr
    assert "4 films in" in result.stdout
    assert "Traceback" not in result.stderr


def test_unknown_words_stop_before_anything_is_written(export: Path, tmp_path: Path) -> None:
    source = labels(tmp_path, ALL.replace("no tumour", "o.B."))
    result = osteoedge("data", "dicom", export, tmp_path / "out", "--labels", source)
    assert result.returncode == 2
    assert "the label map does not know these words: 'o.B.' (1)" in result.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.key").exists()
    words = tmp_path / "words.toml"
    words.write_text('no_tumour = ["o.B."]\n[dataset]\nname = "Clinic"\nlicence = "internal"\n')
    must(osteoedge("data", "dicom", export, tmp_path / "out", "--labels", source, "--map", words))
    assert load_dataset(tmp_path / "out").card.name == "Clinic"


def test_folders_that_cannot_be_used(export: Path, tmp_path: Path) -> None:
    source = labels(tmp_path, ALL)
    cases = [
        (DicomSource(tmp_path / "none", source), tmp_path / "out", "no such folder"),
        (DicomSource(export, source), export / "out", "among the original films"),
        (DicomSource(export, tmp_path / "none.csv"), tmp_path / "out", "cannot be read"),
        (DicomSource(export, source, key_file=tmp_path / "out" / "k"), tmp_path / "out", "travel"),
    ]
    for what, out, message in cases:
        with pytest.raises(ConfigError, match=message):
            import_dicom(what, out, QUIET)
    nothing = labels(tmp_path, "file,label\nz.dcm,benign\n")
    result = osteoedge("data", "dicom", export, tmp_path / "out", "--labels", nothing)
    assert result.returncode == 1
    assert "line 2: no film has its file" in result.stderr, "why, not only that"
    assert "not one film could be imported" in result.stderr
    assert "Next:" not in result.stdout


def test_masks_of_the_hospital(export: Path, tmp_path: Path) -> None:
    drawn = np.zeros((96, 80), np.uint8)
    drawn[10:30, 20:40] = 1
    cv2.imwrite(str(tmp_path / "lesion.png"), drawn)
    cv2.imwrite(str(tmp_path / "small.png"), drawn[:50])
    text = (
        "file,label,mask\n111.dcm,benign,lesion.png\n112.dcm,no tumour,lesion.png\n"
        "121.dcm,benign,small.png\n122.dcm,benign,none.png\n211.dcm,malignant,\n"
    )
    out = tmp_path / "out"
    result = import_dicom(DicomSource(export, labels(tmp_path, text)), out, QUIET)
    assert [failure.what for failure in result.failures] == [
        "its label is no_tumour and its mask is not empty",
        "the mask has 80 x 50 pixels, its film 80 x 96",
        "cannot be read (No such file or directory)",
    ]
    assert {path.stem for path in (out / "images").iterdir()} == {
        row["image_id"] for row in table(out)
    }
    dataset = load_dataset(out)
    (row,) = (row for _, row in dataset.films.iterrows() if row["label"] == "benign")
    mask = dataset.mask(row, (96, 80))
    assert mask is not None and np.array_equal(mask, drawn * 255)
    assert row["mask_fraction"] == pytest.approx(400 / 7680, abs=1e-5)


# The report


def test_the_report_says_what_was_done_and_shows_no_value(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (export / "sc.dcm").write_bytes(
        as_bytes(
            hospital_film(
                5, 3, 2, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT",
                PatientID="", BurnedInAnnotation=None,
            )
        )
    )  # fmt: skip
    source = labels(tmp_path, ALL + "ACC2023123123,,benign\n")
    result = import_dicom(DicomSource(export, source), out, QUIET)
    assert result.films == 6
    assert "films that may show text in the picture: 1 of 6" in result.notes[1]
    assert "films without a Patient ID: 1" in result.notes[2]
    report = json.loads((out / "deidentification.json").read_text())
    assert report["films"] == 6
    counts = {(row["tag"], row["action"]): row["count"] for row in report["tags"]}
    assert counts["(0010,0010)", "D: pseudonym"] >= 6
    assert counts["(0008,0080)", "X: removed"] == 6
    assert counts["(0008,0018)", "U: another UID"] == 6
    assert counts["(0008,0020)", "C: date moved"] == 6
    assert counts["(0010,0030)", "Z: emptied"] == 6
    names = {row["tag"]: row["name"] for row in report["tags"]}
    assert names["(0011,1001)"] == "private"
    assert names["(0008,0080)"] == "Institution Name"
    (warned,) = report["burned_in"]
    assert warned["why"].startswith("secondary capture")
    assert (out / "images" / f"{warned['image_id']}.dcm").is_file()
    page = (out / "deidentification.html").read_text()
    assert warned["image_id"] in page and "Institution Name" in page and "113107" in page
    # Twice the same import is twice the same report: resumed films count as well.
    first = (out / "deidentification.json").read_bytes()
    import_dicom(DicomSource(export, source), out, QUIET)
    assert (out / "deidentification.json").read_bytes() == first


# One film


def test_the_method_is_recorded() -> None:
    film = nobody(hospital_film())
    assert film.PatientIdentityRemoved == "YES"
    assert film.LongitudinalTemporalInformationModified == "MODIFIED"
    assert all(len(line) <= 64 for line in film.DeidentificationMethod)
    said = [(c.CodeValue, c.CodeMeaning) for c in film.DeidentificationMethodCodeSequence]
    assert said == list(METHOD_CODES)
    # PS3.16 CID 7050
    known = {code.value: code.meaning for code in Collection("CID7050").concepts.values()}
    assert dict(said).items() <= known.items()


def test_pixels_and_display_stay_as_they_were() -> None:
    ds = hospital_film()
    film = nobody(ds)
    assert np.array_equal(film.pixel_array, ds.pixel_array)
    for keyword in (
        "PhotometricInterpretation", "PresentationLUTShape", "WindowCenter", "WindowWidth",
        "RescaleSlope", "PixelSpacing", "BitsStored", "Rows",
    ):  # fmt: skip
        assert film[keyword].value == ds[keyword].value
    assert film.preamble == b"\0" * 128


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_every_kind_of_pixel_comes_through(dtype: type) -> None:
    ds = hospital_film()
    signed = dtype is np.int16
    values = np.random.default_rng(1).integers(-50 if signed else 0, 200, (95, 81)).astype(dtype)
    ds.Rows, ds.Columns = values.shape
    ds.BitsAllocated = 8 * values.itemsize
    ds.BitsStored = 8 if dtype is np.uint8 else 12
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(signed)
    ds.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    made = deidentify(as_bytes(ds), SECRET, age_years=None, source="x")
    assert np.array_equal(pydicom.dcmread(BytesIO(made.data)).pixel_array, values)
    before, after = read_radiograph(as_bytes(ds)), read_radiograph(made.data)
    assert np.array_equal(before.display, after.display)


def test_big_endian_films_and_their_luts() -> None:
    ds = hospital_film()
    lut = Dataset()
    # PS3.3 C.11.2: entries, first value mapped, bits.
    lut.LUTDescriptor = [4096, 0, 16]
    curve = (np.arange(4096) ** 2 // 256).astype(np.uint16)
    lut.add_new("LUTData", "OW", curve.astype(">u2").tobytes())
    ds.VOILUTSequence = [lut]
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    stream = BytesIO()
    pydicom.dcmwrite(stream, ds, enforce_file_format=True)
    data = stream.getvalue()
    made = pydicom.dcmread(BytesIO(deidentify(data, SECRET, age_years=None, source="x").data))
    assert np.array_equal(np.frombuffer(made.VOILUTSequence[0].LUTData, "<u2"), curve)
    assert np.array_equal(made.pixel_array, pydicom.dcmread(BytesIO(data)).pixel_array)


def test_nothing_hides_in_pixels() -> None:
    """A comment in a JPEG stream, bytes after the last pixel, bits above the stored ones."""
    ds = hospital_film()
    grey = (pixels(3, bits=8) & 0xFF).astype(np.uint8)
    stream = cv2.imencode(".jpg", grey)[1].tobytes()
    comment = b"\xff\xfe" + (2 + 12).to_bytes(2) + b"Zwiebelfisch"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelData = encapsulate([stream[:2] + comment + stream[2:]])
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds["PixelData"].is_undefined_length = True
    assert b"Zwiebelfisch" in as_bytes(ds)
    made = deidentify(as_bytes(ds), SECRET, age_years=None, source="x")
    assert b"Zwiebelfisch" not in made.data
    assert pydicom.dcmread(BytesIO(made.data)).pixel_array.shape == grey.shape
    ds = hospital_film()
    values = pixels(4)
    ds.PixelData = (values | 0x8000).tobytes() + b"Zwiebelfisch"
    made = deidentify(as_bytes(ds), SECRET, age_years=None, source="x")
    assert b"Zwiebelfisch" not in made.data
    stored = np.frombuffer(pydicom.dcmread(BytesIO(made.data)).PixelData, "<u2")
    assert np.array_equal(stored, values.ravel()), "an overlay in an unused bit is gone"


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("Detector 9000", True),
        ("Detector of Klinikum Hinterwald", False),
        ("for ADALGUNDE only", False),
        ("Zwiebelfischer", True),
        ("SN SERIAL-31337", False),
    ],
)
def test_kept_text_that_names_the_patient_is_emptied(model: str, kept: bool) -> None:
    film = nobody(hospital_film(ManufacturerModelName=model))
    assert film.ManufacturerModelName == (model if kept else "")


def test_a_part_of_the_body_is_no_physician() -> None:
    film = nobody(hospital_film(BodyPartExamined="hand", OperatorsName="Hand^Thomas"))
    assert film.BodyPartExamined == "HAND"


def test_sentences_in_code_strings_and_unreadable_values_go() -> None:
    ds = hospital_film()
    ds["BodyPartExamined"]._value = "Knie von Frau Z."
    ds["ImageType"]._value = ["DERIVED", "PRIMARY", "", "ADALGUNDE"]
    film = nobody(ds)
    assert film.BodyPartExamined == ""
    assert film.ImageType == ["DERIVED", "PRIMARY", "", ""]


def test_a_value_that_its_vr_forbids_goes_and_is_not_shown(tmp_path: Path) -> None:
    """pydicom hands it over as text, and quotes it in a warning and in its log."""
    spacing = b"\x18\x00\x64\x11DS\x0a\x000.15\\0.15 "
    data = as_bytes(hospital_film()).replace(spacing, spacing[:8] + b"Adalgunde ")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "film.dcm").write_bytes(data)
    source = labels(tmp_path, "file,label\nfilm.dcm,benign\n")
    out = tmp_path / "out"
    result = must(osteoedge("data", "dicom", tmp_path / "export", out, "--labels", source))
    assert "Adalgunde" not in result.stdout + result.stderr
    (path,) = (out / "images").iterdir()
    assert traces(path.read_bytes()) == []
    film = pydicom.dcmread(path)
    assert "ImagerPixelSpacing" not in film and film.PixelSpacing == [0.15, 0.15]


@pytest.mark.parametrize(
    ("value", "shifted"),
    [
        ("20240309", True),
        ("2024.03.09", True),
        ("20240231", False),
        ("gestern", False),
        ("", False),
    ],
)
def test_dates_move_or_go(value: str, shifted: bool) -> None:
    ds = hospital_film()
    ds["StudyDate"]._value = value
    moved = nobody(ds).StudyDate
    if not shifted:
        assert moved == ""
        return
    back = date(2024, 3, 9) - datetime.strptime(moved, "%Y%m%d").date()
    assert back.days == SECRET.shift_days("PatientID\0PID-4711-0815-1")


@pytest.mark.parametrize(
    ("age", "capped", "written"),
    [
        (None, None, None), (0.0, 0.0, "000M"), (0.25, 0.2, "002M"), (1.94, 1.9, "022M"),
        (2.9, 2.0, "002Y"), (17.0, 17.0, "017Y"), (89.0, 89.0, "089Y"), (90.0, 90.0, "090Y"),
        (103.5, 90.0, "090Y"),
    ],
)  # fmt: skip
def test_ages_over_89_are_one(age: float | None, capped: float | None, written: str | None) -> None:
    assert capped_age(age) == capped
    assert nobody(hospital_film(), age).get("PatientAge") == written


def test_the_age_comes_from_dates_where_it_is_not_stated(export: Path, tmp_path: Path) -> None:
    for path in export.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        del ds.PatientAge
        path.write_bytes(as_bytes(ds))
    out = tmp_path / "out"
    import_dicom(DicomSource(export, labels(tmp_path, ALL)), out, QUIET)
    assert {row["age"] for row in table(out)} == {"68"}, "born in December 1955"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"BurnedInAnnotation": "YES"}, "Burned In Annotation is YES"),
        ({"BurnedInAnnotation": None}, "Burned In Annotation is not stated"),
        ({"Modality": "RG"}, "digitized film"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary capture"),
    ],
)
def test_pictures_that_may_show_a_name_are_warned_of(changes: dict[str, str], why: str) -> None:
    ds = hospital_film(**changes)
    made = deidentify(as_bytes(ds), SECRET, age_years=None, source="x")
    assert made.burned_in.startswith(why) and bool(made.burned_in) == bool(why)


def test_an_element_of_another_vr_than_the_standards_goes() -> None:
    ds = hospital_film()
    ds.add_new("SoftwareVersions", "CS", "ADA 1 3 5")
    ds.add_new("Sensitivity", "LO", "ADA 2 4 6")
    del ds["SOPInstanceUID"]
    stream = BytesIO()
    pydicom.dcmwrite(stream, ds)
    data = stream.getvalue()
    assert b"ADA 1 3 5" in data and b"ADA 2 4 6" in data
    made = deidentify(data, SECRET, age_years=None, source="x")
    assert b"ADA" not in made.data
    assert pydicom.dcmread(BytesIO(made.data)).SOPInstanceUID.startswith("2.25.")


def test_a_film_without_ids_is_a_patient_of_its_own() -> None:
    data = [
        as_bytes(hospital_film(number, study, PatientID=""))
        for number, study in ((1, 1), (2, 1), (1, 2))
    ]
    one, same_study, other = (
        deidentify(each, SECRET, age_years=None, source="x").patient_id for each in data
    )
    assert one == same_study != other


# The profile


EVERY_ENTRY = sorted({tuple(entry) for entry in dicomfields_2026c.ALL_TAGS})


def test_every_entry_of_the_table_is_acted_upon() -> None:
    """PS3.15 Table E.1-1: no listed attribute passes unchanged but those the options retain."""
    assert len(EVERY_ENTRY) > 600
    kept = set()
    for entry in EVERY_ENTRY:
        tag = Tag(entry[:2])
        code = table_code(tag)
        assert code is not None
        action = action_for(tag, "LO")
        if action in (Action.KEEP, Action.CLEAN, Action.DESCEND):
            kept.add(tag)
        if code == "U":
            assert action is Action.UID
        if code == "X":
            assert action is Action.REMOVE or tag == Tag("PatientAge")
    assert kept == {Tag("PatientAge"), Tag("PatientSex")}


@given(
    st.integers(0, 0x7FFF), st.integers(0, 0xFFFF), st.sampled_from(["LO", "UN", "PN", "SQ", "DS"])
)
def test_private_attributes_and_overlays_never_pass(half: int, element: int, vr: str) -> None:
    assert action_for(Tag(2 * half + 1, element), vr) is Action.REMOVE
    for group in (0x5000, 0x6000):
        assert action_for(Tag(group + 2 * (half % 128), element), vr) is Action.REMOVE


def test_patient_visit_order_and_signature_go_whole() -> None:
    for keyword, vr in (
        ("TypeOfPatientID", "CS"), ("PatientBodyMassIndex", "DS"), ("VisitStatusID", "CS"),
        ("RequestedProcedureCodeSequence", "SQ"), ("EncryptedAttributesSequence", "SQ"),
        ("MACParametersSequence", "SQ"), ("LongitudinalTemporalOffsetFromEvent", "FD"),
        ("OtherStudyNumbers", "IS"), ("InterpretationDiagnosisCodeSequence", "SQ"),
    ):  # fmt: skip
        assert action_for(Tag(keyword), vr) is Action.REMOVE, keyword


def test_a_film_that_would_show_something_else_is_left_out(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dataset_film.deidentify

    def inverts(data: bytes, secret: Secret, *, age_years: float | None, source: str) -> object:
        ds = pydicom.dcmread(BytesIO(data))
        if ds.InstanceNumber == 2:
            ds.PhotometricInterpretation = "MONOCHROME2"
        return real(as_bytes(ds), secret, age_years=age_years, source=source)

    monkeypatch.setattr(dataset_film, "deidentify", inverts)
    result = import_dicom(DicomSource(export, labels(tmp_path, ALL)), tmp_path / "out", QUIET)
    assert result.films == 3
    assert {failure.what for failure in result.failures} == {
        "would show another picture once it is de-identified"
    }


@pytest.mark.parametrize("vr", ["LO", "SH", "LT", "ST", "UT", "UC", "UR", "PN", "AE", "AS", "DA",
                                "DT", "TM", "UN", "OB"])  # fmt: skip
def test_text_and_dates_beyond_the_table_go(vr: str) -> None:
    # Software Versions, Plate Type and the like: in no table, and free text.
    for keyword in ("SoftwareVersions", "PlateType", "ProcedureVersion", "ContextIdentifier"):
        assert action_for(Tag(keyword), vr) is Action.REMOVE


def test_views_are_codes_of_the_standard() -> None:
    # PS3.16 CID 4010, DX View
    known = {code.value: code.meaning for code in Collection("CID4010").concepts.values()}
    for code, view in VIEWS.items():
        if code.isdecimal():
            meaning = known[code]
            assert ("oblique" in meaning) == (view == "oblique"), meaning
            assert ("lateral" in meaning) <= (view in ("lateral", "oblique")), meaning


def test_dciodvfy_finds_no_new_error(tmp_path: Path) -> None:
    checker = shutil.which("dciodvfy")
    need(checker, "dciodvfy (Debian package dicom3tools)")
    assert checker
    ds = radiograph_dataset(
        pixels(1), bits_stored=12, photometric="MONOCHROME2",
        patient=PatientFacts("P", "Doe^Jane", sex="F", age_years=95),
        study=StudyFacts("S", "I", 0.2, acquired_on=date(2024, 3, 9), body_part="KNEE",
                         view="lateral", laterality="L", manufacturer="M", model="N"),
    )  # fmt: skip
    path = tmp_path / "film.dcm"
    path.write_bytes(deidentify(as_bytes(ds), SECRET, age_years=95.0, source="x").data)
    report = subprocess.run(
        [checker, "-new", str(path)], check=False, capture_output=True, text=True
    )
    lines = (report.stdout + report.stderr).splitlines()
    assert "DXImageForPresentation" in lines
    assert [line for line in lines if line.startswith("Error")] == []


# Real films


@pytest.fixture(scope="module")
def real_import(local_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    source = local_data / "dicom" / "radiographs"
    names = "\n".join(f"{path.name},normal" for path in sorted(source.iterdir()))
    csv_file = labels(folder, f"file,label\n{names}\n")
    import_dicom(DicomSource(source, csv_file, key_file=folder / "key"), folder / "out", QUIET)
    return folder


@pytest.mark.data
def test_real_films_show_the_same_picture(real_import: Path, local_data: Path) -> None:
    """Eight transfer syntaxes, two polarities, LUTs: display pixels are bit-identical."""
    secret = open_secret(real_import / "key", real_import / "out")
    seen = 0
    for path in sorted((local_data / "dicom" / "radiographs").iterdir()):
        uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        made = real_import / "out" / "images" / f"F{secret.name('film', uid)}.dcm"
        if made.exists():
            before, after = read_radiograph(path), read_radiograph(made)
            assert np.array_equal(before.display, after.display), path.name
            assert before.pixel_spacing_mm == after.pixel_spacing_mm
            seen += 1
    assert seen == 12


@pytest.mark.data
def test_real_films_lose_every_name_and_number(real_import: Path, local_data: Path) -> None:
    """What real headers hold in names, IDs, UIDs, dates and descriptions is in no output header."""
    removed: set[str] = set()
    for path in sorted((local_data / "dicom" / "radiographs").iterdir()):
        for element in pydicom.dcmread(path, stop_before_pixels=True).iterall():
            long_id = element.VR == "UI" and not str(element.value).startswith("1.2.840.10008.")
            named = element.VR in ("PN", "DA") or element.keyword in (
                "PatientID", "AccessionNumber", "InstitutionName", "StationName",
                "DeviceSerialNumber", "StudyDescription", "StudyID",
            )  # fmt: skip
            if (long_id or named) and len(str(element.value)) >= 5:
                removed.add(str(element.value))
    assert len(removed) > 40
    for path in (real_import / "out" / "images").iterdir():
        film = pydicom.dcmread(path)
        film.pop("PixelData")
        header = as_bytes(film)
        for value in removed:
            assert value.encode() not in header, path.name
    for name in ("radiographs.csv", "deidentification.json", ".import.jsonl", "dataset.toml"):
        text = (real_import / "out" / name).read_text()
        assert not [value for value in removed if value in text], name


@pytest.mark.data
def test_malformed_files_never_stop_an_import(
    local_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overlong, mistyped, nested and hostile headers: each file is imported or named."""
    source = local_data / "dicom" / "malformed"
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    rows = "\n".join(f"{path.name},normal" for path in paths)
    # They are small CT images: let them pass for films, so that they get to the rules.
    monkeypatch.setattr(pictures, "MIN_SIDE", 1)
    for module in (dicom_file, importer):
        monkeypatch.setattr(module, "RADIOGRAPH_MODALITIES", frozenset(("CR", "DX", "CT")))
    monkeypatch.setattr(dicom_file, "RADIOGRAPH_CLASSES", frozenset((CTImageStorage,)))
    csv_file = labels(tmp_path, f"file,label\n{rows}\n")
    result = import_dicom(DicomSource(source, csv_file), tmp_path / "out", QUIET)
    named = {failure.source for failure in result.failures}
    copies = sum(int(note.split()[-1]) for note in result.notes if "copies" in note)
    assert result.films >= 20
    assert result.films + len(named & {path.name for path in paths}) + copies >= len(paths)
    for path in (tmp_path / "out" / "images").iterdir():
        film = pydicom.dcmread(path)
        assert film.PatientIdentityRemoved == "YES"
        assert not [element for element in film.iterall() if element.tag.is_private]


def test_the_version_is_part_of_the_identity(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version may de-identify otherwise: a folder is of one version."""
    source = DicomSource(export, labels(tmp_path, ALL))
    import_dicom(source, tmp_path / "out", QUIET)
    monkeypatch.setattr(edge_runtime, "__version__", "99")
    with pytest.raises(ConfigError, match="another key or version"):
        import_dicom(source, tmp_path / "out", QUIET)


def test_help_shows_an_example_and_the_columns() -> None:
    for verb in ("dicom", "btxrd", "coco", "fracatlas"):
        text = must(osteoedge("data", verb, "--help")).stdout
        assert f"osteoedge data {verb}" in text
        if verb == "dicom":
            assert all(column in text for column in FILM_COLUMNS)
