"""Read one radiograph from DICOM, PNG or JPEG into display pixels and the facts beside them.

Display pixels follow PS3.4 N.2 (the grayscale pipeline): modality LUT or rescale, then VOI LUT or
window, then the inversion that MONOCHROME1 asks for, once. All three act on single stored values,
so they are worked out on a table of at most 65,536 entries and the film is looked up in it
(:mod:`edge_runtime.lookup`).
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi
from pydicom.uid import UID, SecondaryCaptureImageStorage

from edge_runtime.dicom_codecs import register_codecs
from edge_runtime.digest import FileDigest
from edge_runtime.errors import (
    CorruptRadiographError,
    NotARadiographError,
    RadiographError,
    TransferSyntaxError,
    UnsupportedRadiographError,
)
from edge_runtime.lookup import count, look_up, values_between
from edge_runtime.preprocess import DisplayImage

T = TypeVar("T")

RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG"})
# The largest flat-panel detectors in use give 4,300 x 4,300; a header may claim 65,535 x 65,535.
MAX_PIXELS = 40_000_000
MIN_SIDE = 64
# Without a window, the darkest and brightest 0.5 % (burned-in letters, dead pixels) do not count.
DEFAULT_WINDOW_PERCENTILES = (0.5, 99.5)
# Coloured means that channels differ by more than JPEG's chroma rounding does on a grey film.
GREY_TOLERANCE = 8

_PNG_MAGIC, _JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
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
    if isinstance(source, Dataset):
        buffer = io.BytesIO()
        source.save_as(buffer, enforce_file_format=True)
        name, data = "dataset", buffer.getvalue()
    elif isinstance(source, bytes):
        name, data = "bytes", source
    else:
        path = Path(source)
        name = path.name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotARadiographError("no such file", "Check the path", str(source)) from None
        except OSError as error:
            raise CorruptRadiographError(
                f"cannot be read ({error.strerror})", "Check the disk and the permissions", name
            ) from None
    digest = FileDigest(data)
    if data.startswith((_PNG_MAGIC, _JPEG_MAGIC)):
        return _from_picture(data, digest, name, started)
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
    return head[128:132] == b"DICM" or head.startswith((_PNG_MAGIC, _JPEG_MAGIC))


def _from_picture(data: bytes, digest: FileDigest, name: str, started: float) -> Radiograph:
    png = data.startswith(_PNG_MAGIC)
    # OpenCV fills what is missing of a truncated file with grey and says so only on stderr.
    complete = b"IEND" in data[-64:] if png else b"\xff\xd9" in data[-4096:]
    pixels: npt.NDArray[Any] | None = None
    if complete:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise CorruptRadiographError(
            "the picture is truncated or damaged", "Export it again from its source", name
        )
    if pixels.ndim == 3:
        colour = pixels[:, :, :3].astype(np.int32)
        if int((colour.max(axis=2) - colour.min(axis=2)).max()) > GREY_TOLERANCE:
            raise UnsupportedRadiographError(
                "a colour picture, not a radiograph", "Export the film as greyscale", name
            )
        pixels = pixels[:, :, 1]
    notes: tuple[str, ...] = ("no pixel spacing: sizes are in pixels",)
    parsed = time.perf_counter()
    if pixels.dtype == np.uint16:
        values = values_between(pixels)
        low, high = (int(values[entry]) for entry in _percentile_window(count(pixels, values)))
        shown = _linear(values.astype(np.float64), low, high)
        pixels = look_up(pixels, values, _to_display(shown))
        notes += ("16 bits without a window: shown from percentile 0.5 to 99.5",)
    elif pixels.dtype != np.uint8:
        raise UnsupportedRadiographError(
            f"pixels of type {pixels.dtype}", "Export the film as 8 or 16 bit greyscale", name
        )
    _check_size(pixels.shape[0], pixels.shape[1], name)
    return Radiograph(
        display=np.ascontiguousarray(pixels),
        source=name,
        digest=digest,
        notes=notes,
        timings_ms=_timings(started, parsed),
    )


def _from_dicom(data: bytes, digest: FileDigest, name: str, started: float) -> Radiograph:
    register_codecs()
    dataset = _parse(data, name)
    _check_kind(dataset, name)
    parsed = time.perf_counter()
    stored = _decode(dataset, name)
    display, notes = _display(dataset, stored, name)
    spacing = _spacing(dataset)
    if spacing is None:
        notes = (*notes, "no pixel spacing: sizes are in pixels")
    return Radiograph(
        display=display,
        source=name,
        digest=digest,
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        study_instance_uid=_text(dataset, "StudyInstanceUID"),
        modality=_text(dataset, "Modality"),
        pixel_spacing_mm=spacing,
        age_years=_age_years(dataset),
        sex=(_text(dataset, "PatientSex") or "").upper() or None,
        body_part=_text(dataset, "BodyPartExamined"),
        view=_text(dataset, "ViewPosition"),
        laterality=_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"),
        notes=notes,
        timings_ms=_timings(started, parsed),
    )


def _parse(data: bytes, name: str) -> Dataset:
    not_dicom = NotARadiographError(
        "not a DICOM, PNG or JPEG file", "Leave it out, or export the film as DICOM", name
    )
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
    except InvalidDicomError:
        # Some units write the data set without its preamble and file meta information.
        dataset = _quietly(lambda: pydicom.dcmread(io.BytesIO(data), force=True), not_dicom)
        if _quietly(lambda: _text(dataset, "SOPClassUID"), not_dicom) is None:
            raise not_dicom from None
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    except Exception as error:
        # pydicom raises whatever the parser trips over (struct, Value, Attribute, Recursion ...).
        raise CorruptRadiographError(
            f"the DICOM file cannot be parsed ({type(error).__name__})", "Send the film again", name
        ) from None
    return dataset


def _quietly(read: Callable[[], T], failure: RadiographError) -> T:
    try:
        return read()
    except Exception:
        raise failure from None


def _check_kind(dataset: Dataset, name: str) -> None:
    """Refuse, before any pixel is decoded, what is not a single-frame grey radiograph."""
    corrupt = CorruptRadiographError(
        "the DICOM header holds values that cannot be read", "Send the film again", name
    )
    modality = _quietly(lambda: _text(dataset, "Modality"), corrupt)
    if "PixelData" not in dataset:
        raise NotARadiographError(
            "a DICOM object without pixels", "Leave it out: there is nothing to screen", name
        )
    secondary_capture = (
        _quietly(lambda: _text(dataset, "SOPClassUID"), corrupt) == SecondaryCaptureImageStorage
    )
    if modality not in RADIOGRAPH_MODALITIES and not (
        secondary_capture and modality in {None, "OT", "SC"}
    ):
        raise UnsupportedRadiographError(
            f"modality {modality or 'missing'}, not a radiograph",
            "Send plain films only (CR, DX, RG)",
            name,
        )
    frames = _quietly(lambda: int(dataset.get("NumberOfFrames") or 1), corrupt)
    if frames != 1:
        raise UnsupportedRadiographError(
            f"a multi-frame image ({frames} frames)", "Send single films", name
        )
    samples = _quietly(lambda: int(dataset.get("SamplesPerPixel") or 1), corrupt)
    photometric = _quietly(lambda: _text(dataset, "PhotometricInterpretation"), corrupt)
    if samples != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise UnsupportedRadiographError(
            f"a colour image ({photometric or 'unknown'}, {samples} samples per pixel)",
            "Send the original greyscale film",
            name,
        )
    if _quietly(lambda: _text(dataset, "PresentationIntentType"), corrupt) == "FOR PROCESSING":
        raise UnsupportedRadiographError(
            "raw detector data (FOR PROCESSING)", "Send the FOR PRESENTATION film", name
        )
    rows = _quietly(lambda: int(dataset.get("Rows") or 0), corrupt)
    columns = _quietly(lambda: int(dataset.get("Columns") or 0), corrupt)
    _check_size(rows, columns, name)


def _check_size(rows: int, columns: int, name: str) -> None:
    if min(rows, columns) < MIN_SIDE:
        raise UnsupportedRadiographError(
            f"only {columns} x {rows} pixels", "Send the film at its full size", name
        )
    if rows * columns > MAX_PIXELS:
        raise UnsupportedRadiographError(
            f"{columns} x {rows} pixels, more than any detector has",
            "Check the header, or send the film at its detector's size",
            name,
        )


def _decode(dataset: Dataset, name: str) -> npt.NDArray[np.integer]:
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise TransferSyntaxError(
            f"transfer syntax {syntax.name or 'missing'} is not one for images",
            "Send the film uncompressed (Explicit VR Little Endian)",
            name,
        ) from None
    if not decoder.is_available:
        raise TransferSyntaxError(
            f"no installed decoder reads transfer syntax {syntax.name}",
            "Send the film uncompressed (Explicit VR Little Endian)",
            name,
        )
    try:
        pixels = dataset.pixel_array
    except Exception as error:
        # The decoders (C libraries and pydicom's checks) have no common exception.
        raise CorruptRadiographError(
            f"the pixels cannot be decoded ({syntax.name}, {type(error).__name__})",
            "Send the film again",
            name,
        ) from None
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 2:
        raise UnsupportedRadiographError(
            f"pixels of shape {pixels.shape} and type {pixels.dtype}",
            "Send an 8 to 16 bit greyscale film",
            name,
        )
    return pixels


def _display(
    dataset: Dataset, stored: npt.NDArray[np.integer], name: str
) -> tuple[DisplayImage, tuple[str, ...]]:
    """Run the grayscale pipeline on a table of stored values and look the film up in it."""
    values = values_between(stored)
    padding = _padding(dataset, values)
    try:
        modality = np.asarray(apply_modality_lut(values, dataset), np.float64)
        shown, note = _voi(dataset, modality, lambda: np.where(padding, 0, count(stored, values)))
    except Exception as error:
        raise CorruptRadiographError(
            f"its lookup table or window cannot be applied ({type(error).__name__})",
            "Send the film again",
            name,
        ) from None
    if _text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        # PresentationLUTShape INVERSE says the same thing again (PS3.3 C.8.11.3): count it once.
        shown = 1.0 - shown
    shown[padding] = 0.0
    return look_up(stored, values, _to_display(shown)), (note,) if note else ()


def _padding(dataset: Dataset, values: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Mark the stored values that are no measurement (PS3.3 C.7.5.1.1.2)."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return np.zeros(len(values), bool)
    last = dataset.get("PixelPaddingRangeLimit", first)
    low, high = sorted((int(first), int(last)))
    return (values >= low) & (values <= high)


def _voi(
    dataset: Dataset,
    values: npt.NDArray[np.float64],
    counts: Callable[[], npt.NDArray[np.integer]],
) -> tuple[npt.NDArray[np.float64], str | None]:
    """Map modality values to 0..1 by VOI LUT, window or percentiles (PS3.3 C.11.2).

    ``counts`` tells how many pixels have each value; only percentiles need it, and it is slow.
    """
    if dataset.get("VOILUTSequence"):
        looked_up = np.asarray(apply_voi(values.astype(np.int64), dataset), np.float64)
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return np.clip(looked_up / (2.0**bits - 1.0), 0.0, 1.0), None
    centre, width = _first_number(dataset, "WindowCenter"), _first_number(dataset, "WindowWidth")
    if centre is not None and width is not None and width > 0:
        function = (_text(dataset, "VOILUTFunction") or "LINEAR").upper()
        if function == "SIGMOID":
            return 1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width)), None
        if function == "LINEAR_EXACT":
            return _linear(values, centre - width / 2, centre + width / 2), None
        if width >= 1:
            half = (width - 1) / 2
            return _linear(values, centre - 0.5 - half, centre - 0.5 + half), None
    # A negative rescale slope turns the order of stored values around.
    order = np.argsort(values, kind="stable")
    darkest, brightest = _percentile_window(counts()[order])
    ordered: npt.NDArray[np.float64] = values[order]
    return (
        _linear(values, float(ordered[darkest]), float(ordered[brightest])),
        "no window in the header: shown from percentile 0.5 to 99.5",
    )


def _linear(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    if high <= low:
        return (values > low).astype(np.float64)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


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


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Return millimetres per pixel in the film; a calibrated value wins (PS3.3 10.7.1)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        try:
            row, column = (float(value) for value in dataset[keyword].value)
        except (KeyError, TypeError, ValueError):
            continue
        if 0.01 <= row <= 10.0 and 0.01 <= column <= 10.0:
            return row, column
    return None


def _age_years(dataset: Dataset) -> float | None:
    """Return the age from PatientAge (PS3.5 6.2, AS), or from the birth and study dates."""
    match = re.fullmatch(r"(\d{3})([DWMY])", _text(dataset, "PatientAge") or "")
    if match:
        per_year = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[match[2]]
        age = int(match[1]) / per_year
    else:
        birth, study = _text(dataset, "PatientBirthDate"), _text(dataset, "StudyDate")
        if not (birth and study and birth.isdigit() and study.isdigit()):
            return None
        age = (int(study[:4]) - int(birth[:4])) + (int(study[4:6]) - int(birth[4:6])) / 12.0
    return round(age, 2) if 0 <= age <= 120 else None


def _text(dataset: Dataset, keyword: str) -> str | None:
    value = dataset.get(keyword)
    text = str(value).strip() if value is not None else ""
    return text or None


def _first_number(dataset: Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    if value is not None and not isinstance(value, str) and hasattr(value, "__iter__"):
        value = next(iter(value), None)
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _timings(started: float, parsed: float) -> dict[str, float]:
    now = time.perf_counter()
    return {"read": (parsed - started) * 1e3, "decode": (now - parsed) * 1e3}
