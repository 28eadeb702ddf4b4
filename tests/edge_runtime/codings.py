"""One film in every transfer syntax that is read."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress

from tests.edge_runtime.films import film, ramp

Pixels = npt.NDArray[Any]
TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}


def twelve_bits() -> Pixels:
    """96 x 80 pixels of 12 bits with structure and noise, the same every time."""
    noise = np.random.default_rng(5).integers(0, 40, (96, 80))
    return (ramp(96, 80, 4000) + noise).astype(np.uint16)


def eight_bits() -> Pixels:
    """The same film in 8 bits."""
    return (twelve_bits() // 16).astype(np.uint8)


def encapsulated(
    pixels: Pixels, syntax: str, fragments: bytes | list[bytes], **attributes: Any
) -> Dataset:
    """A film of compressed pixels, each fragment an item."""
    dataset = film(pixels, **(TWELVE_BITS if pixels.itemsize == 2 else {}) | attributes)
    dataset.file_meta.TransferSyntaxUID = syntax
    frames = [fragments] if isinstance(fragments, bytes) else fragments
    dataset.PixelData = encapsulate(frames, has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def native(pixels: Pixels, syntax: str) -> Dataset:
    dataset = film(pixels, **TWELVE_BITS)
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def big_endian(pixels: Pixels) -> Dataset:
    dataset = native(pixels, uid.ExplicitVRBigEndian)
    dataset.PixelData = pixels.astype(">u2").tobytes()
    return dataset


def rle(pixels: Pixels) -> Dataset:
    dataset = film(pixels, **TWELVE_BITS)
    compress(dataset, uid.RLELossless, generate_instance_uid=False)
    return dataset


def _encode(codec: str, **options: Any) -> Callable[[Pixels], bytes]:
    def encode(pixels: Pixels) -> bytes:
        return bytes(getattr(imagecodecs, f"{codec}_encode")(pixels, **options))

    return encode


lossless_jpeg = _encode("ljpeg", bitspersample=12)
jpeg_ls = _encode("jpegls")
jpeg_2000 = _encode("jpeg2k", codecformat="j2k", reversible=True, bitspersample=12)
high_throughput = _encode("htj2k")

LOSSLESS: dict[str, Callable[[], Dataset]] = {
    "implicit": lambda: native(twelve_bits(), uid.ImplicitVRLittleEndian),
    "explicit": lambda: native(twelve_bits(), uid.ExplicitVRLittleEndian),
    "big endian": lambda: big_endian(twelve_bits()),
    "deflated": lambda: native(twelve_bits(), uid.DeflatedExplicitVRLittleEndian),
    "RLE": lambda: rle(twelve_bits()),
} | {
    name: lambda syntax=syntax, encode=encode: encapsulated(
        twelve_bits(), syntax, encode(twelve_bits())
    )
    for name, syntax, encode in (
        ("JPEG lossless .57", uid.JPEGLossless, lossless_jpeg),
        ("JPEG lossless .70", uid.JPEGLosslessSV1, lossless_jpeg),
        ("JPEG-LS", uid.JPEGLSLossless, jpeg_ls),
        ("JPEG 2000", uid.JPEG2000Lossless, jpeg_2000),
        ("JPEG 2000 in the syntax of both", uid.JPEG2000, jpeg_2000),
        ("HTJ2K .201", uid.HTJ2KLossless, high_throughput),
        ("HTJ2K .202", uid.HTJ2KLosslessRPCL, high_throughput),
        ("HTJ2K .203", uid.HTJ2K, high_throughput),
    )
}
"""The film of :func:`twelve_bits`, by the name of its coding."""

LOSSY: dict[str, Callable[[], Dataset]] = {
    "JPEG extended, 12 bits": lambda: encapsulated(
        twelve_bits(),
        uid.JPEGExtended12Bit,
        _encode("jpeg8", bitspersample=12, level=98)(twelve_bits()),
    ),
    "JPEG-LS, near": lambda: encapsulated(
        twelve_bits(), uid.JPEGLSNearLossless, _encode("jpegls", level=2)(twelve_bits())
    ),
    "JPEG 2000, lossy": lambda: encapsulated(
        twelve_bits(),
        uid.JPEG2000,
        _encode("jpeg2k", codecformat="j2k", level=70, bitspersample=12)(twelve_bits()),
    ),
    "JPEG baseline, 8 bits": lambda: encapsulated(
        eight_bits(), uid.JPEGBaseline8Bit, _encode("jpeg8", level=98)(eight_bits())
    ),
}


def as_file(dataset: Dataset) -> bytes:
    """The bytes of a DICOM file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
