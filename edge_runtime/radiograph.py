"""Read one radiograph from DICOM, PNG or JPEG into display pixels and the facts beside them.

Display pixels follow PS3.4 N.2 (the grayscale pipeline): modality LUT or rescale, then VOI LUT or
window, then the inversion that MONOCHROME1 asks for, once. All three act on single stored values,
so they are worked out on a table of at most 65,536 entries and the film is looked up in it
(:mod:`edge_runtime.lookup`).
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from edge_runtime.dicom_file import (
    MAX_FILE_BYTES,
    RADIOGRAPH_MODALITIES,
    StoredPixels,
    check_kind,
    decode_pixels,
    parse_dicom,
    parse_header,
)
from edge_runtime.dicom_header import age_years, body_part, pixel_spacing, sex, text
from edge_runtime.digest import FileDigest
from edge_runtime.errors import (
    CorruptRadiographError,
    NotARadiographError,
    RadiographError,
    UnsupportedRadiographError,
)
from edge_runtime.grayscale import Values, linear, modality_values, padding_mask, voi_values
from edge_runtime.lookup import count, look_up, values_between
from edge_runtime.pictures import PICTURE_MAGIC, decode_picture, grey_of
from edge_runtime.preprocess import DisplayImage

__all__ = [
    "DEFAULT_WINDOW_PERCENTILES",
    "DICOM_SUFFIXES",
    "IMAGE_SUFFIXES",
    "RADIOGRAPH_MODALITIES",
    "Radiograph",
    "find_radiographs",
    "identifiers",
    "looks_like_radiograph",
    "read_header",
    "read_radiograph",
]

# Without a window, the darkest and brightest 0.5 % (burned-in letters, dead pixels) do not count.
DEFAULT_WINDOW_PERCENTILES = (0.5, 99.5)
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_MAGIC_BYTES = max(map(len, PICTURE_MAGIC))
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic"})


@dataclass(frozen=True)
class Radiograph:
    """One 2-D projection image, ready to be looked at or screened.

    Attributes
    ----------
    display
        (rows, columns), uint8 0..255 or uint16 0..65535, dark is 0.
    source
        The file name, without its folder.
    digest
        Of the file's bytes.
    pixel_spacing_mm
        (between rows, between columns), or None where the film does not say.
    age_years, sex, body_part, view, laterality
        Context from the DICOM header; None where it is missing.
    notes
        What was assumed while reading, as short sentences.
    timings_ms
        `read` (parsing the file) and `decode` (pixels to display values), milliseconds.
    """

    display: DisplayImage
    source: str
    digest: FileDigest
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None
    modality: str | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    age_years: float | None = None
    sex: str | None = None
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    notes: tuple[str, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the file's bytes, 64 hexadecimal digits; waits until they are worked out."""
        return self.digest.hexdigest()


def read_radiograph(source: Path | str | bytes | Dataset) -> Radiograph:
    """Read a radiograph.

    Parameters
    ----------
    source
        A file, the bytes of one, or a pydicom data set. DICOM, PNG and JPEG are told apart by
        their content, not by their name.

    Returns
    -------
    Radiograph

    Raises
    ------
    NotARadiographError
        Neither DICOM nor PNG nor JPEG, or no pixels in it.
    UnsupportedRadiographError
        Colour, multi-frame, another modality, for processing, or implausibly small or large.
    TransferSyntaxError
        The pixels are coded in a way that no installed decoder reads.
    CorruptRadiographError
        Truncated, or header and pixels contradict each other.
    """
    started = time.perf_counter()
    name, data = _load(source)
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(len(data), name)
    digest = FileDigest(data)
    if bytes(data[:_MAGIC_BYTES]).startswith(PICTURE_MAGIC):
        return _from_picture(bytes(data), digest, name, started)
    return _from_dicom(data, digest, name, started)


def looks_like_radiograph(path: Path) -> bool:
    """Tell whether a file found in a folder should be tried: by its name or its first bytes."""
    if path.suffix.lower() in IMAGE_SUFFIXES | DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError:
        return False
    return head[128:132] == b"DICM" or head.startswith(PICTURE_MAGIC)


def find_radiographs(folder: Path) -> list[Path]:
    """Return the files of a folder, and of those in it, that should be tried, sorted."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith(".") and looks_like_radiograph(file)
    )


def _load(source: Path | str | bytes | Dataset) -> tuple[str, memoryview]:
    """Return the name and the bytes of what is to be read."""
    if isinstance(source, bytes):
        return "bytes", memoryview(source)
    if isinstance(source, Dataset):
        buffer = io.BytesIO()
        try:
            source.save_as(buffer, enforce_file_format=False)
        except Exception as error:
            raise CorruptRadiographError.because(
                "dataset", "dataset", error=type(error).__name__
            ) from None
        return "dataset", buffer.getbuffer()
    path = Path(source)
    with _readable(path), path.open("rb") as file:
        # NumPy takes huge pages where the system has them. To come by the small ones of a bytes
        # object, thousands for a film, takes longer than to read the film.
        content = np.empty(os.fstat(file.fileno()).st_size, np.uint8).data
        return path.name, content[: file.readinto(content)]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Refuse a file that is too large, and say in a film's terms why one cannot be read."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise _too_large(size, path.name)
        yield
    except FileNotFoundError:
        raise NotARadiographError.because("no_file", str(path)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CorruptRadiographError.because("disk", path.name, reason=reason) from None


def _too_large(size: int, name: str) -> UnsupportedRadiographError:
    return UnsupportedRadiographError.because("too_large", name, mib=size >> 20)


def identifiers(path: Path) -> tuple[str | None, str | None]:
    """Return SOP and Study Instance UID of a file, also where its film cannot be screened.

    None each where it has none, or is no DICOM file.
    """
    try:
        header = read_header(path)
    except RadiographError:
        # It has been refused for a reason of its own.
        return None, None
    return text(header, "SOPInstanceUID"), text(header, "StudyInstanceUID")


def read_header(path: Path) -> Dataset:
    """Return the elements of a DICOM file before its pixels, also where it cannot be screened.

    Raises
    ------
    NotARadiographError
        No such file, or no DICOM: a PNG or JPEG film has no header.
    UnsupportedRadiographError
        The file is larger than any film's.
    CorruptRadiographError
        The file cannot be read, or its header not be parsed.
    """
    with _readable(path):
        with path.open("rb") as file:
            is_picture = file.read(_MAGIC_BYTES).startswith(PICTURE_MAGIC)
        if is_picture:
            raise NotARadiographError.because("picture_header", path.name)
        return parse_header(path, None, path.name)[0]


def _from_picture(data: bytes, digest: FileDigest, name: str, started: float) -> Radiograph:
    pixels: npt.NDArray[Any] = decode_picture(data, name)
    notes: tuple[str, ...] = ("no pixel spacing: sizes are in pixels",)
    parsed = time.perf_counter()
    if pixels.dtype == np.uint16:
        values = values_between(pixels)
        shown = _default_window(values.astype(np.float64), count(pixels, values))
        pixels = look_up(pixels, values, _to_display(shown))
        notes += ("16 bits without a window: shown from percentile 0.5 to 99.5",)
    return Radiograph(
        display=np.ascontiguousarray(pixels),
        source=name,
        digest=digest,
        notes=notes,
        timings_ms=_timings(started, parsed),
    )


def _from_dicom(data: memoryview, digest: FileDigest, name: str, started: float) -> Radiograph:
    dataset = parse_dicom(data, name)
    check_kind(dataset, name)
    parsed = time.perf_counter()
    stored = decode_pixels(dataset, name)
    display: DisplayImage
    if stored.pixels.ndim == 3:
        display = grey_of(stored.pixels, name)
        shown_notes: tuple[str, ...] = ("a grey film coded in colour: shown as it is",)
    else:
        display, shown_notes = _display(dataset, stored)
    spacing, spacing_notes = pixel_spacing(dataset)
    return Radiograph(
        display=display,
        source=name,
        digest=digest,
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        study_instance_uid=text(dataset, "StudyInstanceUID"),
        modality=text(dataset, "Modality"),
        pixel_spacing_mm=spacing,
        age_years=age_years(dataset),
        sex=sex(dataset),
        body_part=body_part(dataset),
        view=text(dataset, "ViewPosition"),
        laterality=text(dataset, "ImageLaterality") or text(dataset, "Laterality"),
        notes=(*stored.notes, *shown_notes, *spacing_notes),
        timings_ms=_timings(started, parsed),
    )


def _display(dataset: Dataset, stored: StoredPixels) -> tuple[DisplayImage, tuple[str, ...]]:
    """Run the grayscale pipeline on a table of stored values and look the film up in it."""
    pixels, values, _ = stored
    padding = padding_mask(dataset, values)
    measured, notes = modality_values(dataset, values)
    shown, voi_notes = voi_values(dataset, measured, padding)
    if shown is None:
        # Counting is slow, and only percentiles need it.
        shown = _default_window(measured, np.where(padding, 0, count(pixels, values)))
        why = voi_notes[0] if voi_notes else "no window in the header"
        voi_notes = (f"{why}: shown from percentile 0.5 to 99.5",)
    dark_is_high = text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    if dark_is_high:
        shown = 1.0 - shown
    shown[padding] = 0.0
    display = look_up(pixels, values, _to_display(shown))
    return display, (*notes, *voi_notes, *_polarity_notes(dataset, dark_is_high))


def _polarity_notes(dataset: Dataset, dark_is_high: bool) -> tuple[str, ...]:
    """Name what would turn the film around once more and does not.

    PresentationLUTShape INVERSE says again what MONOCHROME1 says, and is wrong with MONOCHROME2
    (PS3.3 C.8.11.3); a Presentation LUT is none of an image's attributes (C.11.4, C.11.6).
    """
    inverse = (text(dataset, "PresentationLUTShape") or "").upper() == "INVERSE"
    notes = []
    if inverse and not dark_is_high:
        notes.append("PresentationLUTShape INVERSE contradicts MONOCHROME2 and was passed over")
    if "PresentationLUTSequence" in dataset:
        notes.append("a Presentation LUT, which no film has, was passed over")
    return tuple(notes)


def _default_window(measured: Values, counts: npt.NDArray[np.integer]) -> Values:
    # A negative rescale slope turns the order of stored values around.
    order = np.argsort(measured, kind="stable")
    darkest, brightest = _percentile_window(counts[order])
    ordered: Values = measured[order]
    return linear(measured, float(ordered[darkest]), float(ordered[brightest]))


def _percentile_window(counts: npt.NDArray[np.integer]) -> tuple[int, int]:
    """Return the two entries of a histogram between which the default window lies."""
    cumulative = np.cumsum(counts) / max(int(counts.sum()), 1)
    last = len(counts) - 1
    darkest, brightest = (
        min(int(np.searchsorted(cumulative, percentile / 100.0)), last)
        for percentile in DEFAULT_WINDOW_PERCENTILES
    )
    return darkest, brightest


def _to_display(shown: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    return np.rint(shown * 65535.0).astype(np.uint16)


def _timings(started: float, parsed: float) -> dict[str, float]:
    now = time.perf_counter()
    return {"read": (parsed - started) * 1e3, "decode": (now - parsed) * 1e3}
