"""What compressed pixels say of themselves, read before a decoder is let loose on them.

A few bytes can claim a picture of gigabytes.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_JP2_MAGIC = b"\0\0\0\x0cjP  "
_SOF_JPEG_LS = 0xF7
# C4, C8 and CC in the same range are no starts of frame.
_STARTS_OF_FRAME = frozenset({*range(0xC0, 0xD0), _SOF_JPEG_LS} - {0xC4, 0xC8, 0xCC})
_START_OF_SCAN = 0xDA
# A progressive JPEG has some ten scans. Thousands of empty ones keep a decoder busy for minutes.
_MAX_SCANS = 32
# A large PNG has some ten thousand chunks.
_MAX_SEGMENTS = 1 << 17
# Writers put padding and notes of their own behind the end.
_TAIL = 4096


class Codestream(NamedTuple):
    """Size of a picture."""

    rows: int
    columns: int
    samples: int


def read_codestream(data: bytes) -> Codestream | None:
    """Read the header of a PNG, JPEG, JPEG-LS or JPEG 2000 picture.

    Sources: PNG 5.3 and 11.2.2 (chunks, IHDR); ITU-T T.81 B.2.2 and T.87 C.2.2 (start of frame);
    T.800 A.5.1 (SIZ) and I.4 (boxes).

    Returns
    -------
    Codestream or None
        None where there is no such header, the data breaks off or is damaged in a way that
        shows without decoding, or a JPEG has too many scans.
    """
    try:
        if data.startswith(PNG_MAGIC):
            return _png(data)
        if data.startswith(JPEG_MAGIC):
            return _jpeg(data)
        return _jpeg_2000(data, _start_in_boxes(data) if data.startswith(_JP2_MAGIC) else 0)
    except (struct.error, IndexError):
        return None


def _png(data: bytes) -> Codestream | None:
    """Walk the chunks first: a decoder allocates what a chunk claims, and only then looks."""
    _, columns, rows, _, colour = struct.unpack_from(">4sLLBB", data, 12)
    samples = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour)
    position, view = len(PNG_MAGIC), memoryview(data)
    for _ in range(_MAX_SEGMENTS):
        length, kind = struct.unpack_from(">L4s", data, position)
        end = position + 8 + length
        (stated,) = struct.unpack_from(">L", data, end)
        if stated != zlib.crc32(view[position + 4 : end]) or kind == b"acTL":  # an animation
            break
        if kind == b"IEND":
            return Codestream(rows, columns, samples) if samples else None
        position = end + 4
    return None


def _jpeg(data: bytes) -> Codestream | None:
    position = 2
    if data.count(bytes((0xFF, _START_OF_SCAN))) > _MAX_SCANS:
        return None
    for _ in range(_MAX_SEGMENTS):
        fill, marker = data[position], data[position + 1]
        if fill != 0xFF or marker == _START_OF_SCAN:
            break
        if marker == 0xFF:
            position += 1
        elif marker in _STARTS_OF_FRAME:
            rows, columns, samples = struct.unpack_from(">HHB", data, position + 5)
            # Decoders fill what is missing before the end of image with grey, and say nothing.
            complete = data.find(b"\xff\xd9", max(position, len(data) - _TAIL)) >= 0
            return Codestream(rows, columns, samples) if complete else None
        else:
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return None


def _start_in_boxes(data: bytes) -> int:
    """Return where the codestream begins in a JP2 file: DICOM wants it bare, not all writers do."""
    position = 0
    for _ in range(_MAX_SEGMENTS):
        length, kind = struct.unpack_from(">L4s", data, position)
        if kind == b"jp2c":
            return position + (16 if length == 1 else 8)
        if length < 8:
            break
        position += length
    raise IndexError(position)


def _jpeg_2000(data: bytes, start: int) -> Codestream | None:
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        return None
    right, bottom, left, top = struct.unpack_from(">4L", data, start + 8)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    return Codestream(bottom - top, right - left, samples)
