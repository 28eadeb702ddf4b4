"""Real files: what a reference decoder made of each, and what we make of it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.dicom_file import decode_pixels, parse_dicom
from edge_runtime.errors import RadiographError
from edge_runtime.radiograph import read_radiograph

pytestmark = [pytest.mark.data, pytest.mark.filterwarnings("ignore::UserWarning:pydicom")]

# Why a file that the reference decodes is refused all the same: it is no film to be screened.
NO_FILM = {
    "another modality": r"modality [A-Z]+, not a radiograph",
    "of a few pixels": r"only \d+ x \d+ pixels",
    "in colour": r"a colour (image|picture)|for each of 3 samples per pixel",
    "many frames": r"a multi-frame image",
}


def test_every_catalogued_file_is_read_as_the_reference_does_or_refused(local_data: Path) -> None:
    folder = local_data / "dicom"
    with (folder / "catalog.csv").open(newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    read, refused = [], Counter[str]()
    for file, row in rows.items():
        path = folder / file
        try:
            radiograph = read_radiograph(path)
        except RadiographError as error:
            line = str(error)
            assert line.startswith(f"{path.name}: ")
            assert "\n" not in line
            why = [name for name, words in NO_FILM.items() if re.search(words, line)]
            assert why or row["reference_decode"] != "ok", line
            refused[why[0] if why else "damaged or without pixels"] += 1
            continue
        assert row["reference_decode"] == "ok", f"{file}: read, though the reference fails"
        read.append(path.name)
        pixels, _ = decode_pixels(parse_dicom(path.read_bytes(), path.name), path.name)
        stated = (float(row["pixel_min"]), float(row["pixel_max"]))
        assert (float(pixels.min()), float(pixels.max())) == stated, file
        assert radiograph.display.shape == pixels.shape[:2]
        assert np.ptp(radiograph.display) > 0
    print(len(rows), "files:", len(read), "read,", dict(refused))
    films = {
        Path(file).name
        for file, row in rows.items()
        if row["modality"] in {"CR", "DX", "RG"} and row["reference_decode"] == "ok"
        if int(row["rows"]) >= 64
    }
    assert set(read) == films, "every film that the reference decodes, and nothing else"
    assert len(read) == 13


def test_the_hip_film_is_the_same_in_every_lossless_coding(local_data: Path) -> None:
    folder = local_data / "dicom" / "radiographs"
    reference = read_radiograph(folder / "WG04_REF_RG2_UNC.dcm").display
    for coding in ("J2KR", "JLSL", "JPLL", "RLE"):
        same = read_radiograph(folder / f"WG04_{coding}_RG2_{coding}.dcm").display
        assert np.array_equal(same, reference), coding
    for coding in ("J2KI", "JLSN"):
        lossy = read_radiograph(folder / f"WG04_{coding}_RG2_{coding}.dcm").display
        assert np.abs(lossy.astype(int) - reference).mean() < 400, coding
