"""The DX objects that osteoedge writes: valid, complete, and the same every time."""

import shutil
import subprocess
from dataclasses import replace
from datetime import date
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_windowing
from pydicom.sr.codedict import Collection
from pydicom.sr.coding import Code

from edge_runtime.errors import DatasetError
from tests.conftest import need
from train.dataset.dicom_writer import (
    ANATOMIC_REGIONS,
    PatientFacts,
    StudyFacts,
    radiograph_dataset,
)

PATIENT = PatientFacts("P1", "SYNTHETIC^PHANTOM", sex="F", age_years=12.7)
STUDY = StudyFacts(
    "S1",
    "I1",
    0.4,
    acquired_on=date(2024, 3, 9),
    body_part="KNEE",
    view="lateral",
    laterality="L",
    manufacturer="Maker",
    model="Model",
    derivation="drawn",
    synthetic=True,
)
# What is not known of a PNG film, and all that DX lets a writer leave out.
BARE = StudyFacts("S2", "I2", 0.2)


def film(bits=12, shape=(31, 33)):
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(5).integers(0, 1 << bits, shape).astype(dtype)


def write(pixels, bits, photometric="MONOCHROME2", patient=PATIENT, study=STUDY, **more):
    ds = radiograph_dataset(
        pixels, bits_stored=bits, photometric=photometric, patient=patient, study=study, **more
    )
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def read(data):
    return pydicom.dcmread(BytesIO(data))


@pytest.mark.parametrize("bits", [8, 12, 14, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_pixels_come_back_as_they_were(bits, photometric):
    pixels = film(bits)  # an odd number of bytes where bits is 8: the value must be padded
    ds = read(write(pixels, bits, photometric))
    assert np.array_equal(ds.pixel_array, pixels)
    assert (ds.BitsAllocated, ds.BitsStored, ds.HighBit) == (8 if bits == 8 else 16, bits, bits - 1)
    assert ds.PhotometricInterpretation == photometric
    inverted = photometric == "MONOCHROME1"
    assert ds.PresentationLUTShape == ("INVERSE" if inverted else "IDENTITY")
    assert ds.PixelIntensityRelationshipSign == (1 if inverted else -1)


def test_facts_are_in_the_header():
    ds = read(write(film(), 12))
    assert ds.Modality == "DX"
    assert ds.PresentationIntentType == "FOR PRESENTATION"
    assert ds.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert (ds.PatientID, str(ds.PatientName)) == ("P1", "SYNTHETIC^PHANTOM")
    assert (ds.PatientAge, ds.PatientSex, ds.StudyDate) == ("012Y", "F", "20240309")
    assert (ds.BodyPartExamined, ds.ViewPosition, ds.ImageLaterality) == ("KNEE", "LL", "L")
    assert ds.AnatomicRegionSequence[0].CodeMeaning == "Knee"
    assert (ds.Manufacturer, ds.ManufacturerModelName) == ("Maker", "Model")
    assert list(ds.ImagerPixelSpacing) == list(ds.PixelSpacing) == [0.4, 0.4]
    assert ds.SyntheticData == "YES"
    assert ds.DerivationDescription == ds.ImageComments == "drawn"


def test_the_unknown_is_left_out_not_invented():
    ds = read(write(film(), 12, patient=PatientFacts("P", "N"), study=BARE))
    assert ds.PatientSex == "" and ds.StudyDate == "" and ds.Manufacturer == ""
    for keyword in ("PatientAge", "ViewPosition", "ViewCodeSequence", "SyntheticData"):
        assert keyword not in ds


def test_without_a_window_the_full_range_is_shown():
    ds = read(write(np.array([[0, 4095]], np.uint16), 12))
    shown = apply_windowing(ds.pixel_array, ds)
    assert shown.min() == 0 and shown.max() == 4095


def test_a_window_is_written_in_stored_values():
    ds = read(write(film(), 12, window=(1000.5, 400.0)))
    assert (ds.WindowCenter, ds.WindowWidth) == (1000.5, 400.0)


def test_same_film_same_bytes_other_film_other_uid():
    assert write(film(), 12) == write(film(), 12)
    one = read(write(film(), 12))
    changed = film()
    changed[3, 4] ^= 1
    others = [
        read(write(changed, 12)),
        read(write(film(), 12, study=replace(STUDY, image_id="I9"))),
    ]
    for other in others:
        assert other.SOPInstanceUID != one.SOPInstanceUID
        assert other.StudyInstanceUID == one.StudyInstanceUID
        assert other.SeriesInstanceUID == one.SeriesInstanceUID
    another = read(write(film(), 12, study=replace(STUDY, study_id="S9")))
    assert another.StudyInstanceUID != one.StudyInstanceUID


@pytest.mark.parametrize(
    ("pixels", "bits", "study"),
    [
        (np.zeros((4, 4, 3), np.uint8), 8, STUDY),
        (np.zeros((4, 4), np.float32), 8, STUDY),
        (np.full((4, 4), 4096, np.uint16), 12, STUDY),
        (np.zeros((4, 4), np.uint8), 12, STUDY),
        (np.zeros((4, 4), np.uint8), 8, replace(STUDY, body_part="WING")),
    ],
)
def test_what_cannot_be_written_is_refused(pixels, bits, study):
    with pytest.raises(DatasetError) as refused:
        write(pixels, bits, study=study)
    assert "I1" in str(refused.value)


@pytest.mark.parametrize("body_part", sorted(ANATOMIC_REGIONS))
def test_region_codes_are_those_of_the_standard(body_part):
    code = ANATOMIC_REGIONS[body_part]
    # PS3.16 CID 4009, DX Anatomy Imaged
    assert Code(code.value, code.scheme, code.meaning) in Collection("CID4009")


@pytest.mark.parametrize(
    ("bits", "photometric", "study"),
    [
        (8, "MONOCHROME2", BARE),
        (8, "MONOCHROME1", replace(BARE, view="oblique")),
        (12, "MONOCHROME2", STUDY),
        (14, "MONOCHROME1", replace(STUDY, view="frontal", body_part="WRIST")),
    ],
)
def test_dciodvfy_finds_no_error(tmp_path: Path, bits, photometric, study):
    checker = shutil.which("dciodvfy")
    need(checker, "dciodvfy (Debian package dicom3tools)")
    assert checker
    path = tmp_path / "film.dcm"
    path.write_bytes(write(film(bits), bits, photometric, study=study))
    report = subprocess.run(
        [checker, "-new", str(path)], check=False, capture_output=True, text=True
    )
    lines = (report.stdout + report.stderr).splitlines()
    assert "DXImageForPresentation" in lines
    # Synthetic Data (0008,001C) joined the standard in 2023, after the checker's dictionary.
    errors = [line for line in lines if line.startswith("Error") and "(0008,001c)" not in line]
    assert errors == []
