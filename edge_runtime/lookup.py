"""Whole films through tables of what they can hold.

A film has millions of pixels and at most 65,536 different ones, so whatever acts on single pixels
is worked out once for each value between the lowest and the highest, and looked up.

Pixels are (rows, columns), integers of 8 or 16 bits, signed or not, of either byte order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.integer]
Entry = TypeVar("Entry", bound=np.generic)

# OpenCV 4 looks up 8 bits only.
_OPENCV_TAKES_16_BITS = int(cv2.__version__.partition(".")[0]) >= 5
# Pixels at a time: as many as stay in the cache beside their 64-bit indices.
_CACHED = 1 << 16
# OpenCV counts in float32, which is exact below 2^24.
_COUNTED = (1 << 24) - 1


def values_between(pixels: Pixels) -> npt.NDArray[np.int32]:
    """Return every value from the film's lowest to its highest, rising."""
    low, high, _, _ = cv2.minMaxLoc(_native(pixels))
    return np.arange(int(low), int(high) + 1, dtype=np.int32)


def count(pixels: Pixels, values: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return how many pixels have each of ``values``."""
    words = _words(pixels)
    size = 1 << 8 * words.itemsize
    counts = np.zeros(size, np.int64)
    for strip in _strips(words, _COUNTED):
        counts += cv2.calcHist([words[strip]], [0], None, [size], [0, size]).ravel().astype(int)
    return counts[values % size]


def look_up(
    pixels: Pixels, values: npt.NDArray[np.int32], table: npt.NDArray[Entry]
) -> npt.NDArray[Entry]:
    """Return the entry of every pixel.

    Parameters
    ----------
    values
        Every value that the film holds.
    table
        The entry of each of them, same shape.
    """
    words = _words(pixels)
    by_word = np.zeros(1 << 8 * words.itemsize, table.dtype)
    by_word[values % len(by_word)] = table
    if words.itemsize == 1 or _OPENCV_TAKES_16_BITS:
        return np.asarray(cv2.LUT(words, by_word))
    found = np.empty(words.shape, table.dtype)
    for strip in _strips(words, _CACHED):
        # No index is out of range; clipping spares a copy of the output.
        np.take(by_word, words[strip], out=found[strip], mode="clip")
    return found


def _native(pixels: Pixels) -> Pixels:
    """Return pixels in the machine's byte order, without a copy if they are."""
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))


def _words(pixels: Pixels) -> npt.NDArray[np.unsignedinteger]:
    """Return the bits of pixels as unsigned integers: a value modulo 2^8 or 2^16."""
    native = _native(pixels)
    return native.view(f"u{native.itemsize}")


def _strips(words: npt.NDArray[np.generic], pixels: int) -> Iterator[slice]:
    """Cut a film into runs of rows of at most so many pixels, but of one row at least."""
    rows = max(1, pixels // words.shape[1])
    return (slice(top, top + rows) for top in range(0, len(words), rows))
