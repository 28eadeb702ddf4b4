"""Pixels of PNG and JPEG files, and of films that are coded in colour though they are grey."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.codestream import JPEG_MAGIC, PNG_MAGIC, read_codestream
from edge_runtime.errors import CorruptRadiographError, UnsupportedRadiographError
from edge_runtime.preprocess import DisplayImage

# The largest flat-panel detectors in use give 4,300 x 4,300; a header may claim 65,535 x 65,535.
MAX_PIXELS = 40_000_000
MIN_SIDE = 64
# Coloured means that channels differ by more than JPEG's chroma rounding does on a grey film.
GREY_TOLERANCE = 8

PICTURE_MAGIC = (PNG_MAGIC, JPEG_MAGIC)


def decode_picture(data: bytes, name: str) -> DisplayImage:
    """Decode a PNG or JPEG file.

    Returns
    -------
    numpy.ndarray
        (rows, columns), uint8 or uint16.

    Raises
    ------
    CorruptRadiographError
        Truncated or damaged.
    UnsupportedRadiographError
        Coloured, implausibly small or large, or of other than 8 or 16 bits.
    """
    header = read_codestream(data)
    if header is None:
        raise CorruptRadiographError.because("picture_damaged", name)
    check_size(header.rows, header.columns, name)
    pixels: Any
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise CorruptRadiographError.because("picture_damaged", name)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UnsupportedRadiographError.because("picture_type", name, type=str(pixels.dtype))
    check_size(pixels.shape[0], pixels.shape[1], name)
    grey: DisplayImage = grey_of(pixels, name) if pixels.ndim == 3 else pixels
    return grey


def grey_of(pixels: npt.NDArray[Any], name: str) -> DisplayImage:
    """Return the one channel of a picture whose channels agree, contiguous.

    Parameters
    ----------
    pixels
        (rows, columns, 3 or 4), uint8 or uint16; a fourth channel, opacity, is left out.

    Raises
    ------
    UnsupportedRadiographError
        It is coloured.
    """
    first, second, third = (np.ascontiguousarray(pixels[:, :, c]) for c in range(3))
    for one, other in ((first, second), (second, third), (first, third)):
        if int(cv2.absdiff(one, other).max()) > GREY_TOLERANCE:
            raise UnsupportedRadiographError.because("picture_colour", name)
    return second


def check_size(rows: int, columns: int, name: str) -> None:
    """Refuse a size that no film has.

    Raises
    ------
    UnsupportedRadiographError
        See :data:`MIN_SIDE` and :data:`MAX_PIXELS`.
    """
    if min(rows, columns) < MIN_SIDE:
        raise UnsupportedRadiographError.because("too_small", name, columns=columns, rows=rows)
    if rows * columns > MAX_PIXELS:
        raise UnsupportedRadiographError.because("too_wide", name, columns=columns, rows=rows)
