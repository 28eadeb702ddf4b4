"""Pictures wrapped as DICOM: whatever the header asks for, the device shows the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.radiograph import read_radiograph
from train.evaluate.detector import SHOWN, as_detector_image


def picture(dtype: type) -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.random((256, 200)), (0, 0), 3)
    levels = cv2.normalize(smooth, None, 0.0, 1.0, cv2.NORM_MINMAX)
    return np.rint(levels * np.iinfo(dtype).max).astype(dtype)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([np.uint8, np.uint16]))
def test_the_device_shows_what_was_wrapped(seed: int, dtype: type) -> None:
    display = picture(dtype)
    shown = read_radiograph(as_detector_image(display, "film", seed)).display
    assert 2000 <= max(shown.shape) <= 3072
    back = cv2.resize(shown, (200, 256), interpolation=cv2.INTER_AREA) / 65535.0
    error = np.abs(back - display / np.iinfo(dtype).max) * 255.0
    # Grey levels of 8 bits: cubic enlargement and rounding, nothing else.
    assert error.max() < 4.0
    assert error.mean() < 0.7


def test_every_way_is_drawn_and_the_same_seed_draws_the_same() -> None:
    display = picture(np.uint8)[::8, ::8]
    films = [as_detector_image(display, "film", seed) for seed in range(24)]
    assert {film.PhotometricInterpretation for film in films} == {"MONOCHROME1", "MONOCHROME2"}
    assert {film.BitsStored for film in films} == {12, 14, 16}
    ways = {film.get("VOILUTFunction", "LUT") for film in films}
    assert ways == set(SHOWN)
    again = as_detector_image(display, "film", 5)
    assert again.PixelData == films[5].PixelData
    assert again.SOPInstanceUID == films[5].SOPInstanceUID


def test_a_picture_of_detector_size_keeps_its_pixels() -> None:
    display = np.zeros((3100, 64), np.uint8)
    assert as_detector_image(display, "film", 3).Rows == 3100


@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_can_be_written(seed: int, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "film.dcm"
    as_detector_image(picture(np.uint8)[::4, ::4], "film", seed).save_as(path)
    assert read_radiograph(path).modality == "DX"
