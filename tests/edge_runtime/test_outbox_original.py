"""Films are compressed losslessly on their way, or left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless

from edge_runtime.outbox.original import LOSSLESS, NotCompressibleError, compress
from tests.edge_runtime.films import film, ramp, save


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_pixels_and_header_come_back_as_they_were(tmp_path: Path, syntax: str, bits: int) -> None:
    pixels = ramp(90, 70, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)
    drawn = film(pixels, BitsStored=bits, HighBit=bits - 1, PhotometricInterpretation="MONOCHROME1")
    drawn.add_new(0x00091010, "LO", "private")
    source = save(drawn, tmp_path / "film.dcm")
    compress(source, syntax, tmp_path / "out.dcm")
    came, was = dcmread(tmp_path / "out.dcm"), dcmread(source)
    assert came.file_meta.TransferSyntaxUID == syntax
    assert came.file_meta.MediaStorageSOPInstanceUID == was.SOPInstanceUID
    assert np.array_equal(came.pixel_array, was.pixel_array)
    del came["PixelData"], was["PixelData"]
    assert came == was
    assert (tmp_path / "out.dcm").stat().st_size < source.stat().st_size / 2


def test_signed_and_implicit_films_too(tmp_path: Path) -> None:
    pixels = (ramp(90, 70, 2000).astype(np.int16) - 1000).astype(np.int16)
    drawn = film(pixels)
    drawn.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    source = save(drawn, tmp_path / "film.dcm")
    compress(source, JPEGLSLossless, tmp_path / "out.dcm")
    assert np.array_equal(dcmread(tmp_path / "out.dcm").pixel_array, pixels)


def test_high_bits_that_would_be_lost_are_kept(tmp_path: Path) -> None:
    """An overlay of old lies above the bits that are stored: no codec takes it along."""
    pixels = ramp(90, 70, 4095)
    pixels[10:20] |= 0x8000
    source = save(film(pixels, BitsStored=12, HighBit=11), tmp_path / "film.dcm")
    for syntax in LOSSLESS:
        with pytest.raises(NotCompressibleError):
            compress(source, syntax, tmp_path / "out.dcm")


def test_noise_and_damage_are_left_alone(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 2**16, (90, 70), np.uint16)
    source = save(film(noise), tmp_path / "noise.dcm")
    short = save(film(ramp()), tmp_path / "short.dcm")
    short.write_bytes(short.read_bytes()[:-500])
    for file in (source, short):
        with pytest.raises(NotCompressibleError):
            compress(file, JPEGLSLossless, tmp_path / "out.dcm")


@pytest.mark.data
def test_real_films_shrink_to_a_quarter(local_data: Path, tmp_path: Path) -> None:
    films = [
        local_data / "dicom/radiographs" / f"WG04_REF_{name}_UNC.dcm" for name in ("RG2", "RG3")
    ]
    for source in films:
        compress(source, JPEGLSLossless, tmp_path / "out.dcm")
        came, was = dcmread(tmp_path / "out.dcm"), dcmread(source)
        assert np.array_equal(came.pixel_array, was.pixel_array)
        assert (tmp_path / "out.dcm").stat().st_size < source.stat().st_size / 4
