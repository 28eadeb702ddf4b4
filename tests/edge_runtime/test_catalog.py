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
        pixels = decode_pixels(parse_dicom(path.read_bytes(), path.name), path.name).pixels
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


# Read here though the reference fails, each for a reason.
BETTER = {
    "WG04_JPLY_MR1_JPLY.dcm": "12-bit extended JPEG, which few decoders read",
    "TC0323_encap_zero_frag.dcm": "its pixels, then an empty second Pixel Data behind them",
}


def test_decoders_agree_with_the_reference_on_every_kind_of_object(local_data: Path) -> None:
    """Most of the files are no films, and are refused before their pixels: decode them, too."""
    folder = local_data / "dicom"
    with (folder / "catalog.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["photometric"].startswith("MONO")]
    agreed, better = 0, set()
    for row in rows:
        path = folder / row["file"]
        if row["frames"] not in {"", "0", "1"} or row["bits_stored"] == "1.0":
            continue
        try:
            pixels = decode_pixels(parse_dicom(path.read_bytes(), path.name), path.name).pixels
        except RadiographError as error:
            assert row["reference_decode"] != "ok", error
            continue
        if row["reference_decode"] != "ok":
            # Three samples and MONOCHROME2 are refused by the header alone.
            better |= {path.name} if pixels.ndim == 2 else set()
            continue
        stated = (float(row["pixel_min"]), float(row["pixel_max"]))
        assert (float(pixels.min()), float(pixels.max())) == stated, path.name
        agreed += 1
    assert agreed == 113
    assert better == set(BETTER)


def test_the_hip_film_is_the_same_in_every_lossless_coding(local_data: Path) -> None:
    folder = local_data / "dicom" / "radiographs"
    reference = read_radiograph(folder / "WG04_REF_RG2_UNC.dcm").display
    for coding in ("J2KR", "JLSL", "JPLL", "RLE"):
        same = read_radiograph(folder / f"WG04_{coding}_RG2_{coding}.dcm").display
        assert np.array_equal(same, reference), coding
    for name in (
        "WG04_J2KI_RG2_J2KI.dcm",
        "WG04_JLSN_RG2_JLSN.dcm",
        "pydicom_ljdata_ds_JPEGExtended_RG2_JPLY_fixed.dcm",
    ):
        lossy = read_radiograph(folder / name).display
        assert np.abs(lossy.astype(int) - reference).mean() < 400, name
