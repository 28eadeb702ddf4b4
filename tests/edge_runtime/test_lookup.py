"""Films through tables: bit by bit what NumPy makes of every pixel on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_runtime import lookup
from edge_runtime.lookup import count, look_up, values_between
from edge_runtime.radiograph import read_radiograph
from tests.edge_runtime.films import film

Stored = npt.NDArray[np.integer]
SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@st.composite
def films(draw: st.DrawFn, types: tuple[str, ...], shapes: Any = SHAPES) -> Stored:
    """Films of any bits; some noise all over the range, some narrow, some of one value."""
    dtype = np.dtype(draw(st.sampled_from(types)))
    shape, limits = draw(shapes), np.iinfo(dtype)
    low = draw(st.integers(limits.min, limits.max))
    high = draw(st.integers(low, limits.max))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return generator.integers(low, high, shape, endpoint=True).astype(dtype)


@pytest.fixture(scope="module", params=["as installed", "8 bits only"], autouse=True)
def opencv(request: pytest.FixtureRequest) -> Any:
    """OpenCV 5, and what is done with one that looks up 8 bits only."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "8 bits only":
            patch.setattr(lookup, "_OPENCV_TAKES_16_BITS", False)
            patch.setattr(lookup, "_CACHED", 100)
            patch.setattr(lookup, "_COUNTED", 100)
        yield


@settings(deadline=None)
@given(films(("u1", "i1", "<u2", "<i2", ">u2", ">i2")), st.booleans())
def test_tables_are_numpy_indexing(pixels: Stored, view: bool) -> None:
    pixels = pixels[::-1, ::2] if view else pixels
    values = values_between(pixels)
    assert (values[0], values[-1]) == (pixels.min(), pixels.max())
    table = np.random.default_rng(1).integers(0, 65536, len(values)).astype(np.uint16)
    index = pixels.astype(np.int64) - int(values[0])
    found = look_up(pixels, values, table)
    assert found.dtype == np.uint16
    assert found.flags.c_contiguous
    assert np.array_equal(found, table[index])
    assert np.array_equal(count(pixels, values), np.bincount(index.ravel(), minlength=len(values)))


def test_counts_are_exact_where_float32_is_not() -> None:
    # 2^24 + 1 pixels of one value: a count in float32 stops at 2^24.
    pixels = np.zeros((4097, 4096), np.uint16)
    pixels[0, 0] = 1
    assert list(count(pixels, values_between(pixels))) == [pixels.size - 1, 1]


def displayed(
    stored: Stored, window: tuple[float, float, str] | None, slope: float, intercept: float,
    padding: int | None, inverted: bool,
) -> npt.NDArray[np.uint16]:  # fmt: skip
    """The grayscale pipeline of PS3.4 N.2 as it is written there: on every pixel, in float."""
    values = stored.astype(np.float64) * slope + intercept
    padded = np.zeros(stored.shape, bool) if padding is None else stored == padding
    if window is None:
        ordered = np.sort(values[~padded])
        shares = np.arange(1, len(ordered) + 1) / len(ordered)
        low, high = ordered[np.searchsorted(shares, (0.005, 0.995))]
    else:
        centre, width, function = window
        if function == "LINEAR":
            half = (width - 1) / 2
            low, high = centre - 0.5 - half, centre - 0.5 + half
        else:
            low, high = centre - width / 2, centre + width / 2
    if window is not None and window[2] == "SIGMOID":
        shown = 1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))
    elif high <= low:
        shown = (values > low).astype(np.float64)
    else:
        shown = np.clip((values - low) / (high - low), 0.0, 1.0)
    shown = 1.0 - shown if inverted else shown
    return np.rint(np.where(padded, 0.0, shown) * 65535.0).astype(np.uint16)


# Where in the film's range, how much of it, and which curve: every window shows something of it.
WINDOWS = st.none() | st.tuples(
    st.floats(0.0, 1.0),
    st.floats(0.05, 2.0),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)


@settings(deadline=None)
@given(
    films(("u1", "<u2", "<i2"), st.tuples(st.integers(64, 80), st.integers(64, 80))),
    WINDOWS,
    st.sampled_from([(1.0, 0.0), (2.0, -100.0), (-1.0, 4095.0), (0.5, 7.0)]),
    st.booleans(),
    st.booleans(),
)
def test_display_values_are_those_of_every_pixel_on_its_own(
    stored: Stored, window: Any, rescale: tuple[float, float], padded: bool, inverted: bool
) -> None:
    slope, intercept = rescale
    attributes: dict[str, Any] = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    if window is not None:
        position, share, function = window
        ends = np.array([stored.min(), stored.max()]) * slope + intercept
        centre = round(ends.min() + position * np.ptp(ends))
        window = (centre, max(2, round(share * np.ptp(ends))), function)
        names = ("WindowCenter", "WindowWidth", "VOILUTFunction")
        attributes |= dict(zip(names, window, strict=True))
    # A film that is all padding has no default window to speak of.
    padding = int(stored[0, 0]) if padded and np.ptp(stored) > 0 else None
    if padding is not None:
        attributes["PixelPaddingValue"] = padding
    if inverted:
        attributes["PhotometricInterpretation"] = "MONOCHROME1"
    expected = displayed(stored, window, slope, intercept, padding, inverted)
    # A window that shows nothing of what was measured is passed over by the reader.
    measured = expected if padding is None else expected[stored != padding]
    assume(window is None or np.ptp(measured) > 0)
    assert np.array_equal(read_radiograph(film(stored, **attributes)).display, expected)
