"""Reading films: the grayscale pipeline, context, and every refusal."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from edge_runtime.errors import (
    CorruptRadiographError,
    NotARadiographError,
    RadiographError,
    TransferSyntaxError,
    UnsupportedRadiographError,
)
from edge_runtime.radiograph import read_radiograph
from tests.edge_runtime.films import film, ramp, save


def shown(**attributes: object) -> np.ndarray:
    """The first row of the ramp as displayed, 0..1."""
    return read_radiograph(film(**attributes)).display[0] / 65535.0


VALUES = ramp()[0].astype(float)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", [None, "IDENTITY", "INVERSE"])
@pytest.mark.parametrize("windowed", [True, False])
def test_inversion_is_counted_once(photometric: str, shape: str | None, windowed: bool) -> None:
    attributes: dict[str, object] = {"PhotometricInterpretation": photometric}
    if shape:
        attributes["PresentationLUTShape"] = shape
    if windowed:
        attributes |= {"WindowCenter": 500, "WindowWidth": 1000}
    row = shown(**attributes)
    rising = row[-1] > row[0]
    assert rising == (photometric == "MONOCHROME2")
    assert {row.min().round(2), row.max().round(2)} == {0.0, 1.0}


def test_uncompressed_pixels_are_in_memory_as_the_file_and_as_display_values_alone(
    tmp_path: Path,
) -> None:
    path = save(film(ramp(1000, 1200), WindowCenter=500, WindowWidth=1000), tmp_path / "film.dcm")
    expected = read_radiograph(path)
    tracemalloc.start()
    radiograph = read_radiograph(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2.3 * path.stat().st_size
    np.testing.assert_array_equal(radiograph.display, expected.display)


def test_linear_window_follows_the_standard() -> None:
    # PS3.3 C.11.2.1.2.1: y = (x - (c - 0.5)) / (w - 1) + 0.5, clipped
    expected = np.clip((VALUES - (400 - 0.5)) / (201 - 1) + 0.5, 0, 1)
    assert np.abs(shown(WindowCenter=400, WindowWidth=201) - expected).max() < 1e-4


def test_linear_exact_and_sigmoid_windows() -> None:
    exact = np.clip((VALUES - 400) / 200 + 0.5, 0, 1)
    sigmoid = 1 / (1 + np.exp(-4 * (VALUES - 400) / 200))
    window = {"WindowCenter": 400, "WindowWidth": 200}
    assert np.abs(shown(**window, VOILUTFunction="LINEAR_EXACT") - exact).max() < 1e-4
    assert np.abs(shown(**window, VOILUTFunction="SIGMOID") - sigmoid).max() < 1e-4


def test_the_first_of_several_windows_is_used() -> None:
    several = shown(WindowCenter=[400, 900], WindowWidth=[200, 10])
    assert np.array_equal(several, shown(WindowCenter=400, WindowWidth=200))


def test_rescale_comes_before_the_window() -> None:
    rescaled = shown(RescaleSlope=2, RescaleIntercept=-100, WindowCenter=700, WindowWidth=400)
    assert np.abs(rescaled - shown(WindowCenter=400.0, WindowWidth=200.5)).max() < 0.01


def test_signed_values_and_a_negative_slope() -> None:
    signed = (ramp().astype(np.int32) - 500).astype(np.int16)
    row = read_radiograph(film(signed, RescaleSlope=-1, RescaleIntercept=0)).display[0]
    assert row[0] == 65535
    assert row[-1] == 0


def test_voi_lut_sequence() -> None:
    item = Dataset()
    item.LUTDescriptor = [1001, 0, 12]
    item.LUTData = np.linspace(0, 4095, 1001).round().astype(np.uint16)[::-1].tobytes()
    row = shown(VOILUTSequence=Sequence([item]))
    assert np.abs(row - (1.0 - VALUES / 1000)).max() < 1e-3


def test_padding_is_black_and_outside_the_default_window() -> None:
    pixels = ramp() + np.uint16(1000)
    pixels[:, :20] = 65535
    radiograph = read_radiograph(film(pixels, PixelPaddingValue=65535))
    assert (radiograph.display[:, :20] == 0).all()
    assert radiograph.display[0, -1] == 65535, "the default window must not see the padding"
    assert radiograph.notes[0].startswith("no window")


def test_context_is_read(tmp_path: Path) -> None:
    dataset = film(
        PatientAge="014Y",
        PatientSex="F",
        BodyPartExamined="KNEE",
        ViewPosition="AP",
        ImageLaterality="L",
        PixelSpacing=[0.15, 0.15],
        ImagerPixelSpacing=[0.2, 0.2],
    )
    read = read_radiograph(save(dataset, tmp_path / "knee.dcm"))
    facts = (read.age_years, read.sex, read.body_part, read.view, read.laterality)
    assert facts == (14.0, "F", "KNEE", "AP", "L")
    assert read.pixel_spacing_mm == (0.15, 0.15)
    assert read.source == "knee.dcm"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures(tmp_path: Path, suffix: str) -> None:
    picture = (ramp(top=255)).astype(np.uint8)
    path = tmp_path / f"film{suffix}"
    cv2.imwrite(str(path), picture)
    grey = read_radiograph(path).display
    assert np.abs(grey.astype(int) - picture).max() <= 3
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    assert np.abs(read_radiograph(path).display.astype(int) - picture).max() <= 3


REFUSED = [
    ({"Modality": "CT"}, UnsupportedRadiographError, "modality CT"),
    ({"NumberOfFrames": 2}, UnsupportedRadiographError, "multi-frame"),
    ({"PresentationIntentType": "FOR PROCESSING"}, UnsupportedRadiographError, "FOR PROCESSING"),
    ({"PhotometricInterpretation": "RGB"}, UnsupportedRadiographError, "colour"),
    ({"Rows": 65535, "Columns": 65535}, UnsupportedRadiographError, "more than any detector"),
    ({"Rows": 8}, UnsupportedRadiographError, "only 100 x 8"),
    ({"PixelData": None}, NotARadiographError, "without pixels"),
    ({"PixelData": b"\0\0"}, CorruptRadiographError, "cannot be decoded"),
]


@pytest.mark.parametrize(("attributes", "error", "words"), REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_refusals_name_the_file_and_the_remedy(
    tmp_path: Path, attributes: dict[str, object], error: type[RadiographError], words: str
) -> None:
    dataset = film()
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    path = save(dataset, tmp_path / "refused.dcm")
    with pytest.raises(error, match=re.escape(words)) as caught:
        read_radiograph(path)
    line = str(caught.value)
    assert line.startswith("refused.dcm: ")
    assert line.count("\n") == 0
    assert len(line.split(". ")) >= 2, "says what to do"
    assert "Secret" not in line


def test_unknown_transfer_syntax(tmp_path: Path) -> None:
    dataset = film()
    path = save(dataset, tmp_path / "film.dcm")
    data = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    path.write_bytes(data)
    with pytest.raises(TransferSyntaxError, match=r"film\.dcm: .*transfer syntax"):
        read_radiograph(path)


@pytest.mark.parametrize("kept", [0, 3, 130, 140, 400, 0.5])
def test_truncated_dicom(tmp_path: Path, kept: float) -> None:
    path = save(film(), tmp_path / "cut.dcm")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else int(kept)])
    with pytest.raises(RadiographError, match=r"cut\.dcm: "):
        read_radiograph(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_and_colour_pictures(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (100, 120, 3)).astype(np.uint8)
    cv2.imwrite(str(path), noise)
    with pytest.raises(UnsupportedRadiographError, match="colour"):
        read_radiograph(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CorruptRadiographError, match="truncated"):
        read_radiograph(path)


def test_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "notes.dcm"
    path.write_text("the knee was fine")
    with pytest.raises(NotARadiographError, match=r"notes\.dcm: not a DICOM, PNG or JPEG file"):
        read_radiograph(path)
    with pytest.raises(NotARadiographError, match="no such file"):
        read_radiograph(tmp_path / "absent.dcm")


def test_films_can_be_read_in_threads_from_the_first_one_on() -> None:
    """Decoders are registered once a process, also when several threads come first."""
    script = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from edge_runtime.dicom_codecs import register_codecs\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    list(pool.map(lambda _: register_codecs(), range(64)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
