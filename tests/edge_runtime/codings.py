"""One film in every transfer syntax that is read."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from benchmarks.films import codings
from benchmarks.films.codings import Coding, Pixels, put_fragments, put_pixels
from tests.edge_runtime.films import film, ramp

TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}

lossless_jpeg = partial(codings.lossless_jpeg, bits=12)
jpeg_ls = partial(codings.jpeg_ls, bits=12)
jpeg_2000 = partial(codings.jpeg_2000, bits=12)


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
    put_fragments(dataset, [fragments] if isinstance(fragments, bytes) else fragments, UID(syntax))
    return dataset


def native(pixels: Pixels, syntax: str) -> Dataset:
    return _coded(pixels, Coding(UID(syntax)))


def _coded(pixels: Pixels, coding: Coding) -> Dataset:
    dataset = film(pixels, **(TWELVE_BITS if pixels.itemsize == 2 else {}))
    put_pixels(dataset, pixels, coding)
    return dataset


def _film(coding: Coding) -> Dataset:
    return _coded(eight_bits() if coding.most_bits == 8 else twelve_bits(), coding)


LOSSLESS: dict[str, Callable[[], Dataset]] = {
    name: partial(_film, coding) for name, coding in codings.LOSSLESS.items()
}
"""The film of :func:`twelve_bits`, by the name of its coding."""

LOSSY: dict[str, Callable[[], Dataset]] = {
    name: partial(_film, coding) for name, coding in codings.LOSSY.items()
}


def as_file(dataset: Dataset) -> bytes:
    """The bytes of a DICOM file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
