"""The grayscale pipeline: tables, windows, rescale and padding, sound and absurd."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from edge_runtime.errors import RadiographError
from edge_runtime.radiograph import Radiograph, read_radiograph
from tests.edge_runtime.codings import as_file
from tests.edge_runtime.films import film, ramp

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

VALUES = ramp()[0].astype(float)


def read(pixels: np.ndarray | None = None, **attributes: object) -> Radiograph:
    return read_radiograph(film(pixels, **attributes))


def row(pixels: np.ndarray | None = None, **attributes: object) -> np.ndarray:
    """The first row as displayed, 0..1."""
    return read(pixels, **attributes).display[0] / 65535.0


def table(
    descriptor: list[int], data: bytes | list[int], explanation: str | None = None
) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = descriptor
    item.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    if explanation:
        item.LUTExplanation = explanation
    return item


def words(values: np.ndarray) -> bytes:
    return values.round().astype("<u2").tobytes()


RISING = words(np.linspace(0, 4095, 1001))
FALLING = words(np.linspace(4095, 0, 1001))

# Several choices: tables before windows, the first of each, and a note.


def test_a_table_comes_before_a_window() -> None:
    item = table([1001, 0, 12], FALLING)
    both = read(VOILUTSequence=[item], WindowCenter=500, WindowWidth=1000)
    assert np.array_equal(both.display, read(VOILUTSequence=[item]).display)
    assert "2 windows or VOI LUTs: number 1 is shown" in both.notes


def test_the_first_of_several_tables_is_used() -> None:
    several = read(VOILUTSequence=[table([1001, 0, 12], RISING), table([1001, 0, 12], FALLING)])
    assert several.display[0, 0] < several.display[0, -1]


ABSURD_WINDOWS = [(500, 0), (500, -7), ("1e300", 100), (-9000, 10), (500, "1e300"), (90000, 1)]


@pytest.mark.parametrize(("centre", "width"), ABSURD_WINDOWS)
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", "FOO"])
def test_an_absurd_window_is_passed_over(centre: object, width: object, function: str) -> None:
    one = read(WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    assert "no window or VOI LUT in the header shows anything" in one.notes[0]
    assert np.array_equal(one.display, read().display)
    second = read(WindowCenter=[centre, 400], WindowWidth=[width, 200], VOILUTFunction=function)
    expected = read(WindowCenter=400, WindowWidth=200, VOILUTFunction=function)
    assert np.array_equal(second.display, expected.display)
    assert "number 2 is shown" in second.notes[1]


def test_windows_narrower_than_a_value() -> None:
    # LINEAR has no width below 1 (PS3.3 C.11.2.1.2.1); LINEAR_EXACT has.
    assert "shows anything" in read(WindowCenter=400, WindowWidth=0.5).notes[0]
    step = row(WindowCenter=400.5, WindowWidth=0.5, VOILUTFunction="LINEAR_EXACT")
    assert np.array_equal(step, (VALUES > 400.5).astype(float))
    assert set(row(WindowCenter=400, WindowWidth=1)) == {0.0, 1.0}


def test_one_centre_without_a_width() -> None:
    assert read(WindowCenter=400).notes[0].startswith("no window in the header")
    assert np.array_equal(
        read(WindowCenter=[400, 500], WindowWidth=200).display,
        read(WindowCenter=400, WindowWidth=200).display,
    )


# Tables.


def test_a_table_of_bytes() -> None:
    data = np.linspace(0, 255, 1001).round().astype(np.uint8)
    for packed in (data.tobytes() + b"\0", np.frombuffer(data.tobytes() + b"\0", "<u2").tolist()):
        shown = row(VOILUTSequence=[table([1001, 0, 8], packed)])
        assert np.abs(shown - data[VALUES.astype(int)] / 255).max() < 1e-4


def test_a_table_of_65536_entries_says_0() -> None:
    item = table([0, 0, 16], words(np.arange(65536)[::-1]))
    pixels = ramp(top=65535)
    assert np.abs(row(pixels, VOILUTSequence=[item]) - (1 - pixels[0] / 65535)).max() < 1e-4


@pytest.mark.parametrize("first", [-500, 65036])
def test_the_first_value_mapped_may_be_negative(first: int) -> None:
    """Written as signed or, by the bits, as unsigned (PS3.3 C.11.2.1.1)."""
    signed = (ramp().astype(np.int32) - 500).astype(np.int16)
    item = table([1001, 0, 12], RISING)
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [1001, first, 12])
    shown = row(signed, VOILUTSequence=[item])
    assert np.abs(shown - VALUES / 1000).max() < 1e-3


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_tables_in_other_codings(syntax: str) -> None:
    """Words of a table follow the byte order of the file, and implicit VR does not name them."""
    big = syntax == uid.ExplicitVRBigEndian
    order = ">u2" if big else "<u2"
    item = table([1001, 0, 12], np.linspace(4095, 0, 1001).round().astype(order).tobytes())
    dataset = film(VOILUTSequence=[item])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = ramp().astype(order).tobytes()
    shown = read_radiograph(dataset).display
    assert np.array_equal(shown, read(VOILUTSequence=[table([1001, 0, 12], FALLING)]).display)


def test_values_beyond_a_table_take_its_ends() -> None:
    shown = row(
        VOILUTSequence=[table([101, 450, 8], bytes(np.arange(50, 151, dtype=np.uint8)) + b"\0")]
    )
    assert shown[0] == pytest.approx(50 / 255, abs=1e-4)
    assert shown[-1] == pytest.approx(150 / 255, abs=1e-4)


def test_entries_wider_than_the_descriptor_says() -> None:
    shown = row(VOILUTSequence=[table([1001, 0, 8], RISING)])
    assert np.abs(shown - VALUES / 1000).max() < 1e-3


@pytest.mark.parametrize(
    "item",
    [
        table([1001, 0, 12], b""),
        table([1001, 0], RISING),
        table([1001, 0, 12], words(np.full(1001, 7))),
        Dataset(),
    ],
    ids=["no entries", "short descriptor", "one shade", "empty"],
)
def test_a_table_that_shows_nothing_is_passed_over(item: Dataset) -> None:
    radiograph = read(VOILUTSequence=[item], WindowCenter=400, WindowWidth=200)
    expected = read(WindowCenter=400, WindowWidth=200)
    assert np.array_equal(radiograph.display, expected.display)
    assert "passed over" in radiograph.notes[0]


def test_a_modality_table_comes_before_the_window() -> None:
    item = table([1001, 0, 12], words(np.arange(1001) * 2))
    looked_up = row(ModalityLUTSequence=[item], WindowCenter=1000, WindowWidth=2000)
    assert np.abs(looked_up - row(WindowCenter=500, WindowWidth=1000)).max() < 1e-3


def test_a_modality_table_that_cannot_be_read() -> None:
    radiograph = read(ModalityLUTSequence=[Dataset()], WindowCenter=500, WindowWidth=1000)
    assert "modality LUT that cannot be read" in radiograph.notes[0]
    expected = read(WindowCenter=500, WindowWidth=1000)
    assert np.array_equal(radiograph.display, expected.display)


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0, 0), (0, 5), ("1e300", 0), (1, "1e300"), ("1e-300", 1)]
)
def test_an_absurd_rescale_is_passed_over(slope: object, intercept: object) -> None:
    radiograph = read(
        RescaleSlope=slope, RescaleIntercept=intercept, WindowCenter=500, WindowWidth=900
    )
    assert "rescale" in radiograph.notes[0]
    assert np.array_equal(radiograph.display, read(WindowCenter=500, WindowWidth=900).display)


def test_a_slope_without_an_intercept() -> None:
    doubled = row(RescaleSlope=2, WindowCenter=1000, WindowWidth=2000)
    assert np.abs(doubled - row(WindowCenter=500, WindowWidth=1000)).max() < 1e-3


# Bits.


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
@pytest.mark.parametrize("stored", [8, 10, 12, 14, 16])
def test_bits_beyond_those_stored_do_not_count(kind: type, stored: int) -> None:
    """Overlays lay there once (PS3.5 8.1.1)."""
    low = 0 if kind is np.uint16 else -(1 << (stored - 1))
    values = (low + ramp(top=(1 << stored) - 1).astype(np.int64)).astype(kind)
    rubbish = np.random.default_rng(1).integers(0, 1 << (16 - stored), values.shape) << stored
    mask = (1 << stored) - 1
    dirty = ((values.astype(np.int64) & mask) | rubbish).astype(np.uint16).view(kind)
    bits = {"BitsStored": stored, "HighBit": stored - 1}
    assert np.array_equal(read(dirty, **bits).display, read(values).display)


def test_eight_bit_films() -> None:
    pixels = ramp(top=255).astype(np.uint8)
    assert np.abs(row(pixels, WindowCenter=128, WindowWidth=256) - pixels[0] / 255).max() < 1e-4
    signed = (pixels.astype(int) - 128).astype(np.int8)
    assert np.abs(row(signed, WindowCenter=0, WindowWidth=256) - pixels[0] / 255).max() < 1e-4


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_values_in_the_highest_bits(kind: type) -> None:
    values = (ramp(top=4000).astype(int) - (0 if kind is np.uint16 else 2000)).astype(kind)
    high = (values << 4) | (np.arange(100) % 16).astype(kind)
    shown = read(high.astype(kind), BitsStored=12, HighBit=15)
    assert np.array_equal(shown.display, read(values).display)


def test_a_high_bit_that_contradicts_the_pixels() -> None:
    pixels = ramp(top=4000)
    wrong = read(pixels, BitsStored=12, HighBit=15)
    assert np.array_equal(wrong.display, read(pixels).display)
    assert "HighBit contradicts" in wrong.notes[0]
    assert np.array_equal(read(pixels, BitsStored=12, HighBit=3).display, read(pixels).display), (
        "below the bits stored it means nothing"
    )


# Padding.


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_padding_is_told_by_its_bits(vr: str) -> None:
    """-2000 on a signed film is written as 63536 by writers that know no SS."""
    pixels = ramp().astype(np.int16)
    pixels[:, :20] = -2000
    dataset = film(pixels)
    dataset.add_new("PixelPaddingValue", vr, -2000 if vr == "SS" else 63536)
    assert np.ptp(read_radiograph(dataset).display[:, :20]) == 0
    assert read_radiograph(dataset).display[0, 20] == 0
    assert read_radiograph(dataset).display[0, 30] > 0


@pytest.mark.parametrize(("value", "limit"), [(0, 99), (99, 0)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_range_of_padding_is_black(value: int, limit: int, photometric: str) -> None:
    shown = row(
        PixelPaddingValue=value,
        PixelPaddingRangeLimit=limit,
        PhotometricInterpretation=photometric,
        RescaleSlope=1,
        RescaleIntercept=500,
    )
    assert (shown[VALUES <= 99] == 0).all(), "padding is a stored value, before any rescale"
    assert shown[VALUES > 99].max() == 1.0


def test_padding_of_everything_is_none() -> None:
    shown = read(PixelPaddingValue=0, PixelPaddingRangeLimit=65535)
    assert np.array_equal(shown.display, read().display)


# What would turn the film around once more.


def test_a_shape_that_contradicts_is_noted() -> None:
    radiograph = read(PresentationLUTShape="INVERSE")
    assert any("contradicts MONOCHROME2" in note for note in radiograph.notes)
    agreeing = read(PresentationLUTShape="INVERSE", PhotometricInterpretation="MONOCHROME1")
    assert not any("contradicts" in note for note in agreeing.notes)


def test_a_presentation_table_is_noted() -> None:
    radiograph = read(PresentationLUTSequence=[table([1001, 0, 12], FALLING)])
    assert any("Presentation LUT" in note for note in radiograph.notes)
    assert np.array_equal(radiograph.display, read().display)


# Whatever a header says, the film is shown within its range or refused by one typed error.

DECIMALS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64).map(lambda x: f"{x:.9e}"),
    st.integers(-70000, 70000).map(str),
    st.sampled_from(["", "nan", "inf", "-0", "1e300", "1e-300", "0.5", "x", "1,5", "١"]),
)
WORDS = st.integers(-32768, 65535)


@st.composite
def tables(draw: st.DrawFn) -> Dataset:
    item = Dataset()
    descriptor = draw(st.lists(st.integers(0, 65535), min_size=0, max_size=4))
    item.add_new("LUTDescriptor", "US", descriptor)
    if draw(st.booleans()):
        item.add_new("LUTData", "OW", draw(st.binary(max_size=600)))
    else:
        item.add_new("LUTData", "US", draw(st.lists(st.integers(0, 65535), max_size=300)))
    return item


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "WindowCenter": st.lists(DECIMALS, max_size=3),
        "WindowWidth": st.lists(DECIMALS, max_size=3),
        "VOILUTFunction": st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", "sigmoid", "?"]),
        "RescaleSlope": DECIMALS,
        "RescaleIntercept": DECIMALS,
        "VOILUTSequence": st.lists(tables(), max_size=2),
        "ModalityLUTSequence": st.lists(tables(), max_size=2),
        "PixelPaddingValue": WORDS,
        "PixelPaddingRangeLimit": WORDS,
        "PixelSpacing": st.lists(DECIMALS, max_size=3),
        "ImagerPixelSpacing": st.lists(DECIMALS, max_size=3),
        "NominalScannedPixelSpacing": st.lists(DECIMALS, max_size=3),
        "EstimatedRadiographicMagnificationFactor": DECIMALS,
        "PixelAspectRatio": st.lists(DECIMALS, max_size=3),
        "PatientAge": st.text(max_size=6),
        "PatientBirthDate": st.text("0123456789.²x", max_size=10),
        "StudyDate": st.text("0123456789.²x", max_size=10),
        "PatientSex": st.text(max_size=4),
        "BodyPartExamined": st.text(max_size=20),
        "PhotometricInterpretation": st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
        "PresentationLUTShape": st.sampled_from(["IDENTITY", "INVERSE", ""]),
        "BitsStored": st.integers(0, 17),
        "HighBit": st.integers(0, 17),
    },
)
# Written as UN, which the reader takes for what the dictionary says, any text can be their value.
TEXTS = frozenset(
    {
        *("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "PixelSpacing"),
        *("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio", "PatientAge"),
        *("EstimatedRadiographicMagnificationFactor", "PatientBirthDate", "StudyDate"),
        *("PatientSex", "BodyPartExamined"),
    }
)


def as_unknown(keyword: str, value: object) -> bytes:
    """An element of explicit VR, little endian."""
    text = "\\".join(value) if isinstance(value, list) else str(value)
    data = text.encode("utf-8")
    data += b" " * (len(data) % 2)
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"UN", 0, len(data)) + data


def check_any_header(header: dict[str, object], signed: bool, top: int) -> None:
    pixels = ramp(top=top)
    dataset = film(pixels.astype(np.int16) if signed else pixels)
    raw = b""
    for keyword, value in header.items():
        if keyword in TEXTS:
            raw += as_unknown(keyword, value)
        elif keyword.startswith("PixelPadding"):
            assert isinstance(value, int)
            dataset.add_new(keyword, "SS" if value < 0 else "US", min(value, 65535))
        else:
            setattr(dataset, keyword, value)
    head, pixel_data, rest = as_file(dataset).partition(b"\xe0\x7f\x10\0OW")
    try:
        radiograph = read_radiograph(head + raw + pixel_data + rest)
    except RadiographError as error:
        assert "\n" not in str(error)
        event(type(error).__name__)
        return
    event("read")
    assert radiograph.display.shape == pixels.shape
    assert radiograph.display.dtype == np.uint16
    assert radiograph.age_years is None or 0 <= radiograph.age_years <= 120
    assert radiograph.sex in {None, "F", "M", "O"}
    for side in radiograph.pixel_spacing_mm or ():
        assert 0.001 <= side <= 10


def any_header(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same examples each time."""
    options = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    values = given(header=HEADERS, signed=st.booleans(), top=st.sampled_from([0, 1, 1000, 65535]))
    return lambda test: options(values(test))


@any_header(100)
def test_any_header(header: dict[str, object], signed: bool, top: int) -> None:
    check_any_header(header, signed, top)


@pytest.mark.nightly
@any_header(1000)
def test_many_headers(header: dict[str, object], signed: bool, top: int) -> None:
    check_any_header(header, signed, top)
