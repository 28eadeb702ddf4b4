"""Films in every coding that is read: the device only reads them, what is measured must be written.

All encoders are permissive: imagecodecs comes with the device.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

Pixels = npt.NDArray[Any]
Encoder = Callable[[Pixels, int], bytes]


@dataclass(frozen=True)
class Coding:
    """How the pixels of a DICOM film are written.

    Attributes
    ----------
    most_bits
        That a stored value may have.
    encode
        Pixels, uint8 or uint16 (rows, columns), and their bits to a frame; None: uncompressed.
    """

    syntax: uid.UID
    most_bits: int = 16
    encode: Encoder | None = None


def _with(codec: str, *, told: bool = False, **options: Any) -> Encoder:
    """Return an encoder of imagecodecs; ``told``: it must be told how many bits there are."""

    def encode(pixels: Pixels, bits: int) -> bytes:
        depth = {"bitspersample": bits} if told else {}
        return bytes(getattr(imagecodecs, f"{codec}_encode")(pixels, **options, **depth))

    return encode


def rle(pixels: Pixels, bits: int) -> bytes:
    """Encode one segment for each byte of a value, most significant first (PS3.5 annex G)."""
    width = pixels.dtype.itemsize
    # Of rows, so that no run goes from one into the next (G.3.1).
    planes = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8)
    segments = [
        _even(imagecodecs.packbits_encode(np.ascontiguousarray(planes[:, byte::width])))
        for byte in range(width)
    ]
    offsets = [64 + sum(map(len, segments[:number])) for number in range(width)]
    return struct.pack("<16L", width, *offsets, *[0] * (15 - width)) + b"".join(segments)


def _even(segment: bytes | bytearray) -> bytes:
    return bytes(segment) + b"\0" * (len(segment) % 2)


lossless_jpeg = _with("ljpeg", told=True)
jpeg_ls = _with("jpegls")
jpeg_2000 = _with("jpeg2k", told=True, codecformat="j2k", reversible=True)
_high_throughput = _with("htj2k")

LOSSLESS = {
    "implicit VR": Coding(uid.ImplicitVRLittleEndian),
    "explicit VR": Coding(uid.ExplicitVRLittleEndian),
    "big endian": Coding(uid.ExplicitVRBigEndian),
    "deflated": Coding(uid.DeflatedExplicitVRLittleEndian),
    "RLE": Coding(uid.RLELossless, encode=rle),
    "JPEG lossless .57": Coding(uid.JPEGLossless, encode=lossless_jpeg),
    "JPEG lossless .70": Coding(uid.JPEGLosslessSV1, encode=lossless_jpeg),
    "JPEG-LS": Coding(uid.JPEGLSLossless, encode=jpeg_ls),
    "JPEG 2000": Coding(uid.JPEG2000Lossless, encode=jpeg_2000),
    "JPEG 2000 in the syntax of both": Coding(uid.JPEG2000, encode=jpeg_2000),
    "HTJ2K .201": Coding(uid.HTJ2KLossless, encode=_high_throughput),
    "HTJ2K .202": Coding(uid.HTJ2KLosslessRPCL, encode=_high_throughput),
    "HTJ2K .203": Coding(uid.HTJ2K, encode=_high_throughput),
}
LOSSY = {
    "JPEG baseline, 8 bits": Coding(uid.JPEGBaseline8Bit, 8, _with("jpeg8", told=True, level=98)),
    "JPEG extended, 12 bits": Coding(
        uid.JPEGExtended12Bit, 12, _with("jpeg8", told=True, level=98)
    ),
    "JPEG-LS, near": Coding(uid.JPEGLSNearLossless, encode=_with("jpegls", level=2)),
    "JPEG 2000, lossy": Coding(
        uid.JPEG2000, encode=_with("jpeg2k", told=True, codecformat="j2k", level=70)
    ),
}
CODINGS = LOSSLESS | LOSSY


def put_pixels(film: Dataset, pixels: Pixels, coding: Coding) -> None:
    """Give a film its pixels; its header says already how many bits they have.

    Parameters
    ----------
    pixels
        uint8, uint16 or int16 (rows, columns).

    Raises
    ------
    ImportError, AttributeError
        This build of imagecodecs lacks the encoder.
    """
    if coding.encode is not None:
        put_fragments(film, [coding.encode(pixels, film.BitsStored)], coding.syntax)
        return
    film.file_meta.TransferSyntaxUID = coding.syntax
    stored = pixels.dtype.newbyteorder("<" if coding.syntax.is_little_endian else ">")
    film.add_new("PixelData", "OW", pixels.astype(stored).tobytes())


def put_fragments(film: Dataset, fragments: Sequence[bytes], syntax: uid.UID) -> None:
    """Give a film compressed pixels, each fragment an item."""
    film.file_meta.TransferSyntaxUID = syntax
    film.add_new("PixelData", "OB", encapsulate(list(fragments), has_bot=False))
    film["PixelData"].is_undefined_length = True
