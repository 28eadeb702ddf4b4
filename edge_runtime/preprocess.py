"""From display pixels to the model's input: the one implementation that training and device share.

The steps are fixed by an :class:`InputSpec`, which is hashed into the bundle. Everything here is
integer or OpenCV's area resampling, so the same film gives the same bits on every machine; the
training pipeline calls :func:`to_network_pixels`, it has no version of its own.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

UInt8Image = npt.NDArray[np.uint8]
DisplayImage = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class InputSpec(BaseModel):
    """How a radiograph becomes the input of a model.

    The network sees one grey channel, ``(pixel - mean) / divisor``. That is exactly what an
    ImageNet network sees of a grey film when the three filters of its stem are added up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    height: int = Field(224, ge=32, le=1024, description="rows of the network's input")
    width: int = Field(224, ge=32, le=1024, description="columns of the network's input")
    fit: Literal["stretch", "pad"] = Field(
        "pad",
        description="stretch: scale both sides alone; pad: keep the shape, fill up with black",
    )
    smooth: float = Field(
        0.0, ge=0.0, le=4.0, description="sigma of a Gaussian, pixels of the input, 0 for none"
    )
    clahe_clip: float = Field(
        0.0, ge=0.0, le=40.0, description="contrast limit of CLAHE on 8 x 8 tiles, 0 for none"
    )
    mean: float = Field(127.0, description="grey level that becomes 0")
    divisor: float = Field(128.0, gt=0.0, description="grey levels that become 1")

    def sha256(self) -> str:
        """Return the hash that ties a model to its preprocessing, as 64 hexadecimal digits."""
        canonical = json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def normalise(self, pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Return grey levels 0..255 as the real numbers that the network is trained on."""
        return ((pixels.astype(np.float32) - self.mean) / self.divisor).astype(np.float32)


class Placement(BaseModel):
    """Where the film lies in the network's input: what maps boxes and masks back to the film."""

    model_config = ConfigDict(frozen=True)

    source_height: int
    source_width: int
    top: int
    left: int
    height: int
    width: int

    def to_source_box(
        self, box: tuple[float, float, float, float]
    ) -> tuple[float, float, float, float]:
        """Map ``(x0, y0, x1, y1)`` in network pixels to source pixels, clipped to the film."""
        sx, sy = self.source_width / self.width, self.source_height / self.height
        x0, y0, x1, y1 = box

        def clip(value: float, upper: int) -> float:
            return min(max(value, 0.0), float(upper))

        return (
            clip((x0 - self.left) * sx, self.source_width),
            clip((y0 - self.top) * sy, self.source_height),
            clip((x1 - self.left) * sx, self.source_width),
            clip((y1 - self.top) * sy, self.source_height),
        )


def place(shape: tuple[int, int], spec: InputSpec) -> Placement:
    """Return where a film of ``shape`` (rows, columns) lies in the network's input."""
    rows, columns = shape
    if spec.fit == "stretch":
        top, left, height, width = 0, 0, spec.height, spec.width
    else:
        scale = min(spec.height / rows, spec.width / columns)
        height = max(1, min(spec.height, round(rows * scale)))
        width = max(1, min(spec.width, round(columns * scale)))
        top, left = (spec.height - height) // 2, (spec.width - width) // 2
    return Placement(
        source_height=rows, source_width=columns, top=top, left=left, height=height, width=width
    )


def to_network_pixels(display: DisplayImage, spec: InputSpec) -> tuple[UInt8Image, Placement]:
    """Resample a film to the network's input.

    Parameters
    ----------
    display
        Display values, shape (rows, columns): uint8 0..255 or uint16 0..65535, dark is 0
        (MONOCHROME2 sense, PS3.3 C.7.6.3.1.2).
    spec
        The preprocessing of the model.

    Returns
    -------
    pixels, placement
        uint8 of shape (spec.height, spec.width), and where the film lies in it.
    """
    placement = place((display.shape[0], display.shape[1]), spec)
    # Area resampling averages every source pixel: bilinear would alias noise into texture.
    resized = cv2.resize(display, (placement.width, placement.height), interpolation=cv2.INTER_AREA)
    if resized.dtype == np.uint16:
        resized = ((resized.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if spec.smooth > 0.0:
        # What differs between ways of making a film smaller lies in its finest detail.
        resized = cv2.GaussianBlur(resized, (0, 0), spec.smooth, borderType=cv2.BORDER_REPLICATE)
    if spec.clahe_clip > 0.0:
        resized = cv2.createCLAHE(spec.clahe_clip, (8, 8)).apply(resized)
    return pad_to_input(resized.astype(np.uint8, copy=False), placement, spec), placement


def mask_to_network(mask: UInt8Image, spec: InputSpec) -> UInt8Image:
    """Resample a lesion mask (0 or 255, shape of the film) to 0..255 coverage per input pixel."""
    placement = place((mask.shape[0], mask.shape[1]), spec)
    resized = cv2.resize(mask, (placement.width, placement.height), interpolation=cv2.INTER_AREA)
    return pad_to_input(resized.astype(np.uint8, copy=False), placement, spec)


def pad_to_input(pixels: UInt8Image, placement: Placement, spec: InputSpec) -> UInt8Image:
    """Put a resampled film into a black frame of the network's input size."""
    if pixels.shape == (spec.height, spec.width):
        return np.ascontiguousarray(pixels)
    framed = np.zeros((spec.height, spec.width), np.uint8)
    framed[
        placement.top : placement.top + placement.height,
        placement.left : placement.left + placement.width,
    ] = pixels
    return framed


def quantize_input(
    pixels: UInt8Image, spec: InputSpec, scale: float, zero_point: int, channels: int = 1
) -> npt.NDArray[np.int8]:
    """Quantize network pixels for an int8 input tensor.

    There are only 256 grey levels, so the whole arithmetic is one table. A model that takes colour
    gets the same grey in every channel.

    Returns
    -------
    numpy.ndarray
        int8, shape (1, height, width, channels).
    """
    levels = spec.normalise(np.arange(256, dtype=np.uint8))
    table = np.clip(np.rint(levels / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)
    stored = np.asarray(cv2.LUT(pixels, table), np.int8)[np.newaxis, :, :, np.newaxis]
    return stored if channels == 1 else np.repeat(stored, channels, axis=3)
