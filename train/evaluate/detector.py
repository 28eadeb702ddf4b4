"""A picture as an X-ray unit would have sent it, to measure what the DICOM path changes.

One picture becomes one Digital X-Ray object of detector size. Depth, sense of grey, exposure and
the way it is meant to be shown are drawn for it: the device has to undo all of them.
"""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset

from edge_runtime.preprocess import DisplayImage
from train.dataset.dicom_writer import PatientFacts, StudyFacts, radiograph_dataset

Shown = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID", "LUT"]
SHOWN: tuple[Shown, ...] = get_args(Shown)

# Longest side in pixels of the flat panels in use; a picture that is larger stays as it is.
_LONGEST_SIDE = (2000, 3072)
# A sigmoid never reaches black or white.
_SIGMOID_ENDS = 1e-3

Unit = npt.NDArray[np.float64]


def as_detector_image(display: DisplayImage, name: str, seed: int) -> FileDataset:
    """Wrap a picture.

    Parameters
    ----------
    display
        (rows, columns), uint8 or uint16 over its full range, dark is 0.
    name
        Patient and image in the header.
    seed
        Draws the bits stored (12, 14 or 16), MONOCHROME1 or 2, the part of the stored range that
        the exposure used, a window (PS3.3 C.11.2.1.2, LINEAR, LINEAR_EXACT or SIGMOID) or a VOI
        LUT (PS3.3 C.11.2.1.1), and the detector's size. The same seed, the same film.

    Returns
    -------
    pydicom.dataset.FileDataset
        Shown as its header says, it looks like ``display`` but for resampling and rounding.
    """
    rng = np.random.default_rng(seed)
    bits = int(rng.choice([12, 14, 16]))
    inverted = bool(rng.integers(2))
    shown = SHOWN[rng.integers(len(SHOWN))]
    # Under- and over-exposure: the film lies somewhere in the range, and need not fill it.
    full = 2**bits - 1
    low = round(full * rng.uniform(0.0, 0.3))
    high = round(full * rng.uniform(0.7, 1.0))
    gamma = float(rng.uniform(0.7, 1.4))
    grey = _enlarged(display, int(rng.integers(*_LONGEST_SIDE, endpoint=True)))
    exposed = _expose(1.0 - grey if inverted else grey, shown, gamma)
    wrapped = radiograph_dataset(
        np.rint(low + exposed * (high - low)).astype(np.uint16),
        bits_stored=bits,
        photometric="MONOCHROME1" if inverted else "MONOCHROME2",
        patient=PatientFacts(patient_id=name, name=""),
        # The picture does not say; the spacing changes nothing in the screening.
        study=StudyFacts(study_id=name, image_id=name, spacing_mm=0.15),
    )
    _say_how_to_show(wrapped, shown, gamma, low, high)
    return wrapped


def _enlarged(display: DisplayImage, longest: int) -> Unit:
    """Return grey levels 0..1 at detector size."""
    scale = longest / max(display.shape)
    levels = display.astype(np.float64) / np.iinfo(display.dtype).max
    if scale <= 1.0:
        return levels
    larger = cv2.resize(levels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(larger, 0.0, 1.0), np.float64)


def _expose(grey: Unit, shown: Shown, gamma: float) -> Unit:
    """Return the share 0..1 of the exposed range that will be shown as ``grey``."""
    if shown == "LUT":
        return np.asarray(grey**gamma)
    if shown == "SIGMOID":
        # PS3.3 C.11.2.1.3.1, solved for the input; the range holds all but a thousandth.
        level = np.clip(grey, _SIGMOID_ENDS, 1.0 - _SIGMOID_ENDS)
        reach = np.log(1.0 / _SIGMOID_ENDS - 1.0)
        return np.asarray(0.5 - np.log(1.0 / level - 1.0) / (2.0 * reach))
    return grey


def _say_how_to_show(ds: Dataset, shown: Shown, gamma: float, low: int, high: int) -> None:
    if shown == "LUT":
        del ds.WindowCenter, ds.WindowWidth
        share = np.linspace(0.0, 1.0, high - low + 1)
        table = Dataset()
        table.LUTDescriptor = [len(share), low, 16]
        table["LUTDescriptor"].VR = "US"
        table.LUTData = np.rint(share ** (1.0 / gamma) * 65535.0).astype("<u2").tobytes()
        table["LUTData"].VR = "OW"
        ds.VOILUTSequence = [table]
        return
    ds.VOILUTFunction = shown
    centre, width = (low + high) / 2.0, float(high - low)
    if shown == "LINEAR":
        # Defined with half a step and one level less (PS3.3 C.11.2.1.2.1).
        centre, width = centre + 0.5, width + 1.0
    if shown == "SIGMOID":
        width *= 2.0 / float(np.log(1.0 / _SIGMOID_ENDS - 1.0))
    ds.WindowCenter, ds.WindowWidth = f"{centre:.6g}", f"{width:.6g}"
