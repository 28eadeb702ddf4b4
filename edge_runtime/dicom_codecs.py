"""A pydicom decoder plug-in for the JPEG family: baseline, 12-bit extended, and lossless.

pydicom's own choices for these are GPL (pylibjpeg-libjpeg), cannot read 12 bits (Pillow, gdcm), or
both. imagecodecs is BSD and reads all four. The contract is pydicom's guide "Decoder plugins".
"""

from __future__ import annotations

import importlib.util
import threading

from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

JPEG_SYNTAXES = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
)
_lock = threading.Lock()
_registered = False

DECODER_DEPENDENCIES = dict.fromkeys(JPEG_SYNTAXES, ("imagecodecs>=2024.1.1",))


def is_available(syntax: str) -> bool:
    """Tell pydicom whether imagecodecs is installed and reads the transfer syntax."""
    return syntax in JPEG_SYNTAXES and importlib.util.find_spec("imagecodecs") is not None


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame to little-endian bytes of ``runner``'s allocated width."""
    import imagecodecs

    # 8-bit, 12-bit and lossless streams are told apart by the stream's own start-of-frame marker.
    frame = imagecodecs.jpeg_decode(source)
    runner.set_option("bits_allocated", frame.dtype.itemsize * 8)
    return bytes(frame.astype(frame.dtype.newbyteorder("<"), copy=False).tobytes())


def register_codecs() -> None:
    """Offer the plug-in to pydicom, once a process, whichever thread comes first."""
    global _registered
    with _lock:
        if not _registered:
            for syntax in JPEG_SYNTAXES:
                get_decoder(syntax).add_plugin("osteoedge", (__name__, "decode_frame"))
            _registered = True
