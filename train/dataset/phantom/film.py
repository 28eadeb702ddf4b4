"""From line integrals to a processed film: exposure, noise, processing, collimation, marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from train.dataset.dicom_writer import Photometric
from train.dataset.phantom.texture import Field

# Effective linear attenuation per mm at about 60 keV (after NIST XCOM, rounded): fat, muscle,
# compact bone.
MU_FAT, MU_MUSCLE, MU_BONE = 0.0188, 0.0222, 0.058
NOTICE = "SYNTHETIC"


@dataclass(frozen=True)
class Centre:
    """One hospital's equipment and taste.

    Attributes
    ----------
    name, manufacturer, model
        As in the table and the DICOM header; plainly no real maker's.
    rows
        Smallest and largest number of rows; columns are 7/9 of them.
    photons
        Mean number of detected quanta per pixel without the patient.
    scatter
        Scattered over primary intensity.
    blur_px
        Sharpness of the detector, Gaussian sigma.
    enhance
        Strength of unsharp masking.
    contrast
        Slope of the display curve.
    shutter
        Display value, 0 to 1, of what the collimator kept dark.
    bits
        Stored bits.
    photometric
        What the centre writes; ``mixed`` for one with two kinds of unit.
    marker
        OpenCV font of the side marker.
    """

    name: str
    manufacturer: str
    model: str
    rows: tuple[int, int]
    photons: float
    scatter: float
    blur_px: float
    enhance: float
    contrast: float
    shutter: float
    bits: int
    photometric: Photometric | Literal["mixed"]
    marker: int


CENTRES = (
    Centre(
        "1", "Phantom Works", "Plate 12", (580, 660), 9000.0, 0.12, 0.7, 0.5, 4.2, 0.0, 12,
        "MONOCHROME2", cv2.FONT_HERSHEY_DUPLEX,
    ),
    Centre(
        "2", "Drawn Imaging", "Panel 14", (560, 600), 5000.0, 0.22, 0.8, 0.25, 3.4, 0.03, 14,
        "MONOCHROME1", cv2.FONT_HERSHEY_TRIPLEX,
    ),
    Centre(
        "3", "Synthetic Rays", "Cassette 12", (560, 640), 3500.0, 0.3, 0.95, 0.8, 4.8, 0.92, 12,
        "mixed", cv2.FONT_HERSHEY_SIMPLEX,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Geometry:
    """How a film lies over the drawn limb: the affine map to its pixels, and its shape."""

    shape: tuple[int, int]
    to_film: npt.NDArray[np.float64]

    def warp_field(self, field: Field) -> Field:
        """Resample line integrals onto the film."""
        return np.asarray(
            cv2.warpAffine(
                field, self.to_film, self.shape[::-1], flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )  # fmt: skip

    def warp_mask(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resample a mask onto the film; it stays 0 or 255."""
        warped = cv2.warpAffine(mask, self.to_film, self.shape[::-1], flags=cv2.INTER_NEAREST)
        return np.asarray(warped, np.uint8)


def field_of_view(
    rng: np.random.Generator, shape: tuple[int, int], turn: float
) -> npt.NDArray[np.uint8]:
    """Return where the collimator let the beam through: 255 within a slightly turned rectangle."""
    rows, columns = shape
    left, right = rng.uniform(0.02, 0.075, 2) * columns
    top, bottom = rng.uniform(0.04, 0.08, 2) * rows
    corners = np.array(
        [
            (left, top),
            (columns - left, top),
            (columns - right, rows - bottom),
            (left, rows - bottom),
        ]
    )
    corners[1, 0] = columns - right
    c, s = np.cos(turn), np.sin(turn)
    middle = np.array([columns / 2, rows / 2])
    corners = (corners - middle) @ np.array([[c, s], [-s, c]]) + middle
    lit = np.zeros(shape, np.uint8)
    cv2.fillPoly(lit, [np.rint(corners * 16).astype(np.int32)], 255, shift=4)
    return lit


def expose(
    rng: np.random.Generator,
    attenuation: Field,
    lit: npt.NDArray[np.uint8],
    centre: Centre,
    side: Literal["L", "R"],
) -> Field:
    """Expose and process one film.

    Parameters
    ----------
    rng
        Dose, contrast, marker position and noise are drawn from it.
    attenuation
        Sum of mu * thickness along the beam, shape (rows, columns); used up.
    lit
        The collimated field, 255 inside.
    centre
        Equipment and processing.
    side
        The lead marker's letter.

    Returns
    -------
    numpy.ndarray
        Display values 0 (black) to 1 (white), with the marker and the word SYNTHETIC.
    """
    rows, columns = attenuation.shape
    attenuation += _lead_marker(rng, lit, side, centre.marker)
    photons = centre.photons * float(np.exp(rng.normal(0.0, 0.35)))
    primary = cv2.GaussianBlur(cv2.exp(-attenuation), (0, 0), centre.blur_px)
    small = cv2.resize(primary, (columns // 16, rows // 16), interpolation=cv2.INTER_AREA)
    haze = cv2.resize(cv2.GaussianBlur(small, (0, 0), 3.0), (columns, rows))
    quanta = photons * (primary + centre.scatter * haze)
    noise = rng.standard_normal(attenuation.shape, dtype=np.float32)
    noise *= np.sqrt(quanta)
    quanta += noise
    np.maximum(quanta, 1.0, out=quanta)
    density = np.asarray(cv2.log(quanta), np.float32)
    density *= -1.0
    density += np.float32(np.log(photons))
    density += centre.enhance * (density - cv2.blur(cv2.blur(density, (7, 7)), (7, 7)))

    # The unit looks at its own histogram within the field, as real ones do.
    seen = density[::6, ::6][lit[::6, ::6] > 0]
    low, high = np.quantile(seen, (0.05, 0.985))
    low += (high - low) * rng.normal(0.05, 0.06)
    high += (high - low) * rng.normal(0.10, 0.06)
    slope = centre.contrast * float(np.exp(rng.normal(0.0, 0.12)))
    middle = float(rng.normal(0.47, 0.03))
    # A logistic curve from 0 at `low` to 1 at `high`, as the sigmoid VOI of PS3.3 C.11.2.1.3.
    density -= np.float32(low + middle * (high - low))
    density *= np.float32(-slope / (high - low))
    display: Field = np.float32(1.0) / (np.asarray(cv2.exp(density), np.float32) + np.float32(1.0))
    floor, ceiling = 1 / (1 + np.exp(slope * middle)), 1 / (1 + np.exp(-slope * (1 - middle)))
    display -= np.float32(floor)
    display *= np.float32(1.0 / (ceiling - floor))
    np.clip(display, 0.0, 1.0, out=display)

    edge = cv2.blur(lit, (3, 3)) * np.float32(1.0 / 255.0)
    display -= np.float32(centre.shutter)
    display *= edge
    display += np.float32(centre.shutter)
    _print_notice(rng, display, 0.75 if centre.shutter < 0.5 else 0.15)
    return display


def _lead_marker(
    rng: np.random.Generator, lit: npt.NDArray[np.uint8], side: str, font: int
) -> Field:
    """Return the attenuation of a lead letter in one corner of the field."""
    rows, columns = lit.shape
    x = int(columns * (rng.uniform(0.1, 0.14) if rng.random() < 0.5 else rng.uniform(0.8, 0.84)))
    y = int(rows * (rng.uniform(0.14, 0.2) if rng.random() < 0.7 else rng.uniform(0.86, 0.9)))
    letter = np.zeros(lit.shape, np.uint8)
    scale = columns / 480.0
    cv2.putText(letter, side, (x, y), font, scale, 255, 2, cv2.LINE_AA)
    return np.asarray(letter * np.float32(3.0 / 255.0), np.float32)


def _print_notice(rng: np.random.Generator, display: Field, grey: float) -> None:
    """Print SYNTHETIC into the border that the collimator left, in one of the four corners."""
    rows, columns = display.shape
    scale = 0.0007 * rows
    (width, height), _ = cv2.getTextSize(NOTICE, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = 8 if rng.random() < 0.5 else columns - width - 8
    strip = display[: height + 8] if rng.random() < 0.5 else display[-height - 8 :]
    letters = np.zeros(strip.shape, np.uint8)
    origin = (x, height + 4)
    cv2.putText(letters, NOTICE, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)
    strip += letters * np.float32(1.0 / 255.0) * (np.float32(grey) - strip)


def store(
    rng: np.random.Generator, display: Field, bits: int, photometric: Photometric
) -> tuple[npt.NDArray[np.uint16], tuple[float, float]]:
    """Turn display values into stored values and the window that shows them as they were.

    Returns
    -------
    pixels, (centre, width)
        uint16 below ``2**bits``, in the sense of `photometric`; the linear window of PS3.3
        C.11.2.1.2.1, in stored values.
    """
    top = (1 << bits) - 1
    black = int(top * rng.uniform(0.02, 0.12))
    white = int(top * rng.uniform(0.85, 0.98))
    pixels = np.rint(black + display * np.float32(white - black)).astype(np.uint16)
    if photometric == "MONOCHROME1":
        pixels = np.uint16(top) - pixels
        black, white = top - white, top - black
    return pixels, ((black + white + 1) / 2, float(white - black + 1))
