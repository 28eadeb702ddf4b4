"""Every coding that is read gives the same film, and every other one is refused by its name."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, get_frame
from pydicom.pixels import compress

from edge_runtime import dicom_file, pictures
from edge_runtime.errors import (
    CorruptRadiographError,
    NotARadiographError,
    RadiographError,
    TransferSyntaxError,
    UnsupportedRadiographError,
)
from edge_runtime.radiograph import read_radiograph
from tests.edge_runtime.codings import (
    LOSSLESS,
    LOSSY,
    TWELVE_BITS,
    as_file,
    eight_bits,
    encapsulated,
    jpeg_2000,
    jpeg_ls,
    lossless_jpeg,
    native,
    twelve_bits,
)
from tests.edge_runtime.films import film

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def plain() -> np.ndarray:
    return read_radiograph(film(twelve_bits(), **TWELVE_BITS)).display


@pytest.mark.parametrize("coded", LOSSLESS.values(), ids=LOSSLESS)
def test_lossless_codings_are_the_same_film(coded: Callable[[], Dataset]) -> None:
    assert np.array_equal(read_radiograph(as_file(coded())).display, plain())


@pytest.mark.parametrize("coded", LOSSY.values(), ids=LOSSY)
def test_lossy_codings_are_nearly_the_same_film(coded: Callable[[], Dataset]) -> None:
    difference = read_radiograph(as_file(coded())).display.astype(int) - plain()
    assert 0 < np.abs(difference).mean() < 400, "of 65,535"


SIGNED = (twelve_bits().astype(np.int32) - 2000).astype(np.int16)


@pytest.mark.parametrize(
    "syntax", [uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless]
)
def test_signed_values_survive_compression(syntax: str) -> None:
    window = {"WindowCenter": 0, "WindowWidth": 4000, **TWELVE_BITS}
    expected = read_radiograph(film(SIGNED, **window)).display
    if syntax == uid.JPEGLosslessSV1:
        # JPEG has no sign: the twelve bits as they are.
        frame = lossless_jpeg((SIGNED & 0xFFF).astype(np.uint16))
        dataset = encapsulated(SIGNED, syntax, frame, **window)
    else:
        dataset = film(SIGNED, **window)
        compress(dataset, syntax, generate_instance_uid=False)
    assert np.array_equal(read_radiograph(dataset).display, expected)


@pytest.mark.parametrize("table", ["none", "basic", "extended"])
@pytest.mark.parametrize("parts", [1, 7])
def test_fragments_and_offset_tables(table: str, parts: int) -> None:
    frame = jpeg_ls(twelve_bits())
    dataset = encapsulated(twelve_bits(), uid.JPEGLSLossless, frame)
    if table == "extended":
        data, offsets, lengths = encapsulate_extended([frame])
        dataset.PixelData = data
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    else:
        dataset.PixelData = encapsulate([frame], parts, has_bot=table == "basic")
    assert np.array_equal(read_radiograph(dataset).display, plain())


def test_a_codestream_in_boxes() -> None:
    """JP2 files inside DICOM, which PS3.5 A.4.4 forbids and writers write."""
    boxed = imagecodecs.jpeg2k_encode(
        twelve_bits(), codecformat="jp2", reversible=True, bitspersample=12
    )
    dataset = encapsulated(twelve_bits(), uid.JPEG2000Lossless, bytes(boxed))
    assert np.array_equal(read_radiograph(dataset).display, plain())


def test_rle_segments_with_padding() -> None:
    """Writers pad the last row of a segment now and then."""
    high, low = (twelve_bits() >> 8).astype(np.uint8), twelve_bits().astype(np.uint8)
    segments = [imagecodecs.packbits_encode(plane.tobytes() + b"\0\0") for plane in (high, low)]
    offsets = [64, 64 + len(segments[0])]
    frame = struct.pack("<16L", 2, *offsets, *[0] * 13) + b"".join(segments)
    dataset = encapsulated(twelve_bits(), uid.RLELossless, frame)
    assert np.array_equal(read_radiograph(dataset).display, plain())


@pytest.mark.parametrize(
    ("syntax", "named"),
    [
        ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level (1.2.840.10008.1.2.4.100)"),
        ("1.2.840.10008.1.2.4.93", "1.2.840.10008.1.2.4.93"),
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced (1.2.840.10008.1.2.4.94)"),
        ("1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.1.98"),
        ("1.2.840.113619.5.2", "1.2.840.113619.5.2"),
        ("999.888.777.INVALID", "999.888.777.INVALID"),
    ],
)
def test_other_codings_are_refused_by_name(syntax: str, named: str) -> None:
    data = as_file(film())
    meta = data.index(uid.ExplicitVRLittleEndian.encode())
    text = syntax.encode() + b"\0" * (len(syntax) % 2)
    length = struct.pack("<H", len(text))
    data = data[: meta - 2] + length + text + data[meta + 20 :]
    with pytest.raises(TransferSyntaxError, match=re.escape(named)):
        read_radiograph(data)


@pytest.mark.parametrize("coding", ["implicit VR", "explicit VR", "big endian"])
@pytest.mark.parametrize("kept", ["nothing", "file meta", "preamble"])
def test_missing_preamble_and_file_meta(coding: str, kept: str) -> None:
    dataset = LOSSLESS[coding]()
    data = as_file(dataset)
    meta = 132 + 12 + int.from_bytes(data[140:144], "little")
    # Modality and photometric interpretation say that this is a film.
    bare = {
        "nothing": data[meta:],
        "file meta": data[132:],
        "preamble": data[:132] + data[meta:],
    }[kept]
    assert np.array_equal(read_radiograph(bare).display, plain())


def test_compressed_pixels_need_their_file_meta() -> None:
    data = as_file(LOSSLESS["JPEG 2000"]())
    meta = 132 + 12 + int.from_bytes(data[140:144], "little")
    with pytest.raises(TransferSyntaxError, match="no transfer syntax says how"):
        read_radiograph(data[meta:])


def test_file_meta_in_implicit_vr() -> None:
    data = as_file(film(twelve_bits(), **TWELVE_BITS))
    meta = 132 + 12 + int.from_bytes(data[140:144], "little")
    syntax = uid.ExplicitVRLittleEndian.encode() + b"\0"
    implicit = b"\x02\0\x10\0" + struct.pack("<L", len(syntax)) + syntax
    shown = read_radiograph(data[:132] + implicit + data[meta:]).display
    assert np.array_equal(shown, plain())


@pytest.mark.parametrize(
    ("really", "claimed"), [("implicit VR", "explicit VR"), ("explicit VR", "implicit VR")]
)
def test_a_transfer_syntax_that_is_wrong_about_the_vr(really: str, claimed: str) -> None:
    whole, other = as_file(LOSSLESS[really]()), as_file(LOSSLESS[claimed]())
    meta, other_meta = (132 + 12 + int.from_bytes(d[140:144], "little") for d in (whole, other))
    shown = read_radiograph(other[:other_meta] + whole[meta:]).display
    assert np.array_equal(shown, plain())


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.99])
@pytest.mark.parametrize("coding", [*LOSSLESS, *LOSSY])
def test_truncated_films(coding: str, kept: float) -> None:
    data = as_file({**LOSSLESS, **LOSSY}[coding]())
    with pytest.raises((CorruptRadiographError, NotARadiographError)):
        read_radiograph(data[: int(kept * len(data))])


@pytest.mark.parametrize("coding", ["JPEG lossless .57", "JPEG baseline, 8 bits", "JPEG-LS"])
def test_a_lost_fragment(coding: str) -> None:
    """Decoders fill what is missing of a JPEG with grey."""
    dataset = {**LOSSLESS, **LOSSY}[coding]()
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: len(frame) // 2]], has_bot=False)
    with pytest.raises(CorruptRadiographError, match="cannot be decoded"):
        read_radiograph(dataset)


def test_a_data_set_that_cannot_be_written() -> None:
    with pytest.raises(CorruptRadiographError, match=r"dataset: .* cannot be written as DICOM"):
        read_radiograph(Dataset())


@pytest.mark.parametrize(
    "tail",
    [bytes(1), bytes(300), b"\xff" * 40, b"garbage that is no element at all", b"\xfe\xff\xdd\xe0"],
)
@pytest.mark.parametrize(
    "coding", ["implicit VR", "explicit VR", "big endian", "deflated", "JPEG-LS"]
)
def test_what_follows_the_pixels_is_not_looked_at(coding: str, tail: bytes) -> None:
    assert np.array_equal(read_radiograph(as_file(LOSSLESS[coding]()) + tail).display, plain())


def test_a_data_set_that_came_over_the_network() -> None:
    """Command elements (group 0) before the data set, as some receivers store them."""
    data = as_file(film(twelve_bits(), **TWELVE_BITS))
    meta = 132 + 12 + int.from_bytes(data[140:144], "little")
    command = b"\0\0\0\0\x04\0\0\0\x0c\0\0\0" + b"\0\0\0\x01\x02\0\0\0\x01\0"
    shown = read_radiograph(data[:meta] + command + data[meta:]).display
    assert np.array_equal(shown, plain())


def test_odd_elements_do_not_matter() -> None:
    """Group lengths, private blocks, values of odd length, sequences of undefined length."""
    dataset = film(twelve_bits(), **TWELVE_BITS)
    dataset.add_new(0x00080000, "UL", 4)
    dataset.add_new(0x00090010, "LO", "SOME MAKER 1.0")
    dataset.add_new(0x00091001, "UN", b"\x01\x02\x03")
    item = Dataset()
    item.CodeValue = "T-D9200"
    dataset.ProcedureCodeSequence = [item]
    dataset["ProcedureCodeSequence"].is_undefined_length = True
    item.is_undefined_length_sequence_item = True
    assert np.array_equal(read_radiograph(as_file(dataset)).display, plain())


# What a header claims and what a few bytes can grow to.


def bomb(rows: int, columns: int, encode: Callable[[np.ndarray], bytes]) -> bytes:
    return encode(np.zeros((rows, columns), np.uint16))


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (uid.JPEG2000Lossless, jpeg_2000),
        (uid.JPEGLSLossless, jpeg_ls),
        (uid.JPEGLosslessSV1, lossless_jpeg),
    ],
)
def test_a_codestream_larger_than_its_header(
    syntax: str, encode: Callable[[np.ndarray], bytes]
) -> None:
    dataset = encapsulated(twelve_bits(), syntax, bomb(2000, 2000, encode))
    with pytest.raises(CorruptRadiographError, match="80 x 96 pixels, the compressed image 2000"):
        read_radiograph(dataset)


def test_rle_that_grows() -> None:
    segment = b"\x81\0" * 1_000_000
    offsets = struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13)
    dataset = encapsulated(twelve_bits(), uid.RLELossless, offsets + segment * 2)
    with pytest.raises(CorruptRadiographError, match="RLE"):
        read_radiograph(dataset)


def test_a_deflated_data_set_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = as_file(native(twelve_bits(), uid.DeflatedExplicitVRLittleEndian))
    meta = 132 + 12 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    grown = packer.compress(bytes(2**22)) + packer.flush()
    assert len(grown) < 2**13
    monkeypatch.setattr(dicom_file, "MAX_FILE_BYTES", 2**21)
    with pytest.raises(UnsupportedRadiographError, match="deflated file of more than 2 MiB"):
        read_radiograph(data[:meta] + grown)


def test_a_file_larger_than_any_film(tmp_path: Path) -> None:
    path = tmp_path / "huge.dcm"
    with path.open("wb") as stream:
        stream.truncate(300 * 2**20)
    with pytest.raises(UnsupportedRadiographError, match=r"huge\.dcm: 300 MiB"):
        read_radiograph(path)


def png_claiming(rows: int, columns: int) -> bytes:
    picture = bytearray(cv2.imencode(".png", eight_bits())[1].tobytes())
    picture[16:24] = struct.pack(">LL", columns, rows)
    picture[29:33] = struct.pack(">L", zlib.crc32(picture[12:29]))
    return bytes(picture)


def jpeg_claiming(rows: int, columns: int) -> bytes:
    picture = bytearray(cv2.imencode(".jpg", eight_bits())[1].tobytes())
    start = picture.index(b"\xff\xc0")
    picture[start + 5 : start + 9] = struct.pack(">HH", rows, columns)
    return bytes(picture)


@pytest.mark.parametrize("claiming", [png_claiming, jpeg_claiming])
def test_pictures_that_claim_too_much(claiming: Callable[[int, int], bytes]) -> None:
    with pytest.raises(UnsupportedRadiographError, match="65535 x 65535 pixels, more than any"):
        read_radiograph(claiming(65535, 65535))


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt"])
def test_a_png_whose_chunk_claims_too_much(kind: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder takes gigabytes for it, and then finds that there is nothing: it is not asked."""
    monkeypatch.delattr(pictures.cv2, "imdecode")
    picture = cv2.imencode(".png", eight_bits())[1].tobytes()
    start = picture.index(b"IDAT") - 4
    claim = struct.pack(">L", 0x7FFFFFF0) + kind
    with pytest.raises(CorruptRadiographError, match="truncated or damaged"):
        read_radiograph(picture[:start] + claim + picture[start + 8 :])


@pytest.mark.parametrize("nested", [False, True])
def test_a_header_of_too_many_elements(nested: bool) -> None:
    head, pixel_data, rest = as_file(film()).partition(b"\xe0\x7f\x10\0OW")
    if nested:
        items = b"\xfe\xff\0\xe0\0\0\0\0" * 120_000 + b"\xfe\xff\xdd\xe0\0\0\0\0"
        many = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + items
    else:
        many = b"\x08\0\x50\0SH\0\0" * 120_000
    with pytest.raises(CorruptRadiographError, match="cannot be parsed"):
        read_radiograph(head + many + pixel_data + rest)


def test_a_jpeg_of_a_thousand_scans() -> None:
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    picture = cv2.imencode(".jpg", eight_bits(), flags)[1].tobytes()
    assert read_radiograph(picture).display.shape == (96, 80)
    scan = picture.index(b"\xff\xda")
    following = picture.index(b"\xff\xda", scan + 2)
    many = picture[:scan] + picture[scan:following] * 1000 + picture[following:]
    with pytest.raises(CorruptRadiographError, match="truncated or damaged"):
        read_radiograph(many)


# Kinds of object.


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"Modality": "MG"}, "modality MG"),
        ({"Modality": None}, None),
        ({"Modality": "RG"}, None),
        ({"Modality": "Jones^Anna"}, "modality unknown"),
        ({"SOPClassUID": uid.CTImageStorage}, "CT Image Storage, not a radiograph"),
        ({"SOPClassUID": uid.XRayRadiofluoroscopicImageStorage}, "Radiofluoroscopic"),
        ({"SOPClassUID": uid.DigitalXRayImageStorageForProcessing}, "FOR PROCESSING"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage, "Modality": "OT"}, None),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage, "Modality": "CR"}, None),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage, "Modality": "US"}, "modality US"),
        (
            {"SOPClassUID": uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage},
            None,
        ),
        ({"SOPClassUID": "1.2.392.200036.9125.1.1"}, None),
        ({"Modality": "OT"}, "modality OT"),
        ({"NumberOfFrames": 1}, None),
        ({"NumberOfFrames": 0}, None),
        ({"PhotometricInterpretation": None}, "no PhotometricInterpretation"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "a colour image (PALETTE COLOR"),
        ({"BitsAllocated": 32}, "32 bits"),
        ({"BitsAllocated": 1}, "1 bits"),
        ({"BitsAllocated": 12}, "12 bits"),
        ({"SamplesPerPixel": 2}, "2 samples per pixel"),
        ({"SamplesPerPixel": None}, None),
        ({"PixelRepresentation": None}, None),
        ({"BitsStored": None, "HighBit": None}, None),
        ({"BitsStored": 40}, "cannot be decoded"),
        ({"Rows": None}, "only 100 x 0"),
        ({"SOPInstanceUID": None, "StudyInstanceUID": None}, None),
    ],
)
def test_kinds_of_object(attributes: dict[str, object], words: str | None) -> None:
    dataset = film(PresentationIntentType=None)
    for keyword, value in attributes.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            del dataset[keyword]
    data = without_check(dataset)
    if words is None:
        assert read_radiograph(data).display.shape == (80, 100)
        return
    with pytest.raises(RadiographError, match=re.escape(words)) as caught:
        read_radiograph(data)
    assert "Jones" not in str(caught.value)


def without_check(dataset: Dataset) -> bytes:
    """The bytes of a file whose header lacks what pydicom insists on."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=False)
    return buffer.getvalue()


def test_floating_point_pixels_are_refused() -> None:
    dataset = film(BitsAllocated=32)
    dataset.FloatPixelData = np.zeros((80, 100), np.float32).tobytes()
    del dataset.PixelData
    with pytest.raises(UnsupportedRadiographError, match="floating-point"):
        read_radiograph(dataset)


@pytest.mark.parametrize(
    "sop_class",
    [
        uid.EncapsulatedPDFStorage,
        uid.BasicTextSRStorage,
        uid.GrayscaleSoftcopyPresentationStateStorage,
    ],
)
def test_objects_without_pixels_are_named(sop_class: uid.UID) -> None:
    dataset = film(SOPClassUID=sop_class)
    del dataset.PixelData
    with pytest.raises(NotARadiographError, match=re.escape(f"without pixels ({sop_class.name})")):
        read_radiograph(dataset)


# Grey films that are coded in colour.


def in_colour(channels: np.ndarray, **attributes: object) -> Dataset:
    return film(
        channels,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        PresentationIntentType=None,
        **attributes,
    )


def test_rgb_with_equal_channels_is_a_grey_film() -> None:
    radiograph = read_radiograph(in_colour(np.repeat(eight_bits()[..., None], 3, axis=2)))
    assert np.array_equal(radiograph.display, eight_bits())
    assert "coded in colour" in radiograph.notes[0]


def test_planes_of_colour() -> None:
    dataset = in_colour(np.repeat(eight_bits()[..., None], 3, axis=2))
    dataset.PlanarConfiguration = 1
    dataset.PixelData = eight_bits().tobytes() * 3
    assert np.array_equal(read_radiograph(dataset).display, eight_bits())


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_jpeg_in_colour(photometric: str) -> None:
    grey = np.repeat(eight_bits()[..., None], 3, axis=2)
    options = {"colorspace": "RGB", "outcolorspace": "RGB" if photometric == "RGB" else "YCBCR"}
    frame = bytes(imagecodecs.jpeg8_encode(grey, level=98, **options))
    dataset = encapsulated(grey, uid.JPEGBaseline8Bit, frame)
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = photometric, 0
    shown = read_radiograph(dataset).display.astype(int)
    assert np.abs(shown - eight_bits()).max() <= 12


def test_colour_is_refused() -> None:
    channels = np.repeat(eight_bits()[..., None], 3, axis=2)
    channels[40:50, 40:50, 0] += 30
    with pytest.raises(UnsupportedRadiographError, match="colour"):
        read_radiograph(in_colour(channels))
