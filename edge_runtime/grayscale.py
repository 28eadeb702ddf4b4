"""The grayscale pipeline of PS3.4 N.2 on a table of stored values: what the header says of it.

Headers hold windows of width 0 and tables without entries. What shows nothing of the film is passed
over for the next choice, and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from edge_runtime.dicom_header import integer, items, number, numbers, text, values

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
# Nothing that is measured comes near it, and twice as much is still a number.
_LARGEST = 1e15


def padding_mask(dataset: Dataset, stored: npt.NDArray[np.int32]) -> Flags:
    """Mark the stored values that are no measurement (PS3.3 C.7.5.1.1.2).

    Parameters
    ----------
    stored
        Every value from the film's lowest to its highest.

    Returns
    -------
    numpy.ndarray
        bool, same shape. All False where the header would have the whole film as padding.
    """
    first = integer(dataset, "PixelPaddingValue")
    last = integer(dataset, "PixelPaddingRangeLimit")
    if first is None:
        return np.zeros(len(stored), bool)
    limits = (first, first if last is None else last)
    low, high = sorted(_as_stored(dataset, limit) for limit in limits)
    mask = (stored >= low) & (stored <= high)
    return np.zeros(len(stored), bool) if mask.all() else mask


def modality_values(
    dataset: Dataset, stored: npt.NDArray[np.int32]
) -> tuple[Values, tuple[str, ...]]:
    """Apply the modality LUT or rescale slope and intercept (PS3.3 C.11.1).

    Returns
    -------
    values, notes
        float64, same shape, finite; ``stored`` itself where the header has neither.
    """
    measured = stored.astype(np.float64)
    tables = items(dataset, "ModalityLUTSequence")
    if tables:
        table = _read_table(tables[0], measured, dataset)
        if table is None:
            return measured, ("a modality LUT that cannot be read was passed over",)
        return table.look_up(measured), ()
    if "RescaleSlope" not in dataset and "RescaleIntercept" not in dataset:
        return measured, ()
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    slope = 1.0 if slope is None and "RescaleSlope" not in dataset else slope
    intercept = 0.0 if intercept is None and "RescaleIntercept" not in dataset else intercept
    if slope and intercept is not None and max(abs(slope), abs(intercept)) < _LARGEST:
        rescaled = measured * slope + intercept
        if len(rescaled) == 1 or rescaled[0] != rescaled[-1]:
            return rescaled, ()
    return measured, ("a rescale slope or intercept without meaning was passed over",)


def voi_values(
    dataset: Dataset, measured: Values, padding: Flags
) -> tuple[Values | None, tuple[str, ...]]:
    """Map modality values to 0..1 by VOI LUT or window (PS3.3 C.11.2).

    The standard leaves the choice among several to the reader. Ours: tables before windows, since a
    table holds all that the maker of the film knows of its display and a window only two numbers;
    among each the first, which writers list as their preferred one; and only what shows something
    of this film.

    Parameters
    ----------
    measured
        Modality values.
    padding
        Which of them are no measurement.

    Returns
    -------
    shown, notes
        float64 0..1, same shape, or None where no choice is left.
    """
    choices = _voi_choices(dataset, measured)
    varied = np.ptp(measured[~padding]) > 0
    for index, choice in enumerate(choices):
        shown = choice()
        if shown is None or (varied and np.ptp(shown[~padding]) * 65535.0 < 1.0):
            continue
        notes = ("a window or VOI LUT that shows nothing was passed over",) if index else ()
        if len(choices) > 1:
            notes = (*notes, f"{len(choices)} windows or VOI LUTs: number {index + 1} is shown")
        return shown, notes
    return None, ("no window or VOI LUT in the header shows anything",) if choices else ()


def linear(measured: Values, low: float, high: float) -> Values:
    """Return 0 up to ``low``, 1 from ``high`` on, and a straight line between them."""
    if high <= low:
        return (measured > low).astype(np.float64)
    return np.clip((measured - low) / (high - low), 0.0, 1.0)


class _Table(NamedTuple):
    """A lookup table: the value that its first entry stands for, and entries below 2**bits."""

    first: int
    entries: Values
    bits: int

    def look_up(self, measured: Values) -> Values:
        last = len(self.entries) - 1
        index = np.clip(np.rint(measured) - self.first, 0, last).astype(np.int64)
        looked_up: Values = self.entries[index]
        return looked_up


def _as_stored(dataset: Dataset, value: int) -> int:
    """Return a padding value as the pixels hold it: its VR says signed or unsigned at random."""
    span = 1 << (integer(dataset, "BitsAllocated") or 16)
    signed = integer(dataset, "PixelRepresentation") == 1
    value %= span
    return value - span if signed and value >= span // 2 else value


def _voi_choices(dataset: Dataset, measured: Values) -> list[Callable[[], Values | None]]:
    """Return each choice as a function that works it out: 0..1, or None where it is none."""
    function = (text(dataset, "VOILUTFunction") or "LINEAR").upper()

    def by_table(item: Dataset) -> Values | None:
        table = _read_table(item, measured, dataset)
        return None if table is None else table.look_up(measured) / (2.0**table.bits - 1.0)

    def by_window(centre: float | None, width: float | None) -> Values | None:
        return _window(measured, centre, width, function)

    windows = zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False)
    return [
        *(partial(by_table, item) for item in items(dataset, "VOILUTSequence")),
        *(partial(by_window, *window) for window in windows),
    ]


def _window(
    measured: Values, centre: float | None, width: float | None, function: str
) -> Values | None:
    """Apply a window (PS3.3 C.11.2.1.2 and C.11.2.1.3), None where it is none."""
    if centre is None or width is None or width <= 0 or max(abs(centre), width) > _LARGEST:
        return None
    if function == "SIGMOID":
        # Beyond 700, exp() is no number any more; the curve is flat from 40 on.
        steepness = np.clip(-4.0 * (measured - centre) / width, -700.0, 700.0)
        return 1.0 / (1.0 + np.exp(steepness))
    if function == "LINEAR_EXACT":
        return linear(measured, centre - width / 2, centre + width / 2)
    if width < 1:
        return None
    half = (width - 1) / 2
    return linear(measured, centre - 0.5 - half, centre - 0.5 + half)


def _read_table(item: Dataset, measured: Values, dataset: Dataset) -> _Table | None:
    """Read a LUT (PS3.3 C.11.1.1 and C.11.2.1.1), None where it has no entry."""
    descriptor = [value for value in numbers(item, "LUTDescriptor") if value is not None]
    if len(descriptor) != 3:
        return None
    count, first, bits = (int(value) for value in descriptor)
    # Read as signed or unsigned by the film's pixels, which is not always how it was written.
    count = count % 65536 or 65536
    if first < 0 <= measured.min() or (first > 32767 and measured.min() < 0):
        first += 65536 if first < 0 else -65536
    entries = _entries(item, count, dataset)
    if len(entries) == 0:
        return None
    # Descriptors say 8 bits of entries with 16 now and then: no entry may be cut.
    needed = max(int(entries.max()).bit_length(), 8)
    return _Table(first, entries.astype(np.float64), bits if needed <= bits <= 16 else needed)


def _entries(item: Dataset, count: int, dataset: Dataset) -> npt.NDArray[np.integer]:
    """Return LUT Data as it was written: bytes (OW) or whole numbers (US, SS)."""
    data = values(item, "LUTData")
    if len(data) == 1 and isinstance(data[0], bytes):
        raw = data[0]
        big = dataset.original_encoding[1] is False
    else:
        words = [value for value in data if isinstance(value, int)]
        raw, big = (np.asarray(words, np.int64) & 0xFFFF).astype("<u2").tobytes(), False
    # A table of bytes: two entries a word, and one to make the length even.
    if len(raw) in (count, count + 1) and len(raw) < 2 * count:
        return np.frombuffer(raw, np.uint8, count)
    return np.frombuffer(raw, ">u2" if big else "<u2", len(raw) // 2)[:count]
