"""Which decoder reads which transfer syntax, and one of our own for RLE and the JPEG family.

pydicom's own choices for JPEG are GPL (pylibjpeg-libjpeg), cannot read 12 bits (Pillow, gdcm), or
both. imagecodecs is BSD and reads all of it. The contract is pydicom's guide "Decoder plugins".
Each syntax has one decoder, whatever else is installed: the same film gives the same pixels
everywhere.
"""

from __future__ import annotations

import importlib.util
import struct
import threading

import numpy as np
from pydicom import uid
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

JPEG_SYNTAXES = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
)
_OURS = (uid.RLELossless, *JPEG_SYNTAXES)
_NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
_JPEG_2000 = (
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
)
PLUGIN_OF: dict[str, str] = {
    **dict.fromkeys(_NATIVE, ""),
    **dict.fromkeys(_OURS, "osteoedge"),
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    **dict.fromkeys(_JPEG_2000, "pylibjpeg"),
}
"""The pydicom plug-in that decodes a transfer syntax, empty for uncompressed pixels."""

# Writers pad a segment's last row now and then; more than that is no film (PS3.5 G.3.1).
_RLE_SLACK = 1024
_lock = threading.Lock()
_registered = False

DECODER_DEPENDENCIES = dict.fromkeys(_OURS, ("imagecodecs>=2024.1.1",))


def is_available(syntax: str) -> bool:
    """Tell pydicom whether imagecodecs is installed and reads the transfer syntax."""
    return syntax in _OURS and importlib.util.find_spec("imagecodecs") is not None


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame to little-endian bytes of ``runner``'s allocated width."""
    if runner.transfer_syntax == uid.RLELossless:
        return _decode_rle(source, runner)
    import imagecodecs

    if runner.samples_per_pixel == 1:
        # 8-bit, 12-bit and lossless streams are told apart by their own start-of-frame marker.
        frame = imagecodecs.jpeg_decode(source)
    else:
        coded = "YCBCR" if "YBR" in runner.photometric_interpretation else "RGB"
        frame = imagecodecs.jpeg_decode(source, colorspace=coded, outcolorspace="RGB")
        runner.set_option("photometric_interpretation", PhotometricInterpretation.RGB)
        runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", frame.dtype.itemsize * 8)
    return bytes(frame.astype(frame.dtype.newbyteorder("<"), copy=False).tobytes())


def register_codecs() -> None:
    """Offer the plug-in to pydicom, once a process, whichever thread comes first."""
    global _registered
    with _lock:
        if not _registered:
            for syntax in _OURS:
                get_decoder(syntax).add_plugin("osteoedge", (__name__, "decode_frame"))
            _registered = True


def _decode_rle(source: bytes, runner: DecodeRunner) -> bytes:
    """Decode one plane of bytes a segment, most significant first (PS3.5 annex G)."""
    import imagecodecs

    width = runner.bits_allocated // 8
    planes, pixels = runner.samples_per_pixel * width, runner.rows * runner.columns
    count, *offsets = struct.unpack("<16L", source[:64])
    if count != planes:
        raise ValueError(f"{count} segments, not {planes}")
    frame = np.empty((runner.samples_per_pixel, pixels, width), np.uint8)
    ends = [*offsets[1:count], len(source)]
    for index, (start, end) in enumerate(zip(offsets, ends, strict=False)):
        # A buffer of its own bounds what a few bytes can grow to.
        plane = imagecodecs.packbits_decode(source[start:end], out=bytearray(pixels + _RLE_SLACK))
        if len(plane) < pixels:
            raise ValueError(f"segment {index} ends early")
        sample, byte = divmod(index, width)
        frame[sample, :, width - 1 - byte] = np.frombuffer(plane, np.uint8, pixels)
    runner.set_option("planar_configuration", 1)
    return frame.tobytes()
