"""From the bytes of a DICOM file to the stored pixels of a film, trusting none of them."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import BaseTag

from edge_runtime.codestream import read_codestream
from edge_runtime.dicom_codecs import PLUGIN_OF, register_codecs
from edge_runtime.dicom_header import integer, text
from edge_runtime.errors import (
    CorruptRadiographError,
    NotARadiographError,
    TransferSyntaxError,
    UnsupportedRadiographError,
)
from edge_runtime.lookup import values_between
from edge_runtime.pictures import check_size

RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG"})
_SECONDARY_CAPTURE = frozenset(
    {
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
RADIOGRAPH_CLASSES = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        *_SECONDARY_CAPTURE,
    }
)
_FOR_PROCESSING = frozenset(
    {
        uid.DigitalXRayImageStorageForProcessing,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.DigitalIntraOralXRayImageStorageForProcessing,
    }
)
# What a DICOM object may refer to as a film, screened or refused.
PROJECTION_CLASSES = RADIOGRAPH_CLASSES | _FOR_PROCESSING
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
_PALETTE = frozenset({"PALETTE COLOR"})
# Codings that keep every bit of a stored word, also those that no pixel uses.
_UNCODED = frozenset({syntax for syntax, plugin in PLUGIN_OF.items() if not plugin}) | {
    uid.RLELossless
}
# 40 million pixels of 16 bits, twice, and a long header.
MAX_FILE_BYTES = 192 * 1024 * 1024
# Of the parser, two or three an element. A film's header has some hundred elements.
_MAX_READS = 100_000
IMPLEMENTATION_CLASS_UID = uid.UID("2.25.226461529173462518870263914827350117729")
"""Of this software, in the UUID arc (PS3.5 B.2): in file meta information and in negotiation."""
# What stands before the pixels of a deflated file.
_MAX_HEADER_BYTES = 4 << 20
_PIXEL_DATA = 0x7FE00010
_UNDEFINED_LENGTH = 0xFFFFFFFF
# The phrase for what a header does not say, or says in words that may be anybody's.
_UNKNOWN = "word.unknown"


def parse_dicom(data: bytes | memoryview, name: str) -> Dataset:
    """Read the data set of a DICOM file up to its pixels, with or without preamble and file meta.

    What follows the pixels (padding, signatures, garbage) is not looked at.

    Raises
    ------
    NotARadiographError
        No DICOM.
    UnsupportedRadiographError
        A deflated file of more than :data:`MAX_FILE_BYTES`.
    CorruptRadiographError
        DICOM that cannot be parsed.
    """
    return _parse(_short(_Memory(data)), name, data)[0]


def parse_header(path: Path, tags: Sequence[BaseTag] | None, name: str) -> tuple[Dataset, int]:
    """Read elements that stand before the pixels of a DICOM file; all others stay on the disk.

    Parameters
    ----------
    tags
        Of the elements; None for all before the pixels. A deflated file is inflated no further
        than any film's header goes, and what stands beyond is not found.

    Returns
    -------
    header, start
        The transfer syntax is in its file meta. The data set starts at the byte ``start``.

    Raises
    ------
    NotARadiographError, CorruptRadiographError
        As of :func:`parse_dicom`.
    OSError
        The file cannot be opened.
    """
    with path.open("rb") as file:
        return _parse(_short(file), name, None, tags)


def _parse(
    stream: BinaryIO,
    name: str,
    data: bytes | memoryview | None,
    tags: Sequence[BaseTag] | None = None,
) -> tuple[Dataset, int]:
    """Read a data set up to its pixels; of ``tags`` alone if there are.

    Parameters
    ----------
    data
        All that is in the stream, where the pixels are wanted, too.
    """
    part_10, stop = False, _AtPixels(take=data is not None)
    try:
        part_10 = read_preamble(stream, force=True) is not None
        syntax = _read_syntax(stream)
        # Command elements (PS3.7) of a message that was saved as it came over the network.
        read_dataset(stream, True, True, stop_when=lambda tag, _, __: tag.group != 0)
        start = stream.tell()
        if syntax == uid.DeflatedExplicitVRLittleEndian:
            inflated = _inflate(stream, name, pixels=data is not None)
            stream, data = _short(_Memory(inflated)), None if data is None else inflated
        implicit, little = _encoding(syntax, stream)
        if data is not None and PLUGIN_OF.get(syntax or "") == "":
            stop.leave(stream)
        wanted = None if tags is None else list[BaseTag | int](tags)
        dataset = read_dataset(stream, implicit, little, stop_when=stop, specific_tags=wanted)
        if data is not None and stop.left is not None:
            vr, length, at = stop.left
            # A view, which decoders take as well: the copy would be one of nearly the whole file.
            pixels = cast(bytes, memoryview(data)[at : at + length])
            dataset[_PIXEL_DATA] = RawDataElement(
                BaseTag(_PIXEL_DATA), vr, length, pixels, at, implicit, little
            )
        dataset.file_meta = FileMetaDataset()
        if syntax is not None:
            dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
        known = stop.seen or text(dataset, "SOPClassUID") is not None
    except UnsupportedRadiographError:
        raise
    except Exception as error:
        # pydicom raises whatever the parser trips over (struct, Value, Attribute, Recursion ...).
        if part_10:
            raise CorruptRadiographError.because(
                "unparsed", name, error=type(error).__name__
            ) from None
        known = False
    if not known and not part_10:
        raise NotARadiographError.because("no_image", name)
    if syntax is None:
        _guess_syntax(dataset, little, name)
    return dataset, start


def check_kind(dataset: Dataset, name: str) -> None:
    """Refuse, before any pixel is decoded, what is not a single-frame radiograph.

    Raises
    ------
    NotARadiographError
        No pixels.
    UnsupportedRadiographError
        Another modality or object, for processing, multi-frame, coloured, not of 8 or 16 bits, or
        implausibly small or large.
    CorruptRadiographError
        The header does not say what bright pixels are.
    """
    sop_class = uid.UID(text(dataset, "SOPClassUID") or "")
    if not any(keyword in dataset for keyword in _PIXELS):
        if sop_class.type:
            raise NotARadiographError.because("no_pixels_of", name, kind=sop_class.name)
        raise NotARadiographError.because("no_pixels", name)
    _check_class(dataset, sop_class, name)
    frames = integer(dataset, "NumberOfFrames") if text(dataset, "NumberOfFrames") else 1
    # 0 frames are a writer's way of saying that there is just one.
    if frames not in (0, 1):
        raise UnsupportedRadiographError.because("frames", name, frames=frames or _UNKNOWN)
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric is None:
        raise CorruptRadiographError.because("photometric", name)
    samples = integer(dataset, "SamplesPerPixel") if "SamplesPerPixel" in dataset else 1
    if photometric not in (_GREY if samples == 1 else _COLOUR if samples == 3 else ()):
        known = photometric if photometric in _GREY | _COLOUR | _PALETTE else _UNKNOWN
        raise UnsupportedRadiographError.because(
            "colour", name, kind=known, samples=samples or _UNKNOWN
        )
    bits = integer(dataset, "BitsAllocated")
    if "PixelData" not in dataset or bits not in ((8, 16) if samples == 1 else (8,)):
        if "PixelData" in dataset:
            raise UnsupportedRadiographError.because(
                "bits", name, bits=bits or _UNKNOWN, samples=samples or _UNKNOWN
            )
        raise UnsupportedRadiographError.because("floating", name, samples=samples or _UNKNOWN)
    check_size(integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0, name)


class StoredPixels(NamedTuple):
    """The one frame of a film.

    Attributes
    ----------
    pixels
        Stored values, uint8, int8, uint16 or int16, (rows, columns); or (rows, columns, 3) uint8
        RGB, where the film is coded in colour. Bits outside those stored are left out.
    values
        Every value from the lowest to the highest of them, int32, rising.
    notes
        What was assumed, as short sentences.
    """

    pixels: npt.NDArray[Any]
    values: npt.NDArray[np.int32]
    notes: tuple[str, ...] = ()


def decode_pixels(dataset: Dataset, name: str) -> StoredPixels:
    """Decode the one frame of a film that passed :func:`check_kind`.

    Raises
    ------
    TransferSyntaxError
        The pixels are coded in a way that is not read.
    CorruptRadiographError
        They cannot be decoded, or are not what the header says.
    """
    register_codecs()
    syntax = uid.UID(text(dataset.file_meta, "TransferSyntaxUID") or "")
    plugin = PLUGIN_OF.get(syntax)
    if plugin is None or (plugin and plugin not in get_decoder(syntax).available_plugins):
        known = f"{syntax.name} ({syntax})" if syntax.type else str(syntax)[:64]
        if plugin is None:
            raise TransferSyntaxError.because("syntax", name, syntax=known)
        raise TransferSyntaxError.because("no_decoder", name, syntax=known)
    try:
        if plugin and syntax != uid.RLELossless:
            _check_codestream(dataset, name)
        return _decode(dataset, syntax, plugin)
    except CorruptRadiographError:
        raise
    except Exception as error:
        # The decoders (C libraries and pydicom's checks) have no common exception.
        raise CorruptRadiographError.because(
            "undecoded", name, coding=syntax.name, error=type(error).__name__
        ) from None


class _Memory:
    """Bytes as a file for the parser: of any but a bytes object io.BytesIO makes a copy."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        left = max(len(self._data) - self._at, 0)
        taken = left if size < 0 else min(size, left)
        self._at += taken
        return bytes(self._data[self._at - taken : self._at])

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(offset + (0, self._at, len(self._data))[whence], 0)
        return self._at

    def tell(self) -> int:
        return self._at


class _ShortStream:
    """Ends the parser's work on a file of millions of elements of no length.

    Nor is memory taken for a value that claims to be longer than its file.
    """

    def __init__(self, file: BinaryIO | _Memory) -> None:
        self.tell, self.seek = file.tell, file.seek
        self._read = file.read
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.reads = 0

    def read(self, size: int = -1) -> bytes:
        """Read as any stream does, so many times."""
        self.reads += 1
        if self.reads > _MAX_READS:
            raise ValueError("more elements than any film has")
        return self._read(min(size, self._size))


def _short(file: BinaryIO | _Memory) -> BinaryIO:
    return cast(BinaryIO, _ShortStream(file))


class _AtPixels:
    """Stops the parser before pixels of any kind, or takes them and stops at what follows them."""

    def __init__(self, *, take: bool) -> None:
        self._take = take
        self._tell: Callable[[], int] | None = None
        self.seen = False
        self.left: tuple[str | None, int, int] | None = None
        """VR, length and start of the value of Pixel Data that was left in the stream."""

    def leave(self, stream: BinaryIO) -> None:
        """Take pixels no more where the stream says how long they are, but tell where they lie."""
        self._tell = stream.tell

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        stop = self.seen if self._take else tag.group >= _PIXEL_DATA >> 16
        if tag == _PIXEL_DATA and not self.seen:
            self.seen = True
            if self._tell is not None and length != _UNDEFINED_LENGTH:
                self.left, stop = (vr, length, self._tell()), True
        return stop


def _read_syntax(stream: BinaryIO) -> str | None:
    """Read the transfer syntax from group 2, and leave the stream behind that group.

    It is of explicit VR (PS3.10 7.1), but some writers have it implicit.
    """
    start, syntax = stream.tell(), None
    for implicit in (False, True):
        stream.seek(start)
        meta = read_dataset(stream, implicit, True, stop_when=lambda tag, _, __: tag.group != 2)
        syntax = text(meta, "TransferSyntaxUID")
        if syntax is not None:
            break
    return syntax


def _inflate(stream: BinaryIO, name: str, *, pixels: bool) -> bytes:
    """Inflate a data set (PS3.5 A.5), no further than any film goes, or any header."""
    limit = MAX_FILE_BYTES if pixels else _MAX_HEADER_BYTES
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = decompressor.decompress(stream.read() if pixels else stream.read(limit), limit)
    if pixels and decompressor.unconsumed_tail:
        raise UnsupportedRadiographError.because("deflated", name, mib=MAX_FILE_BYTES >> 20)
    return inflated


def _encoding(syntax: str | None, stream: BinaryIO) -> tuple[bool, bool]:
    """Return whether a data set is of implicit VR, and whether little endian.

    Without a transfer syntax the first element tells: its VR is there or not, and its group is low.
    """
    if syntax is not None:
        return syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
    head = stream.read(6)
    stream.seek(-len(head), io.SEEK_CUR)
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return not explicit, not (explicit and head[:1] == b"\0" and head[1:2] != b"\0")


def _guess_syntax(dataset: Dataset, little: bool, name: str) -> None:
    """Name the transfer syntax of a film that does not say; the pixels' own bytes tell no more."""
    pixels = dataset.get_item(_PIXEL_DATA)
    if pixels is not None and getattr(pixels, "length", 0) == _UNDEFINED_LENGTH:
        raise TransferSyntaxError.because("no_syntax", name)
    dataset.file_meta.TransferSyntaxUID = (
        uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    )


def _check_class(dataset: Dataset, sop_class: uid.UID, name: str) -> None:
    """Refuse other modalities and objects. A private class counts by its modality."""
    modality = text(dataset, "Modality")
    fitting: frozenset[str | None] = RADIOGRAPH_MODALITIES
    if sop_class in _SECONDARY_CAPTURE:
        fitting = RADIOGRAPH_MODALITIES | {None, "OT", "SC"}
    elif sop_class in RADIOGRAPH_CLASSES:
        fitting = RADIOGRAPH_MODALITIES | {None}
    if modality not in fitting:
        raise UnsupportedRadiographError.because("modality", name, modality=_word(modality))
    intent = (text(dataset, "PresentationIntentType") or "").upper()
    if intent == "FOR PROCESSING" or sop_class in _FOR_PROCESSING:
        raise UnsupportedRadiographError.because("raw", name)
    if sop_class.type and sop_class not in RADIOGRAPH_CLASSES:
        raise UnsupportedRadiographError.because("no_film", name, kind=sop_class.name)


def _word(value: str | None) -> str:
    """Return a header's word for a message, if it is one: anything may stand there, also a name."""
    if value is None:
        return "word.missing"
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else _UNKNOWN


def _check_codestream(dataset: Dataset, name: str) -> None:
    """Compare what header and compressed frame claim, before the decoder allocates for it."""
    frame = get_frame(
        dataset.PixelData,
        0,
        number_of_frames=1,
        extended_offsets=(
            (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
            if "ExtendedOffsetTable" in dataset
            else None
        ),
    )
    coded = read_codestream(frame)
    if coded is None:
        raise ValueError("no header of a codestream")
    stated = (integer(dataset, "Rows"), integer(dataset, "Columns"))
    if (coded.rows, coded.columns) != stated:
        rows, columns = (_UNKNOWN if side is None else side for side in stated)
        raise CorruptRadiographError.because(
            "contradicting",
            name,
            columns=columns,
            rows=rows,
            coded_columns=coded.columns,
            coded_rows=coded.rows,
        )
    if coded.samples != (integer(dataset, "SamplesPerPixel") or 1):
        raise ValueError("another number of samples")


def _decode(dataset: Dataset, syntax: uid.UID, plugin: str) -> StoredPixels:
    allocated = integer(dataset, "BitsAllocated") or 0
    stored = integer(dataset, "BitsStored")
    stored = allocated if stored is None else stored
    # pydicom would shift the whole film up and down to clear bits that are nearly always clear.
    options: dict[str, Any] = {
        "bits_stored": stored,
        "correct_unused_bits": False,
        "view_only": True,
    }
    # Where the header is silent on them: what nearly every film has.
    for keyword, option, usual in (
        ("SamplesPerPixel", "samples_per_pixel", 1),
        ("PixelRepresentation", "pixel_representation", 0),
        ("PlanarConfiguration", "planar_configuration", 0),
    ):
        if integer(dataset, keyword) is None:
            options[option] = usual
    pixels, _ = get_decoder(syntax).as_array(dataset, index=0, decoding_plugin=plugin, **options)
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 2:
        raise ValueError(f"pixels of type {pixels.dtype}")
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    decoded = StoredPixels(pixels, values_between(pixels.reshape(len(pixels), -1)))
    if plugin in ("", "osteoedge") and pixels.ndim == 2:
        high = integer(dataset, "HighBit") if syntax in _UNCODED else None
        return _clear_unused_bits(decoded, stored, high)
    # JPEG 2000 and JPEG-LS say themselves how many bits there are.
    return decoded


def _clear_unused_bits(decoded: StoredPixels, stored: int, high: int | None) -> StoredPixels:
    """Leave out the bits above the highest bit and below those stored (PS3.5 8.1.1).

    Overlays lay there once, and values in the highest bits of a word are an old custom, too.
    """
    pixels, values, _ = decoded
    width = pixels.dtype.itemsize * 8
    if stored >= width:
        return decoded
    fits = values[0] >= 0 and values[-1] < 1 << stored
    notes: tuple[str, ...] = ()
    if high is None or not stored <= high < width:
        high = stored - 1
    elif fits:
        high, notes = stored - 1, ("HighBit contradicts the pixels: they lie in the lowest bits",)
    if fits and (pixels.dtype.kind == "u" or not values[-1] >> (stored - 1)):
        return StoredPixels(pixels, values, notes)
    # The shift down keeps the sign.
    cleared = (pixels << (width - 1 - high)) >> (width - stored)
    return StoredPixels(cleared, values_between(cleared), notes)
